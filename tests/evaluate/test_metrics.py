import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from vgg_ablation.evaluate.metrics import measure


def made_up(classes: int, per_class: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return posteriors that lean towards the right class, and labels: `per_class` images of each class in turn."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), np.resize(per_class, classes))
    scores = rng.normal(size=(len(labels), classes)).astype(np.float32)
    scores[np.arange(len(labels)), labels] += 1
    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True), labels


MADE_UP = st.builds(
    made_up, st.integers(6, 15), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 1000)
)


def found(posteriors: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    return measure(torch.from_numpy(posteriors), torch.from_numpy(labels))


@given(MADE_UP)
def test_top_1_error_is_the_share_of_images_whose_highest_posterior_is_wrong(made: tuple) -> None:
    posteriors, labels = made
    assert found(*made)["top1_error"] == pytest.approx(100 * np.mean(posteriors.argmax(1) != labels), abs=1e-4)


@given(MADE_UP)
def test_top_5_error_is_the_share_of_images_with_five_higher_posteriors(made: tuple) -> None:
    posteriors, labels = made
    own = posteriors[np.arange(len(labels)), labels]
    expected = 100 * np.mean((posteriors > own[:, None]).sum(1) >= 5)
    assert found(*made)["top5_error"] == pytest.approx(expected, abs=1e-4)


@given(MADE_UP)
def test_mean_class_recall_is_the_mean_over_classes_of_their_accuracy(made: tuple) -> None:
    posteriors, labels = made
    right = posteriors.argmax(1) == labels
    expected = 100 * np.mean([right[labels == label].mean() for label in np.unique(labels)])
    assert found(*made)["mean_class_recall"] == pytest.approx(expected, abs=1e-4)


@given(MADE_UP)
def test_with_classes_of_one_size_recall_and_error_add_up(made: tuple) -> None:
    posteriors, labels = made
    first = np.unique(labels, return_index=True)[1]  # one image of each class
    measures = found(posteriors[first], labels[first])
    top1_error, recall = measures["top1_error"], measures["mean_class_recall"]
    assert top1_error is not None
    assert recall is not None
    assert top1_error + recall == pytest.approx(100, abs=2e-4)


@given(MADE_UP)
def test_negative_log_likelihood_is_the_cross_entropy(made: tuple) -> None:
    posteriors, labels = made
    expected = cross_entropy(torch.from_numpy(posteriors).double().log(), torch.from_numpy(labels))
    assert found(*made)["nll"] == pytest.approx(expected.item(), abs=1e-6)


def test_a_posterior_of_zero_has_a_finite_price() -> None:
    labels = np.arange(7)
    wrong = np.eye(7, dtype=np.float32)[(labels + 1) % 7]
    assert found(wrong, labels)["nll"] == pytest.approx(126 * np.log(2), abs=1e-6)  # 2 ** -126 is the smallest normal


def literal_calibration_error(posteriors: np.ndarray, labels: np.ndarray) -> float:
    """Return equation 3 of Guo et al. 2017, in percent: bin m of 15 is ((m - 1) / 15, m / 15]."""
    error = 0.0
    for bin_ in range(1, 16):
        inside = [row for row in range(len(labels)) if (bin_ - 1) / 15 < float(posteriors[row].max()) <= bin_ / 15]
        if inside:
            accuracy = np.mean([posteriors[row].argmax() == labels[row] for row in inside])
            confidence = np.mean([float(posteriors[row].max()) for row in inside])
            error += len(inside) / len(labels) * abs(accuracy - confidence)
    return 100 * float(error)


@given(MADE_UP)
def test_calibration_error_is_that_of_a_literal_loop_over_bins(made: tuple) -> None:
    assert found(*made)["ece"] == pytest.approx(literal_calibration_error(*made), abs=1e-4)


@pytest.mark.parametrize("confidence", [0.25, 0.5, 0.75, 0.875])
def test_a_net_that_is_right_as_often_as_it_says_has_no_calibration_error(confidence: float) -> None:
    """Of eight images, all of whose confidence is the same, so many are right."""
    labels = np.arange(8)
    posteriors = np.full((8, 8), (1 - confidence) / 7, np.float32)
    for row in range(8):
        posteriors[row, row if row < 8 * confidence else (row + 1) % 8] = confidence
    assert found(posteriors, labels)["ece"] == 0


def test_the_calibration_error_of_a_sure_net_is_its_error() -> None:
    labels = np.repeat(np.arange(7), 10)
    predicted = np.where(np.arange(70) < 21, (labels + 1) % 7, labels)
    assert found(np.eye(7, dtype=np.float32)[predicted], labels)["ece"] == pytest.approx(30)


def test_a_bin_holds_its_upper_end() -> None:
    """0.6 is an end of the bins, in float64: in one bin with 0.57, a right and a wrong image of 0.585 even out."""
    posteriors = np.array([[0.57, 0.43], [0.6, 0.4]])
    assert found(posteriors, np.array([0, 1]))["ece"] == pytest.approx(100 * abs(0.5 - 0.585))


def test_a_hand_made_example() -> None:
    """Nine images of seven classes, three of them of class 0, and how many classes are thought likelier than theirs."""
    labels, likelier = np.array([0, 0, 0, 1, 2, 3, 4, 5, 6]), [0, 0, 1, 0, 4, 5, 6, 2, 5]
    posteriors = np.zeros((9, 7), np.float32)
    for row, (label, place) in enumerate(zip(labels, likelier, strict=True)):
        order = [other for other in range(7) if other != label]
        order.insert(place, label)
        posteriors[row, order] = [0.4, 0.2, 0.15, 0.1, 0.08, 0.05, 0.02]
    measures = {name: value for name, value in found(posteriors, labels).items() if name not in ("nll", "ece")}
    assert measures == pytest.approx(
        {"top1_error": 100 * 6 / 9, "top5_error": 100 * 3 / 9, "mean_class_recall": 100 * (2 / 3 + 1) / 7}, abs=1e-4
    )


@pytest.mark.parametrize(("classes", "said"), [(2, False), (5, False), (6, True)])
def test_top_5_error_says_nothing_of_five_classes_or_fewer(classes: int, said: bool) -> None:
    assert (found(*made_up(classes, [2], 0))["top5_error"] is not None) is said


def test_a_perfect_net_has_no_error() -> None:
    labels = np.repeat(np.arange(7), 3)
    assert found(np.eye(7, dtype=np.float32)[labels], labels) == {
        "top1_error": 0, "top5_error": 0, "mean_class_recall": 100, "nll": 0, "ece": 0,
    }  # fmt: skip


@pytest.mark.parametrize("classes", [4, 10, 257])
def test_a_net_that_knows_nothing_has_the_error_of_guessing(classes: int) -> None:
    labels = np.repeat(np.arange(classes), 2)
    measures = found(np.full((len(labels), classes), 1 / classes, np.float32), labels)
    assert measures["top1_error"] == pytest.approx(100 * (1 - 1 / classes), abs=1e-4)
    assert measures["mean_class_recall"] == pytest.approx(100 / classes, abs=1e-4)
    assert measures["nll"] == pytest.approx(np.log(classes), abs=1e-6)
    assert measures["ece"] == pytest.approx(0, abs=1e-4)
