import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_hand_made_example() -> None:
    """Nine images of seven classes, three of them of class 0, and how many classes are thought likelier than theirs."""
    labels, likelier = np.array([0, 0, 0, 1, 2, 3, 4, 5, 6]), [0, 0, 1, 0, 4, 5, 6, 2, 5]
    posteriors = np.zeros((9, 7), np.float32)
    for row, (label, place) in enumerate(zip(labels, likelier, strict=True)):
        order = [other for other in range(7) if other != label]
        order.insert(place, label)
        posteriors[row, order] = [0.4, 0.2, 0.15, 0.1, 0.08, 0.05, 0.02]
    assert found(posteriors, labels) == pytest.approx(
        {"top1_error": 100 * 6 / 9, "top5_error": 100 * 3 / 9, "mean_class_recall": 100 * (2 / 3 + 1) / 7}, abs=1e-4
    )


@pytest.mark.parametrize(("classes", "said"), [(2, False), (5, False), (6, True)])
def test_top_5_error_says_nothing_of_five_classes_or_fewer(classes: int, said: bool) -> None:
    assert (found(*made_up(classes, [2], 0))["top5_error"] is not None) is said


def test_a_perfect_net_has_no_error() -> None:
    labels = np.repeat(np.arange(7), 3)
    assert found(np.eye(7, dtype=np.float32)[labels], labels) == {
        "top1_error": 0, "top5_error": 0, "mean_class_recall": 100,
    }  # fmt: skip


@pytest.mark.parametrize("classes", [4, 10, 257])
def test_a_net_that_knows_nothing_has_the_error_of_guessing(classes: int) -> None:
    labels = np.repeat(np.arange(classes), 2)
    measures = found(np.full((len(labels), classes), 1 / classes, np.float32), labels)
    assert measures["top1_error"] == pytest.approx(100 * (1 - 1 / classes), abs=1e-4)
    assert measures["mean_class_recall"] == pytest.approx(100 / classes, abs=1e-4)
