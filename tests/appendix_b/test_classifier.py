"""The classifier against scikit-learn."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import recall_score
from sklearn.svm import LinearSVC
from torch import Tensor

from vgg_ablation.appendix_b.classifier import choose, fit, mean_class_recall, predict, scores

CLASSES = 6


def linear_svc(**options: float) -> LinearSVC:
    """Return scikit-learn's classifier, solved in the primal."""
    return LinearSVC(dual=False, **options)  # pyright: ignore[reportArgumentType] - it takes a bool too


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    """Descriptors (180, 40) like rectified features, of unit length, of classes that overlap; labels."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, 40, generator=generator)
    labels = torch.arange(CLASSES).repeat(30)
    values = (centres[labels] + 3 * torch.randn(180, 40, generator=generator)).relu()
    return torch.nn.functional.normalize(values).double(), labels


@pytest.mark.parametrize("penalty", [0.1, 1.0, 10.0])
def test_the_optimum_is_that_of_linear_svc(images: tuple[Tensor, Tensor], penalty: float) -> None:
    found = fit(*images, CLASSES, penalty, tolerance=1e-7)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        theirs = linear_svc(C=penalty, tol=1e-10, max_iter=10_000).fit(*(part.numpy() for part in images))
    assert found.converged
    expected = np.vstack([theirs.coef_.T, theirs.intercept_])
    np.testing.assert_allclose(found.weights.numpy(), expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(
        scores(found.weights, images[0]).numpy(), theirs.decision_function(images[0].numpy()), atol=1e-3
    )


def test_predictions_at_the_default_tolerance_in_float32_are_those_of_linear_svc(
    images: tuple[Tensor, Tensor],
) -> None:
    descriptors, labels = images[0].float(), images[1]
    found = fit(descriptors, labels, CLASSES, 1.0)
    theirs = linear_svc(C=1.0, tol=1e-10).fit(descriptors.double().numpy(), labels.numpy())
    predicted = predict(found.weights, descriptors).numpy()
    assert (predicted == theirs.predict(descriptors.double().numpy())).mean() > 0.99
    assert 0.5 < (predicted == labels.numpy()).mean() < 1  # the classes overlap


def test_a_fit_from_a_near_start_ends_at_the_same_optimum_in_fewer_steps(images: tuple[Tensor, Tensor]) -> None:
    cold = fit(*images, CLASSES, 3.0, tolerance=1e-5)
    warm = fit(*images, CLASSES, 3.0, fit(*images, CLASSES, 2.5, tolerance=1e-5).weights, tolerance=1e-5)
    assert warm.steps < cold.steps
    torch.testing.assert_close(warm.weights, cold.weights, rtol=0, atol=1e-3)


@pytest.mark.parametrize("penalty", [30.0, 100.0])
def test_a_fit_that_starts_from_the_optimum_of_a_smaller_penalty_ends_near_its_own(
    images: tuple[Tensor, Tensor], penalty: float
) -> None:
    start = fit(*images, CLASSES, penalty / 3, tolerance=1e-6).weights
    found = fit(*images, CLASSES, penalty, start).weights.numpy()
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        theirs = linear_svc(C=penalty, tol=1e-10, max_iter=10_000).fit(*(part.numpy() for part in images))
    expected = np.vstack([theirs.coef_.T, theirs.intercept_])
    assert np.linalg.norm(start.numpy() - expected) > 0.2 * np.linalg.norm(expected)
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)


def test_the_start_is_left_as_it_is(images: tuple[Tensor, Tensor]) -> None:
    start = torch.zeros(41, CLASSES, dtype=torch.float64)
    fit(*images, CLASSES, 1.0, start)
    assert not start.any()


def test_mean_class_recall_is_scikit_learns_macro_average() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [1, 5, 20, 100])
    predicted = np.where(rng.random(126) < 0.6, labels, rng.integers(0, 4, 126))
    found = mean_class_recall(torch.from_numpy(predicted), torch.from_numpy(labels), 4)
    assert found == pytest.approx(100 * recall_score(labels, predicted, average="macro"))
    assert abs(found - 100 * (predicted == labels).mean()) > 1  # which the share of images is not


def test_recall_of_a_class_of_few_images_counts_as_much_as_that_of_many() -> None:
    labels, predicted = torch.tensor([0, 1, 1, 1]), torch.tensor([1, 1, 1, 1])
    assert mean_class_recall(predicted, labels, 2) == 50


def test_held_out_images_choose_the_penalty_and_the_smaller_of_two_equal_ones(images: tuple[Tensor, Tensor]) -> None:
    held = slice(60)
    rest = torch.ones(180, dtype=torch.bool)
    rest[held] = False
    training, held_out = (images[0][rest], images[1][rest]), (images[0][held], images[1][held])
    grid = [1e-4, 1e-2, 1.0, 100.0]
    chosen = choose(training, held_out, CLASSES, grid)
    theirs = []
    for penalty in grid:
        svc = linear_svc(C=penalty, tol=1e-8, max_iter=10_000).fit(*(part.numpy() for part in training))
        predicted = svc.predict(held_out[0].numpy())
        theirs.append(100 * recall_score(held_out[1].numpy(), predicted, average="macro"))
    np.testing.assert_allclose(chosen.recalls, theirs, atol=2)  # one image is 1.7 points
    assert chosen.penalty == grid[chosen.recalls.index(max(chosen.recalls))]
    assert chosen.at_edge == (chosen.penalty in (grid[0], grid[-1]))


def test_an_end_of_the_grid_is_flagged_unless_it_is_the_whole_grid(images: tuple[Tensor, Tensor]) -> None:
    grids = ([1e-6, 1e-5], [1.0])
    assert [choose(images, images, CLASSES, grid).at_edge for grid in grids] == [True, False]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_chooses_as_the_cpu_does(images: tuple[Tensor, Tensor], torch_as_before: None) -> None:
    torch.set_deterministic_debug_mode("error")
    here, there = (choose(on, on, CLASSES, [0.1, 10.0]) for on in (images, (images[0].cuda(), images[1].cuda())))
    assert there.recalls == pytest.approx(here.recalls, abs=2)
    assert there.fit.weights.is_cuda
