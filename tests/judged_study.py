"""Studies of which the truth is known: every net's expected error is given, and runs and images are simulated."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
from scipy import stats

from vgg_ablation.analysis.claims import Judgement, judge
from vgg_ablation.analysis.statistics import Measurements
from vgg_ablation.analysis.study import Study
from vgg_ablation.model.table1 import ABLATION

Source = tuple[str, str, str]
"""A net or a fusion, a training scale and a protocol."""

TEST_SCALES = {"fixed": (64, 72, 80), "large": (100, 108, 116), "jitter": (72, 109, 144)}
EPOCHS = {"fixed": 40, "large": 20, "jitter": 21}


def simulate(
    rng: np.random.Generator,
    expected: Sequence[float],
    runs: int = 3,
    pool: int = 400,
    tested: int = 190,
    run_spread: float = 0.0,
    image_spread: float = 1.0,
) -> list[Measurements]:
    """Draw the errors of several nets, each with the expected error (percent) that it is given.

    A net is wrong where z_net + a_run + b_image + e > 0, with a of each net and run and e of each measurement its own,
    and b of each image shared by all: nets and runs find the same images hard. Each run tests its own `tested` images
    out of the `pool`, the same for all nets.
    """
    difficulty = rng.normal(0, image_spread, pool)
    images = np.concatenate([rng.choice(pool, tested, replace=False) for _ in range(runs)])
    numbers = np.repeat(np.arange(runs), tested)
    spread = np.sqrt(1 + run_spread**2 + image_spread**2)
    return [
        Measurements(
            runs=numbers,
            images=images,
            wrong=(
                stats.norm.ppf(error / 100) * spread
                + rng.normal(0, run_spread, runs)[numbers]
                + difficulty[images]
                + rng.normal(size=len(images))
                > 0
            ).astype(np.float64),
        )
        for error in expected
    ]


def of_runs(values: Sequence[float], images: int = 2) -> Measurements:
    """Each run the same on all of its images: nothing varies but runs. Values in percent."""
    runs = len(values)
    return Measurements(
        np.repeat(np.arange(runs), images), np.tile(np.arange(images), runs), np.repeat(np.divide(values, 100), images)
    )


def study_of(
    errors: Mapping[Source, Measurements],
    untrained: Mapping[tuple[str, str], int] | None = None,
    training_errors: Mapping[str, float] | None = None,
    trials: Sequence[tuple[str, float, float, float]] = (),
    classes: Sequence[int] = (1, 1),
) -> Study:
    """Return a study that has these errors, and the nets and the training scales that they name.

    Args:
        errors: by net or fusion, training scale and protocol.
        untrained: how many runs of a net at a training scale did not train; each has a training error of 90 %.
        training_errors: by net, percent; those not named here fit.
        trials: net, learning rate, weight decay and validation accuracy of complete trials; 100 validation images.
        classes: how many images of each class there are, again and again over the images' numbers.
    """
    failed = untrained or {}
    training = training_errors or {}
    largest = max(int(one.images.max()) for one in errors.values())
    runs = len(np.unique(next(iter(errors.values())).runs))
    ordered = [scale for scale in ("fixed", "large", "jitter") if any(scale == at for _, at, _ in errors)]
    nets = {
        scale: [
            SimpleNamespace(
                arch=name,
                scale=scale,
                runs=range(runs),
                did_not_train=(wrong := failed.get((name, scale), 0)),
                training_error=(90 * wrong + training.get(name, 0.0) * (runs - wrong)) / runs,
                test_scales=TEST_SCALES[scale],
                training=SimpleNamespace(epochs=EPOCHS[scale]),
            )
            for name in dict.fromkeys(name for name, at, _ in errors if at == scale and "+" not in name)
        ]
        for scale in ordered
    }
    study = SimpleNamespace(
        name="made-up",
        norm="none",
        ablation=list(ABLATION),
        scales=ordered,
        protocols=lambda scale: list(dict.fromkeys(protocol for _, at, protocol in errors if at == scale)),
        at=lambda scale: nets[scale],
        net=lambda arch, scale: next((net for net in nets.get(scale, []) if net.arch == arch), None),
        measurements=lambda *source: errors.get(source),
        labels=np.resize(np.repeat(range(len(classes)), classes), largest + 1),
        trials=pd.DataFrame(
            [(*trial, "complete", "") for trial in trials],
            columns=["arch", "learning_rate", "weight_decay", "validation_accuracy", "state", "outcome"],
        ),
        data=SimpleNamespace(validation=100),
    )
    study.by_norm = [study]
    return cast(Study, study)


def judged(study: Study) -> dict[str, Judgement]:
    """Return the judgements on a study of one normalisation by the claims' keys."""
    return {one.claim.key: one for one in judge(study)}


def made_up(
    expected: Mapping[Source, float],
    runs: int = 3,
    pool: int = 400,
    tested: int = 190,
    untrained: Mapping[tuple[str, str], int] | None = None,
) -> Study:
    """Return a simulated study with the expected errors (percent) given; see `simulate` and `study_of`."""
    drawn = simulate(np.random.default_rng(0), list(expected.values()), runs, pool, tested)
    return study_of(dict(zip(expected, drawn, strict=True)), untrained)
