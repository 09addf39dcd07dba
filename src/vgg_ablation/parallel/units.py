"""Units of work of a study: the trials of each net's search, and its runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vgg_ablation.evaluate.protocols import View, views
from vgg_ablation.runtime.settings import StudySettings, evaluated_scales, trained_scales


@dataclass(frozen=True)
class Unit:
    """A piece of work that one process does, with the threads or the GPU of one slot."""

    arch: str
    """Name of the net."""
    kind: Literal["trial", "run"]
    """`trial` of its search, or `run`: training and evaluation at all its training scales, with one split and seed."""
    number: int
    """From 0, among the net's units of this kind."""
    total: int
    """Number of the net's units of this kind."""
    needs: tuple[str, ...]
    """Names of the units that must end before."""

    @property
    def name(self) -> str:
        """Such as `C trial 3/8`."""
        return _name(self.arch, self.kind, self.number, self.total)


@dataclass(frozen=True)
class Work:
    """Settings and training scales that the units of one command share."""

    study: StudySettings
    scale: str
    """`scale` of params.yaml: a training scale, or `all`."""

    @property
    def trained_scales(self) -> tuple[str, ...]:
        """Training scales at which nets are trained: each starts from the weights of the one before."""
        return trained_scales(self.scale)

    @property
    def evaluated_scales(self) -> tuple[str, ...]:
        """Training scales whose nets are evaluated."""
        return evaluated_scales(self.scale)

    def views(self, scale: str) -> list[View]:
        """Return the views of the test images under the protocols of a training scale, each once."""
        protocols, sides = self.study.evaluate.protocols.of(scale), self.study.scales.of(scale).test
        return list(dict.fromkeys(view for protocol in protocols for view in views(protocol, sides)))

    def units(self, archs: Sequence[str]) -> list[Unit]:
        """Return the units of some nets. A trial needs those of earlier rounds, a run needs all trials of its net."""
        trials, round_size, runs = self.study.tune.trials, self.study.tune.round_size, self.study.data.splits
        units: list[Unit] = []
        for arch in archs:
            names = [_name(arch, "trial", number, trials) for number in range(trials)]
            for number in range(trials):
                first = number - number % round_size
                # Those of the last round needed those before it.
                units.append(Unit(arch, "trial", number, trials, tuple(names[max(0, first - round_size) : first])))
            last = (trials - 1) // round_size * round_size
            units += [Unit(arch, "run", number, runs, tuple(names[last:])) for number in range(runs)]
        return units


def _name(arch: str, kind: str, number: int, total: int) -> str:
    return f"{arch} {kind} {number + 1}/{total}"
