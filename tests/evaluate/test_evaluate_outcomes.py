import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from vgg_ablation.evaluate.metrics import measure
from vgg_ablation.evaluate.outcomes import write_outcomes, write_split


def outcomes(posteriors: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    written: dict[str, np.ndarray] = {}
    write_outcomes(written.__setitem__, "C/fixed/0/dense", torch.from_numpy(posteriors), torch.from_numpy(labels))
    return written


@given(st.integers(1, 20), st.integers(2, 300), st.integers(0, 1000))
def test_outcomes_are_the_largest_posterior_and_that_of_the_true_label(images: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    posteriors = rng.dirichlet(np.ones(classes), images).astype(np.float32)
    labels = rng.integers(0, classes, images)
    expected = {
        "C/fixed/0/dense/class": posteriors.argmax(1).astype(np.int16),
        "C/fixed/0/dense/confidence": posteriors.max(1),
        "C/fixed/0/dense/true": posteriors[np.arange(images), labels],
    }
    written = outcomes(posteriors, labels)
    assert list(written) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(written[name], array, strict=True)


def test_the_error_that_is_reported_is_that_of_the_outcomes_also_where_posteriors_are_equal() -> None:
    labels = np.repeat(np.arange(7), 2)
    posteriors = np.random.default_rng(0).choice([0.25, 0.5], (14, 7)).astype(np.float32)
    wrong = outcomes(posteriors, labels)["C/fixed/0/dense/class"] != labels
    assert measure(torch.from_numpy(posteriors), torch.from_numpy(labels))["top1_error"] == round(100 * wrong.mean(), 4)


def test_the_split_of_a_run_is_the_numbers_and_labels_of_its_test_images() -> None:
    written: dict[str, np.ndarray] = {}
    write_split(written.__setitem__, 2, np.array([3, 70_000]), np.array([0, 256]))
    assert list(written) == ["split/2/images", "split/2/labels"]
    np.testing.assert_array_equal(written["split/2/images"], np.array([3, 70_000], np.int32), strict=True)
    np.testing.assert_array_equal(written["split/2/labels"], np.array([0, 256], np.int16), strict=True)
