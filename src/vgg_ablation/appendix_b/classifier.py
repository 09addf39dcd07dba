"""Linear classifier of appendix B: one-against-rest squared hinge loss with an L2 penalty, all classes at once.

The objective is that of LIBLINEAR's primal L2-loss SVM, `sklearn.svm.LinearSVC` with its defaults: for each class
1/2 |w|^2 + C sum over images of max(0, 1 - y w x)^2, with y = 1 for the class and -1 for all others, and x with a last
element of one, whose weight is penalised too. scikit-learn fits one class after another on one core; here a step of
L-BFGS is two matrix products for all classes, on any device.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 5e-3
"""A fit ends below this share of the largest element of the gradient at zero, times the share of the images that are
of the smallest class (LIBLINEAR has 0.01, and the gradient's norm), divided by the root of C above one.

At zero, the images of the other classes dominate every class's gradient; what distinguishes a class is only about as
large as the class's share of the images. And the error of the weights is up to C times the gradient: without the root,
a fit that started from the optimum of a smaller C ended at once, and its recall was up to 4 points off (50 made-up
classes); with it, 0.3 points.
"""
MOST_STEPS = 1000
_MEMORY = 10  # updates that L-BFGS remembers


class Fit(NamedTuple):
    """A fitted classifier."""

    weights: Tensor
    """(D + 1, K); the last row is the bias."""
    steps: int
    """Number of steps of L-BFGS."""
    converged: bool


class Choice(NamedTuple):
    """The penalty that the held-out images choose."""

    penalty: float
    """C of the best mean class recall; of equal ones the smallest."""
    recalls: list[float]
    """Mean class recall of the held-out images in percent, by C of the grid."""
    at_edge: bool
    """True if it is an end of a grid of more than one value: a better one may be outside."""
    fit: Fit
    """On the training images without those held out, with that penalty."""


def fit(
    descriptors: Tensor,
    labels: Tensor,
    classes: int,
    penalty: float,
    start: Tensor | None = None,
    *,
    tolerance: float = TOLERANCE,
) -> Fit:
    """Fit the classifier to images.

    Args:
        descriptors: (N, D) floats.
        labels: (N,) int64.
        classes: their number K.
        penalty: C, the weight of the loss against the L2 penalty.
        start: weights (D + 1, K) to start from; zeros if None.
        tolerance: see `TOLERANCE`.
    """
    count, size = descriptors.shape
    signs = descriptors.new_full((count, classes), -1.0)
    signs[torch.arange(count, device=signs.device), labels] = 1
    scale = 1 / (penalty * count)  # keeps the objective near one, whatever C is
    weights = descriptors.new_zeros(size + 1, classes) if start is None else start.clone()

    def gradient_of(found: Tensor) -> tuple[Tensor, Tensor]:
        short = (1 - signs * scores(found, descriptors)).clamp_(min=0)
        objective = scale * (0.5 * found.square().sum() + penalty * short.square().sum())
        pull = signs * short
        loss_gradient = torch.cat([descriptors.T @ pull, pull.sum(0, keepdim=True)])
        return objective, scale * (found - 2 * penalty * loss_gradient)

    def closure() -> Tensor:
        objective, weights.grad = gradient_of(weights)
        return objective

    share = torch.bincount(labels, minlength=classes).min().item() / count
    largest = float(gradient_of(torch.zeros_like(weights))[1].abs().max())
    stop = tolerance * share * largest / math.sqrt(max(1, penalty))
    optimiser = torch.optim.LBFGS(
        [weights], max_iter=MOST_STEPS, max_eval=2 * MOST_STEPS, history_size=_MEMORY,
        tolerance_grad=stop, tolerance_change=0.0, line_search_fn="strong_wolfe",
    )  # fmt: skip
    with torch.no_grad():
        optimiser.step(closure)
        closing = float(gradient_of(weights)[1].abs().max())
    return Fit(weights, int(optimiser.state[weights]["n_iter"]), closing <= stop)


def scores(weights: Tensor, descriptors: Tensor) -> Tensor:
    """Return the score of each class for each image, (N, K)."""
    return torch.addmm(weights[-1], descriptors, weights[:-1])  # a column of ones would cost a copy of all descriptors


def predict(weights: Tensor, descriptors: Tensor) -> Tensor:
    """Return the class of the largest score of each image, (N,) int64."""
    return scores(weights, descriptors).argmax(1)


def choose(
    training: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], classes: int, grid: Sequence[float]
) -> Choice:
    """Fit with each C of an ascending `grid`, and choose by the images held out.

    Args:
        training: descriptors (N, D) and labels (N,) to fit to.
        held_out: those to measure the recall on; each class at least once.
        classes: their number.
        grid: values of C, ascending: each fit starts from the one before.
    """
    recalls: list[float] = []
    best: Fit | None = None
    found: Fit | None = None
    for penalty in grid:
        found = fit(*training, classes, penalty, found and found.weights)
        recalls.append(mean_class_recall(predict(found.weights, held_out[0]), held_out[1], classes))
        if best is None or recalls[-1] > max(recalls[:-1]):
            best = found
    assert best is not None  # noqa: S101 - the settings refuse an empty grid
    place = recalls.index(max(recalls))
    return Choice(grid[place], recalls, len(grid) > 1 and place in (0, len(grid) - 1), best)


def mean_class_recall(predicted: Tensor, labels: Tensor, classes: int) -> float:
    """Return the mean over classes of the share of a class's images that are predicted, percent.

    `predicted` and `labels` are (N,) int64; each class has an image.
    """
    # On the CPU: a GPU has no deterministic bincount with weights.
    predicted, labels = predicted.cpu(), labels.cpu()
    correct = (predicted == labels).double()
    recalls = torch.bincount(labels, correct, classes) / torch.bincount(labels, minlength=classes)
    return 100 * recalls.mean().item()
