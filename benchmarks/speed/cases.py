"""Cases, images and repetitions of the benchmark. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

CLASSES = 256
STORED_SIDE = {64: 72, 224: 256}
"""Smallest side of a stored image in pixels, by the side of the crop: S of section 3.1."""
BATCH_SIZE = {"cpu": {64: 64, 224: 16}, "cuda": {64: 256, 224: 256}}
"""Images a step, by device and side of the crop."""
LEARNING_RATE = 1e-3  # the article names none; no net diverges at this one within the few steps
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
DROPOUT = 0.5

ARTICLE, TORCHVISION, TIMM, OURS = PROGRAMS = ("article", "torchvision", "timm", "ours")
COMPILED = "torchvision compiled"
"""torchvision's program with `torch.compile`, on a GPU alone: a CPU compiles for longer than it measures."""
WITH_LOADER = (TORCHVISION, TIMM, COMPILED)
"""Programs that can load images in processes of their own: the number that pays is found by trying."""
INPUT, STEP, EPOCH = TRAINING_MEASURES = ("input", "step", "epoch")
PREPROCESS, NOOP = "preprocess", "noop"
CORES = -1
"""Stands for as many loader processes as the machine has cores."""


@dataclass(frozen=True)
class Images:
    """The same images twice: as files in one folder a category, and packed."""

    files: Path
    packed: Path
    count: int


@dataclass(frozen=True)
class Case:
    """A net, the side of its crops in pixels, the batch size, and the images of an epoch."""

    net: str
    pixels: int
    batch_size: int
    images: Images


@dataclass(frozen=True)
class Effort:
    """Repetitions of a measure."""

    rounds: int
    budget: float
    """Seconds after which a program takes part in no further round of this measure and case."""
    warm_up: bool = False
    """True if one more round comes first. It counts only where it alone uses up the budget."""

    @property
    def all_rounds(self) -> int:
        """Rounds, the warm-up included."""
        return self.rounds + self.warm_up


@dataclass(frozen=True)
class Plan:
    """Extent of a run of the benchmark."""

    name: str
    effort: dict[str, Effort]
    """By measure."""
    images: dict[str, dict[tuple[str, int], int]]
    """Images an epoch, by device, then by net and side of the crop, in the order in which cases are measured."""
    programs: dict[str, tuple[str, ...]]
    """By measure, where not all programs take part."""
    epochs_at: tuple[int, ...]
    """Sides of the crop at which input and whole epochs are measured."""
    loader_processes: tuple[int, ...]
    """Numbers of loader processes to try; a single one is used as it is."""
    loader_tried_at: tuple[int, ...]
    """Sides of the crop at which they are tried; elsewhere the best number at the first of these is used."""
    archive_step: int
    """`preprocess` reads one in so many files of the stand-in archive."""


# An epoch lasts seconds, and each of a few dozen loader processes has more than one batch.
_ON_A_GPU = {(net, pixels): 12_288 for pixels in (224, 64) for net in ("A", "D", "E")}

SHORT = Plan(
    "short",
    {
        INPUT: Effort(2, 6.0, warm_up=True),
        STEP: Effort(1, 12.0),
        EPOCH: Effort(2, 12.0),
        PREPROCESS: Effort(2, 60.0),
        NOOP: Effort(3, 60.0),
    },
    {"cpu": {("A", 64): 128, ("E", 64): 128, ("A", 224): 32, ("E", 224): 32}, "cuda": _ON_A_GPU},
    {STEP: (TORCHVISION, COMPILED, OURS)},  # one step of the article's E at 224 pixels takes 12 s on two cores
    (64, 224),
    (0, CORES),
    (64,),
    20,
)
FULL = Plan(
    "full",
    {
        INPUT: Effort(5, 120.0, warm_up=True),
        STEP: Effort(3, 120.0),
        EPOCH: Effort(3, 240.0),
        PREPROCESS: Effort(3, 240.0),
        NOOP: Effort(5, 120.0),
    },
    {"cpu": {("A", 64): 512, ("E", 64): 256, ("A", 224): 64, ("E", 224): 32}, "cuda": _ON_A_GPU},
    {},
    (64, 224),
    (0, 1, CORES),
    (64, 224),
    1,
)
GPU = Plan(
    "gpu",
    {INPUT: Effort(1, 20.0, warm_up=True), STEP: Effort(3, 5.0), EPOCH: Effort(1, 60.0)},
    {"cuda": _ON_A_GPU},
    {INPUT: (COMPILED, OURS), EPOCH: (COMPILED, OURS)},  # an epoch of the article's loader takes half a minute
    (224,),
    (CORES,),
    (224,),
    2,
)
"""Steps of all programs; whole epochs of ours and of the fastest other one. Seconds, beside the compiler's minute."""


def programs_on(kind: str) -> tuple[str, ...]:
    """Return the programs that are compared on a device, `cpu` or `cuda`."""
    return (*PROGRAMS, COMPILED) if kind == "cuda" else PROGRAMS
