import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vgg_ablation.evaluate.decisions import write_decisions, write_split
from vgg_ablation.evaluate.metrics import measure


def decisions(posteriors: np.ndarray) -> dict[str, np.ndarray]:
    written: dict[str, np.ndarray] = {}
    write_decisions(written.__setitem__, "C/fixed/0/dense", posteriors)
    return written


@settings(max_examples=25)
@given(st.integers(1, 20), st.integers(2, 300), st.integers(0, 1000))
def test_decisions_are_those_of_torch(images: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    posteriors = rng.dirichlet(np.ones(classes), images).astype(np.float32)
    confidence, predicted = torch.from_numpy(posteriors).max(1)
    expected = {
        "C/fixed/0/dense/class": predicted.numpy().astype(np.int16),
        "C/fixed/0/dense/confidence": confidence.numpy(),
    }
    written = decisions(posteriors)
    assert list(written) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(written[name], array, strict=True)


def test_decisions_and_reported_error_agree_where_posteriors_are_equal() -> None:
    labels = np.repeat(np.arange(7), 2)
    posteriors = np.random.default_rng(0).choice([0.25, 0.5], (14, 7)).astype(np.float32)
    wrong = decisions(posteriors)["C/fixed/0/dense/class"] != labels
    assert measure(torch.from_numpy(posteriors), torch.from_numpy(labels))["top1_error"] == round(100 * wrong.mean(), 4)


def test_a_split_is_written_as_numbers_and_labels_of_its_test_images() -> None:
    written: dict[str, np.ndarray] = {}
    write_split(written.__setitem__, 2, np.array([3, 70_000]), np.array([0, 256]))
    assert list(written) == ["split/2/images", "split/2/labels"]
    np.testing.assert_array_equal(written["split/2/images"], np.array([3, 70_000], np.int32), strict=True)
    np.testing.assert_array_equal(written["split/2/labels"], np.array([0, 256], np.int16), strict=True)
