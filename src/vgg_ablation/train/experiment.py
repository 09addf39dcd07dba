"""The runs of one net on one split: their initial weights, and the folder of their resume state."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.imagenet import kept_weights, published_net
from vgg_ablation.images.batches import RunImages
from vgg_ablation.model.published import OFFICIAL, twin
from vgg_ablation.model.start import copy_from_published, copy_from_shallow
from vgg_ablation.model.table1 import NETS, configuration, count_gmacs
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import read_weights
from vgg_ablation.paper import recipe as paper
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.locks import locked
from vgg_ablation.runtime.names import named, norm_of
from vgg_ablation.runtime.settings import ModelSettings
from vgg_ablation.runtime.state import source_digest, state_folder
from vgg_ablation.train.epoch import Divergence, Epoch
from vgg_ablation.train.execution import has_compiler
from vgg_ablation.train.memory import images_at_once
from vgg_ablation.train.run import Recipe, derive_seed, train

CHECKPOINT = "checkpoint"
"""Stem of the checkpoints of a run in its state folder."""

SOURCES = (
    "device.py", "images/batches.py", "images/index.py", "images/pixels.py", "images/rescale.py",
    "model/published.py", "model/start.py", "model/table1.py", "model/vgg.py", "model/weights.py", "paper/recipe.py",
    "train/checkpoint.py", "train/epoch.py", "train/execution.py", "train/experiment.py",
    "train/memory.py", "train/run.py", "train/schedule.py", "train/step.py",
)  # fmt: skip
"""Files of the package that decide a run: their digest is part of the key of its state."""


def seed_of(run: int, scale: str) -> int:
    """Return the seed of order, crops and dropout; it differs between scales: no net sees the same crops again."""
    return run if scale == "fixed" else derive_seed(run, scale)


@dataclass(frozen=True)
class Start:
    """Weights of the previous training scale that a run starts from."""

    path: Path
    sha256: str
    """Digest of the file, as training.json records it."""


@dataclass(frozen=True)
class Experiment:
    """The runs of one net on one split; run r uses split r and seed r (appendix B)."""

    arch: str
    run: int
    images: RunImages
    """At the training scale `scale`."""
    model: ModelSettings
    compute: Compute
    say: Callable[[str], None]
    """Receives progress lines."""
    meter: Meter
    """Counts the work on a net A that gives initial weights; the caller counts the work on the net itself."""
    scale: str = "fixed"
    """Training scale, one of `runtime.settings.SCALES`."""
    start: Start | None = None
    """Weights of the previous scale; None: initialise them."""

    @cached_property
    def images_at_once(self) -> int:
        """Number of images that a training step may hold; see `memory.images_at_once`."""
        return images_at_once(self._random_network(), self.model.input_side, self.compute)

    def parts(self, batch_size: int) -> int:
        """Return in how many parts a batch goes through the net.

        Raises:
            StageError: in more than one, but batch normalisation needs the whole batch.
        """
        batch_size = min(batch_size, len(self.images.training))
        parts = math.ceil(batch_size / self.images_at_once)
        if parts > 1 and norm_of(self.arch) == "batch":
            raise StageError(
                f"tune.batch_size = {batch_size}: the memory holds {self.images_at_once} images of net {self.arch} at "
                "once, and batch normalisation needs the whole batch"
            )
        return parts

    def folder(self, kind: str, *batch_sizes: int, sources: tuple[str, ...] = SOURCES, **determinants: object) -> Path:
        """Return the state folder of work on this net and split.

        Args:
            kind: such as `train` or `tune`.
            batch_sizes: images of a step; of a search, all sizes to choose from.
            sources: files of the package that decide the result.
            determinants: what else decides it, as JSON values.

        Raises:
            StageError: as `parts`.
        """
        batches = self.images.batches
        split = [part.numpy().tobytes() for part in (self.images.training, self.images.validation)]
        return state_folder(
            kind,
            {
                "arch": self.arch,
                "net": configuration(self.arch),
                "run": self.run,
                "model": self.model.model_dump(),
                "images": batches.pixels.digest,
                "split": hashlib.sha256(b"/".join(split)).hexdigest(),
                "scale": self.scale,
                "sides": [batches.training_scale, batches.test_scale],
                "start": self._start_key,
                "source": source_digest(*sources),
                **self.compute.names,
                # These three decide how sums are grouped, and so the last digits.
                "threads": torch.get_num_threads(),
                "compiler": has_compiler(self.compute.device),
                "parts": [self.parts(size) for size in batch_sizes],
                **determinants,
            },
        )

    def epoch_work(self, batch_size: int) -> tuple[int, float]:
        """Return the training images of an epoch and its multiply-accumulates (1e9), validation included.

        A training image counts three times: forward and backward.
        """
        batch_size = min(batch_size, len(self.images.training))
        images = len(self.images.training) // batch_size * batch_size
        classes = len(self.images.batches.pixels.categories)
        each = count_gmacs(self.arch, classes, self.model.input_side, self.model.width)
        return images, each * (3 * images + len(self.images.validation))

    def start_folder(self, recipe: Recipe) -> Path | None:
        """Return the state folder of the published net, or the trained A, that this net starts from; else None."""
        if self.start:
            return None
        if self.model.init == "imagenet":
            return kept_weights(twin(self.arch))
        if not self._starts_from_a:
            return None
        shallow, recipe = self._shallow(recipe)
        return shallow.folder("shallow", recipe.point.batch_size, recipe=asdict(recipe))

    def train(self, recipe: Recipe, checkpoints: BackgroundCheckpoints) -> tuple[VGG, Iterator[Epoch]]:
        """Return the untrained net, and an iterator that trains it epoch by epoch; see `train.run.train`.

        The first epoch sets the initial weights: those of `start`; or with `init: paper`, in nets that start from A,
        layers of a trained A (section 3.1; A_BN for a net with batch normalisation); or with `init: imagenet`, all
        but the last of a net that was trained on ImageNet; else random ones.

        Args:
            recipe: hyper-parameters.
            checkpoints: checkpoints of this run; their context is the training's.
        """
        network = self._random_network()
        return network, self._epochs_from_start(network, recipe, checkpoints)

    @property
    def _a(self) -> str:
        """Net A with this net's normalisation."""
        return named("A", norm_of(self.arch))

    @property
    def _starts_from_a(self) -> bool:
        return self.model.init == "paper" and NETS[self.arch].starts_from_A

    @property
    def _start_key(self) -> object:
        """The weights that training starts from, as far as the settings do not decide them, as a JSON value."""
        if self.start:
            return self.start.sha256
        if self.model.init == "imagenet":
            return OFFICIAL[twin(self.arch)]
        return configuration(self._a) if self._starts_from_a else ""

    def _epochs_from_start(self, network: VGG, recipe: Recipe, checkpoints: BackgroundCheckpoints) -> Iterator[Epoch]:
        if self.start:
            read_weights(self.start.path, network)
        elif self.model.init == "imagenet":
            colour = self.images.batches.colour
            copy_from_published(network, published_net(twin(self.arch)), colour.mean, colour.deviation)
        elif folder := self.start_folder(recipe):
            copy_from_shallow(network, self._trained_shallow(recipe, folder))
        yield from self._epochs(network, recipe, checkpoints)

    def _random_network(self) -> VGG:
        torch.manual_seed(derive_seed(self.run, "weights"))
        network = VGG(self.arch, len(self.images.batches.pixels.categories), **self.model.model_dump())
        return network.to(self.compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def _epochs(self, network: VGG, recipe: Recipe, checkpoints: BackgroundCheckpoints) -> Iterator[Epoch]:
        return train(
            network, self.images.batches, self.images.training, self.images.validation, recipe, self.compute,
            seed=seed_of(self.run, self.scale), largest=self.images_at_once,
            checkpoints=checkpoints, say=self.say,
        )  # fmt: skip

    def _shallow(self, recipe: Recipe) -> "tuple[Experiment, Recipe]":
        """Return net A in place of this net, and how it is trained."""
        point = replace(recipe.point, learning_rate=paper.LEARNING_RATE, weight_decay=paper.WEIGHT_DECAY)
        return replace(self, arch=self._a), replace(recipe, point=point)

    def _trained_shallow(self, recipe: Recipe, folder: Path) -> VGG:
        """Return net A trained on the same images with the same seed, at the paper's learning rate and weight decay.

        It is trained once per split, batch size and number of epochs, by the net that needs it first.

        Raises:
            Divergence: training of A diverged.
        """
        shallow, recipe = self._shallow(recipe)
        network = shallow._random_network()  # noqa: SLF001 - the same class
        work = shallow.epoch_work(recipe.point.batch_size)
        with locked(folder, self.say), BackgroundCheckpoints(folder / CHECKPOINT, self.say) as checkpoints:
            try:
                for epoch in shallow._epochs(network, recipe, checkpoints):  # noqa: SLF001
                    self.meter.add(epoch.seconds, *work)
                    self.say(messages.starting_net_trained(self._a, epoch.epoch, recipe.epochs, epoch.train_loss))
            except Divergence as error:
                raise replace(error, net=f"net {self._a} (initial weights)") from None
        return network
