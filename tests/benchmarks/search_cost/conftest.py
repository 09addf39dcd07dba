"""A made-up measurement, with answers that can be counted by hand."""

import pytest
from made_up_trial import Make

from benchmarks.search_cost.cost import Trial
from benchmarks.search_cost.measure import Plan
from vgg_ablation.runtime.settings import DataSettings, ModelSettings, SearchRange, TrainSettings, TuneSettings


@pytest.fixture(scope="session")
def made_up() -> Make:
    """Return what makes up a trial of ten images an epoch that ends at an accuracy."""

    def make(
        accuracy: float, images: int = 100, state: str = "complete", method: str = "grid", seed: int = 0, trial: int = 0
    ) -> Trial:
        epochs = images // 10
        return Trial(method, seed, trial, state, 1e-2, 5e-4, images, (accuracy,) * epochs, (1.0,) * epochs)

    return make


@pytest.fixture(scope="session")
def plan() -> Plan:
    """The smallest there is: one epoch on forty images, a grid of four."""
    return Plan(
        data=DataSettings(
            source="sample", categories="all", clutter=False, train_per_class=8, validation_fraction=0.5, splits=1,
            seed=0,
        ),
        side=32,
        model=ModelSettings(input_side=32, width=0.0625, batch_norm=True, dropout=0.0, init="kaiming"),
        train=TrainSettings(
            epochs=20, batch_size=16, momentum=0.9, schedule="cosine", patience=5, colour_shift=0.1
        ),
        tune=TuneSettings(
            trials=3, epochs=1, learning_rate=SearchRange(low=1e-4, high=1e-1),
            weight_decay=SearchRange(low=1e-5, high=1e-2), sampler="gp", random_trials=1,
            pruner="none", prune_after=1, seed=0,
        ),
        grid=(2, 2),
        seeds=2,
    )  # fmt: skip
