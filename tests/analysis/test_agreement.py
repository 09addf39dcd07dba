from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from judged_study import made_up, simulate, study_of
from vgg_ablation.analysis.agreement import agreement, rank_agreements, resampled_errors
from vgg_ablation.analysis.statistics import RESAMPLES, Measurements, aligned
from vgg_ablation.paper.tables import TABLE_3

PAPER = {arch: errors.top1 for arch, errors in TABLE_3["fixed"].items()}
RANKING = st.lists(st.integers(0, 4), min_size=5, max_size=5)


def exactly(wrong: Mapping[str, int], runs: int = 2, images: int = 100):
    """A study whose nets are wrong on so many images, the same in each run."""
    return study_of(
        {
            (net, "fixed", "dense"): Measurements(
                np.repeat(np.arange(runs), images),
                np.tile(np.arange(images), runs),
                np.tile(np.repeat([1.0, 0.0], [count, images - count]), runs),
            )
            for net, count in wrong.items()
        }
    )


@pytest.mark.parametrize(
    ("wrong", "tau"),
    [
        ({arch: round(10 * error) for arch, error in PAPER.items()}, 1),
        ({"A": 20, "B": 30, "D": 50, "E": 40}, -1),
        ({"A": 40, "B": 40, "D": 30}, 2 / 6**0.5),  # two of three pairs agree, over the root of two times three
        ({"A": 20, "B": 30}, None),
        ({"A": 30, "B": 30, "C": 30}, None),
    ],
)
def test_agreement_by_hand(wrong: dict[str, int], tau: float | None):
    found = agreement(exactly(wrong, images=1000), "fixed", "dense", PAPER)
    assert (found and found.tau) == (tau and pytest.approx(tau))


@pytest.mark.parametrize(("expected", "least", "most"), [([80, 50, 20], 0, 0), ([30, 30, 30], 0.8, 2)])
def test_nets_far_apart_have_a_narrow_interval_and_equal_ones_a_wide_one(
    expected: list[float], least: float, most: float
):
    study = made_up({(net, "fixed", "dense"): error for net, error in zip("ABD", expected, strict=True)})
    found = agreement(study, "fixed", "dense", PAPER)
    assert found is not None
    assert found.nets == ("A", "B", "D")
    assert least <= found.high - found.low <= most


def test_runs_with_opposite_orders_have_a_wide_interval_whatever_the_number_of_images():
    images = 5000
    wrong = {"A": (0.5, 0.11), "B": (0.4, 0.2), "D": (0.3, 0.28)}
    errors = {
        (net, "fixed", "dense"): Measurements(
            np.repeat([0, 1], images),
            np.tile(np.arange(images), 2),
            np.concatenate([np.arange(images) < share * images for share in shares]).astype(float),
        )
        for net, shares in wrong.items()
    }
    found = agreement(study_of(errors), "fixed", "dense", PAPER)
    assert found is not None
    assert (found.low, found.high) == (-1, 1)


@given(st.lists(RANKING, min_size=1, max_size=20), RANKING)
def test_rank_agreements_are_scipys(samples: list[list[int]], ranking: list[int]):
    expected = [stats.kendalltau(one, ranking).statistic for one in samples]  # pyright: ignore[reportAttributeAccessIssue]
    found = rank_agreements(np.array(samples, dtype=float), np.array(ranking, dtype=float))
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.fixture(scope="module")
def resampled() -> tuple[list[Measurements], np.ndarray]:
    errors = simulate(np.random.default_rng(1), [30, 50], runs=4, run_spread=0.3)
    return errors, resampled_errors(*aligned(errors))


def test_resampled_errors_have_the_measured_mean(resampled: tuple[list[Measurements], np.ndarray]):
    errors, drawn = resampled
    assert len(drawn) == RESAMPLES
    assert drawn.mean(axis=0) == pytest.approx([one.wrong.mean() for one in errors], abs=0.005)


def test_resampled_errors_vary_as_resampling_one_by_one_does(resampled: tuple[list[Measurements], np.ndarray]):
    errors, drawn = resampled
    rng = np.random.default_rng(2)
    literal = []
    for _ in range(4000):
        weight = np.bincount(rng.integers(400, size=400), minlength=400)[errors[0].images]
        sizes = np.bincount(errors[0].runs, weight)
        chosen = rng.integers(4, size=4)
        literal.append([(np.bincount(one.runs, weight * one.wrong) / sizes)[chosen].mean() for one in errors])
    expected = np.cov(np.transpose(literal))
    assert np.cov(drawn.T) == pytest.approx(expected, abs=0.1 * expected.max())
