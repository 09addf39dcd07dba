"""Made-up trials, and the smallest measurement."""

from collections.abc import Callable

import pytest

from benchmarks.search_cost.measure import Plan
from benchmarks.search_cost.until_good import MethodTrial
from tiny_study import SAMPLE, SCALES
from vgg_ablation.runtime.settings import StudySettings

Make = Callable[..., MethodTrial]


@pytest.fixture(scope="session")
def make() -> Make:
    """Return what makes a trial of ten images an epoch that ends at an accuracy."""

    def make(
        accuracy: float, images: int = 100, state: str = "complete", method: str = "grid", seed: int = 0, trial: int = 0
    ) -> MethodTrial:
        epochs = images // 10
        return MethodTrial(method, seed, trial, state, 1e-2, 5e-4, images, (accuracy,) * epochs, (1.0,) * epochs)

    return make


@pytest.fixture(scope="session")
def plan() -> Plan:
    """One epoch on forty images, a grid of four, two searches a method."""
    changes = {
        "data": {"train_per_class": 8, "validation_fraction": 0.5, "splits": 1},
        "scales": SCALES,
        "model": {"input_side": 32, "width": 0.0625},
        "tune": {
            "trials": 3,
            "epochs": 1,
            "random_trials": 1,
            "batch_size": [16],
            "learning_rate": {"low": 1e-4, "high": 1e-1},
            "weight_decay": {"low": 1e-5, "high": 1e-1},
        },
    }
    study = {key: {**values, **changes.get(key, {})} for key, values in SAMPLE.items()}
    return Plan(StudySettings.model_validate(study), grid=(2, 2), seeds=2)
