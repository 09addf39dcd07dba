import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.search_cost.curves import Curves, Train
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.run import DivergedError

LENGTH = 4


def epoch(number: int) -> Epoch:
    return Epoch(number, 1e-2, 1 / number, 2 / number, 10.0 * number, 0.5)


class Training:
    """Counts the epochs it computes."""

    def __init__(self, diverges_in: int = LENGTH + 1) -> None:
        self.computed = 0
        self.diverges_in = diverges_in

    def __call__(self, learning_rate: float, weight_decay: float, checkpoint: Path) -> Iterator[Epoch]:
        for number in range(1, LENGTH + 1):
            self.computed += 1
            if number == self.diverges_in:
                raise DivergedError(number, 0.5)
            yield epoch(number)


def curves(folder: Path, train: Train) -> Curves:
    return Curves(folder, train, LENGTH)


def first(found: Iterator[Epoch], count: int) -> list[Epoch]:
    """Take some epochs and close the run, as a pruner does."""
    taken = [next(found) for _ in range(count)]
    found.close()  # pyright: ignore[reportAttributeAccessIssue]
    return taken


def test_a_curve_is_computed_once(tmp_path: Path) -> None:
    training = Training()
    for _ in range(2):
        assert list(curves(tmp_path, training).epochs(1e-2, 5e-4)) == [epoch(number) for number in (1, 2, 3, 4)]
    assert training.computed == LENGTH


def test_points_do_not_share_a_curve(tmp_path: Path) -> None:
    training = Training()
    for point in ((1e-2, 5e-4), (1e-2, 5.0000000000000002e-3), (5e-4, 1e-2)):
        list(curves(tmp_path, training).epochs(*point))
    assert training.computed == 3 * LENGTH


def test_the_epochs_of_a_pruned_trial_are_kept(tmp_path: Path) -> None:
    training = Training()
    for _ in range(2):
        assert first(curves(tmp_path, training).epochs(1e-2, 5e-4), 2) == [epoch(1), epoch(2)]
    assert training.computed == 2


def test_a_pruned_trial_that_another_method_wants_whole_is_computed_to_its_end(tmp_path: Path) -> None:
    first(curves(tmp_path, Training()).epochs(1e-2, 5e-4), 2)
    assert [found.epoch for found in curves(tmp_path, Training()).epochs(1e-2, 5e-4)] == [1, 2, 3, 4]
    training = Training()
    list(curves(tmp_path, training).epochs(1e-2, 5e-4))
    assert training.computed == 0


@pytest.mark.parametrize("diverges_in", [1, 3])
def test_a_divergence_is_computed_once(tmp_path: Path, diverges_in: int) -> None:
    training = Training(diverges_in)
    for _ in range(2):
        found: list[Epoch] = []
        with pytest.raises(DivergedError) as raised:
            found.extend(curves(tmp_path, training).epochs(1e-2, 5e-4))
        assert raised.value.epoch == diverges_in
    assert training.computed == diverges_in


def test_the_time_of_all_epochs_is_counted(tmp_path: Path) -> None:
    stored = curves(tmp_path, Training())
    list(stored.epochs(1e-2, 5e-4))
    first(stored.epochs(1e-3, 5e-4), 3)
    assert math.isclose(stored.seconds(), 0.5 * 7)
