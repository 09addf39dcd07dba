"""One net on one split: where its runs start from, and where their state is kept."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from vgg_ablation import paper
from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.images.batches import RunImages
from vgg_ablation.model.table1 import count_gmacs
from vgg_ablation.model.vgg import VGG, copy_from_shallow
from vgg_ablation.model.weights import read_weights
from vgg_ablation.runtime.checkpoints import Slots
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.settings import ModelSettings
from vgg_ablation.runtime.state import file_digest, locked, source_digest, state_folder
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.memory import images_at_once
from vgg_ablation.train.run import DivergedError, Recipe, derive_seed, train

CHECKPOINT = "checkpoint"
_SHALLOW = ("A", "A_LRN", "B_5x5")
_STARTS_FROM_A = "paper"


@dataclass(frozen=True)
class Start:
    """Trained weights that a run goes on from, at another scale."""

    path: Path
    sha256: str
    """Of the file, as the stage that wrote it has recorded it."""

    def verify(self) -> None:
        """Check the file.

        Raises:
            OSError: it cannot be read.
            StageError: it is damaged.
        """
        if file_digest(self.path) != self.sha256:
            raise StageError(f"{self.path}: damaged, its SHA-256 is not that in training.json; run train again")


@dataclass(frozen=True)
class Experiment:
    """What the runs of one net on one split have in common; run r uses split r and seed r (appendix B)."""

    arch: str
    run: int
    images: RunImages
    model: ModelSettings
    compute: Compute
    say: Callable[[str], None]
    """Tells people why nothing seems to happen."""
    meter: Meter
    """Counts the work on the A that a deeper net starts from; that on the net itself is for the caller to count."""
    scale: str = "fixed"
    """The training scale, one of `data.settings.SCALES`, at which `images` are."""
    start: Start | None = None
    """The weights that the run goes on from; None for its initialisation."""

    @cached_property
    def images_at_once(self) -> int:
        """How many images a training step may hold; see `memory.images_at_once`."""
        return images_at_once(self._random_network(), self.model.input_side, self.compute)

    def parts(self, batch_size: int) -> int:
        """Return in how many parts a batch goes through the net.

        Raises:
            StageError: in more than one, where batch normalisation would see each alone.
        """
        batch_size = min(batch_size, len(self.images.training))
        parts = math.ceil(batch_size / self.images_at_once)
        if parts > 1 and self.model.batch_norm:
            raise StageError(
                f"train.batch_size = {batch_size}: the memory holds {self.images_at_once} images of net {self.arch} at "
                "once, and batch normalisation needs the whole batch"
            )
        return parts

    def folder(self, kind: str, batch_size: int, **determinants: object) -> Path:
        """Return the state folder for work of `kind` on this net and split that `determinants` complete.

        Raises:
            StageError: as `parts`.
        """
        batches = self.images.batches
        split = [part.numpy().tobytes() for part in (self.images.training, self.images.validation)]
        return state_folder(
            kind,
            {
                "arch": self.arch,
                "run": self.run,
                "model": self.model.model_dump(),
                "images": batches.pixels.digest,
                "split": hashlib.sha256(b"/".join(split)).hexdigest(),
                "scale": self.scale,
                "sides": [batches.training_scale, batches.test_scale],
                "start": self.start.sha256 if self.start else "",
                "source": source_digest("device.py", "images", "model", "paper.py", "train"),
                **self.compute.names,
                # These two decide how sums are grouped, and so the last digits.
                "threads": torch.get_num_threads(),
                "parts": self.parts(batch_size),
                **determinants,
            },
        )

    def epoch_work(self, batch_size: int) -> tuple[int, float]:
        """Return how many training images an epoch takes, and its multiply-accumulates (1e9), validation included.

        A training image counts thrice, for its backward pass too.
        """
        batch_size = min(batch_size, len(self.images.training))
        images = len(self.images.training) // batch_size * batch_size
        classes = len(self.images.batches.pixels.categories)
        each = count_gmacs(self.arch, classes, self.model.input_side, self.model.width)
        return images, each * (3 * images + len(self.images.validation))

    def train(self, recipe: Recipe, checkpoint: Path) -> tuple[VGG, Iterator[Epoch]]:
        """Return the net at its start and the epochs that train it as they are asked for; see `train.run.train`.

        `checkpoint` is the stem of the files that they are kept in; see `pipeline.slots`.

        With `init: paper`, B to E start from a trained A (section 3.1); see `_trained_shallow`. With `start`, every net
        starts from those weights.
        """
        network = self._random_network()
        return network, self._from_start(network, recipe, checkpoint)

    def _from_start(self, network: VGG, recipe: Recipe, checkpoint: Path) -> Iterator[Epoch]:
        if self.start:
            read_weights(self.start.path, network)
        elif self.model.init == _STARTS_FROM_A and self.arch not in _SHALLOW:
            copy_from_shallow(network, self._trained_shallow(recipe))
        yield from self._epochs(network, recipe, checkpoint)

    def _random_network(self) -> VGG:
        torch.manual_seed(derive_seed(self.run, "weights"))
        network = VGG(self.arch, len(self.images.batches.pixels.categories), **self.model.model_dump())
        return network.to(self.compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def _epochs(self, network: VGG, recipe: Recipe, checkpoint: Path) -> Iterator[Epoch]:
        return train(
            network, self.images.batches, self.images.training, self.images.validation, recipe, self.compute,
            seed=self._seed, largest=self.images_at_once, checkpoints=Slots(checkpoint, self.say), say=self.say,
        )  # fmt: skip

    @property
    def _seed(self) -> int:
        """That of order, crops and dropout: another at each scale, so that no net meets the same crops again."""
        return self.run if self.scale == "fixed" else derive_seed(self.run, self.scale)

    def _trained_shallow(self, recipe: Recipe) -> VGG:
        """Return net A trained on the same images and seed at the paper's point, as A's own is not known here.

        It is trained once for a split and a number of epochs, by whichever net needs it first.

        Raises:
            DivergedError: that A diverged.
        """
        shallow = replace(self, arch="A")
        point = replace(recipe, learning_rate=paper.LEARNING_RATE, weight_decay=paper.WEIGHT_DECAY)
        network = shallow._random_network()  # noqa: SLF001 - of the same class
        folder = shallow.folder("train", point.batch_size, recipe=asdict(point))
        work = shallow.epoch_work(point.batch_size)
        with locked(folder, self.say):
            try:
                for epoch in shallow._epochs(network, point, folder / CHECKPOINT):  # noqa: SLF001
                    self.meter.add(epoch.seconds, *work)
                    self.say(f"A, to start from: epoch {epoch.epoch}/{point.epochs}, loss {epoch.train_loss:.3f}")
            except DivergedError as error:
                raise DivergedError(
                    error.epoch, error.seconds, error.reason, error.found, net="A, to start from,"
                ) from None
        return network
