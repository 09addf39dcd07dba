import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from vgg_ablation.evaluate.metrics import measure


def made_up(classes: int, per_class: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return posteriors that favour the true class, and labels: `per_class` images of each class in turn."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), np.resize(per_class, classes))
    scores = rng.normal(size=(len(labels), classes)).astype(np.float32)
    scores[np.arange(len(labels)), labels] += 1
    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True), labels


MADE_UP = st.builds(
    made_up, st.integers(6, 15), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 1000)
)


def measured(posteriors: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    return measure(torch.from_numpy(posteriors), torch.from_numpy(labels))


def test_the_log_likelihood_of_a_zero_posterior_is_finite() -> None:
    labels = np.arange(7)
    wrong = np.eye(7, dtype=np.float32)[(labels + 1) % 7]
    assert measured(wrong, labels)["nll"] == pytest.approx(126 * np.log(2), abs=1e-6)  # 2 ** -126: smallest normal


def literal_calibration_error(posteriors: np.ndarray, labels: np.ndarray) -> float:
    """Return equation 3 of Guo et al. 2017, in percent: bin m of 15 is ((m - 1) / 15, m / 15]."""
    error = 0.0
    for number in range(1, 16):
        inside = [row for row in range(len(labels)) if (number - 1) / 15 < float(posteriors[row].max()) <= number / 15]
        if inside:
            accuracy = np.mean([posteriors[row].argmax() == labels[row] for row in inside])
            confidence = np.mean([float(posteriors[row].max()) for row in inside])
            error += len(inside) / len(labels) * abs(accuracy - confidence)
    return 100 * float(error)


@settings(max_examples=30)
@given(MADE_UP)
def test_measures_are_their_definitions(made: tuple) -> None:
    posteriors, labels = made
    true, correct = posteriors[np.arange(len(labels)), labels], posteriors.argmax(1) == labels
    recalls = [correct[labels == label].mean() for label in np.unique(labels)]
    assert measured(*made) == {
        "top1_error": pytest.approx(100 * np.mean(~correct), abs=1e-4),
        "top5_error": pytest.approx(100 * np.mean((posteriors > true[:, None]).sum(1) >= 5), abs=1e-4),
        "mean_class_recall": pytest.approx(100 * np.mean(recalls), abs=1e-4),
        "nll": pytest.approx(
            cross_entropy(torch.from_numpy(posteriors).double().log(), torch.from_numpy(labels)).item(), abs=1e-6
        ),
        "ece": pytest.approx(literal_calibration_error(*made), abs=1e-4),
    }


def test_a_bin_includes_its_upper_end() -> None:
    """0.6 is the upper end of a bin. In one bin with 0.57, a right and a wrong image of mean confidence 0.585."""
    posteriors = np.array([[0.57, 0.43], [0.6, 0.4]])
    assert measured(posteriors, np.array([0, 1]))["ece"] == pytest.approx(100 * abs(0.5 - 0.585))


@pytest.mark.parametrize(("classes", "given_"), [(5, False), (6, True)])
def test_top_5_error_is_none_with_five_classes_or_fewer(classes: int, given_: bool) -> None:
    assert (measured(*made_up(classes, [2], 0))["top5_error"] is not None) is given_


def test_uniform_posteriors_have_the_error_of_guessing() -> None:
    classes = 10
    labels = np.repeat(np.arange(classes), 2)
    measures = measured(np.full((len(labels), classes), 1 / classes, np.float32), labels)
    assert measures["top1_error"] == pytest.approx(100 * (1 - 1 / classes), abs=1e-4)
    assert measures["mean_class_recall"] == pytest.approx(100 / classes, abs=1e-4)
    assert measures["nll"] == pytest.approx(np.log(classes), abs=1e-6)
    assert measures["ece"] == pytest.approx(0, abs=1e-4)
