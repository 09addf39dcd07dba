"""Learning curves by point, on disk: no epoch that was stored is computed again, whichever method asks for it.

Every trial of this measurement starts from the same weights and sees the same crops, so that learning rate and weight
decay alone determine its epochs. An interrupted measurement is therefore begun anew and costs only what is not stored.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from vgg_ablation.files import read_json, write_json
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.run import DivergedError

Train = Callable[[float, float, Path], Iterator[Epoch]]
"""Learning rate, weight decay and the stem of its checkpoint to the epochs of a run."""


@dataclass(frozen=True)
class _Curve:
    epochs: tuple[Epoch, ...] = ()
    diverged: int | None = None
    """The epoch in which it did."""


@dataclass(frozen=True)
class Curves:
    """The curves in `folder`, a file a point; `train` makes those that are missing, `length` epochs long."""

    folder: Path
    train: Train
    length: int

    def epochs(self, learning_rate: float, weight_decay: float) -> Iterator[Epoch]:
        """Yield the epochs of a run at this point, stored or not, and store what was computed when that ends.

        Raises:
            DivergedError: the run diverges.
        """
        name = hashlib.sha256(f"{learning_rate!r} {weight_decay!r}".encode()).hexdigest()[:24]
        path = self.folder / f"curve-{name}.json"
        stored = _read(path) if path.exists() else _Curve()
        yield from stored.epochs
        if stored.diverged is not None:
            raise DivergedError(stored.diverged, 0.0)
        if len(stored.epochs) == self.length:
            return
        computed: list[Epoch] = []
        diverged = None
        try:
            with TemporaryDirectory() as folder:  # a trial takes seconds: its checkpoint need not outlive it
                for epoch in self.train(learning_rate, weight_decay, Path(folder) / "checkpoint"):
                    computed.append(epoch)
                    if epoch.epoch > len(stored.epochs):
                        yield epoch
        except DivergedError as error:
            diverged = error.epoch
            raise
        finally:
            # Also of a run that is pruned here, which closes this generator.
            # Another process may have stored the same point meanwhile, and come further.
            latest = _read(path) if path.exists() else stored
            if len(computed) > len(latest.epochs) or diverged is not None:
                point = {"learning_rate": learning_rate, "weight_decay": weight_decay}
                write_json(path, {**point, "epochs": [asdict(epoch) for epoch in computed], "diverged": diverged})

    def seconds(self) -> float:
        """Return the time that the stored epochs took, on one thread each."""
        return sum(epoch.seconds for path in self.folder.glob("curve-*.json") for epoch in _read(path).epochs)


def _read(path: Path) -> _Curve:
    values = read_json(path)
    return _Curve(tuple(Epoch(**epoch) for epoch in values["epochs"]), values["diverged"])
