"""What is measured, on how many images, and how often: the two forms of the benchmark. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

CLASSES = 256
STORED_SIDE = {64: 72, 224: 256}
"""Smallest side of a stored image in pixels, by the side of the crop: S of section 3.1."""
BATCH_SIZE = {"cpu": {64: 64, 224: 16}, "cuda": {64: 256, 224: 256}}
"""Images a step, by device and side of the crop."""
LEARNING_RATE = 1e-3  # small enough that no net diverges within the few steps; the article names none
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
DROPOUT = 0.5

ARTICLE, GOOD_PRACTICE, TIMM, OURS = CONTESTANTS = ("article", "good_practice", "timm", "ours")
WITH_LOADER_WORKERS = (GOOD_PRACTICE, TIMM)
"""Those whose images may be decoded in processes beside the training: how many is found out."""
INPUT, STEP, EPOCH = TRAINING_MEASURES = ("input", "step", "epoch")
PREPROCESS, NOOP = "preprocess", "noop"
CORES = -1


@dataclass(frozen=True)
class Images:
    """The same images twice: as files in a folder a category, and packed."""

    files: Path
    packed: Path
    count: int


@dataclass(frozen=True)
class Case:
    """A net, the side of its crops, and the images of its epoch."""

    net: str
    pixels: int
    batch_size: int
    images: Images

    @property
    def side(self) -> int:
        """Smallest side of a stored image in pixels."""
        return STORED_SIDE[self.pixels]


@dataclass(frozen=True)
class Effort:
    """How often a measure is repeated."""

    rounds: int
    budget: float
    """Seconds after which a contestant does no further round of one measure in one case."""
    warm_up: bool = False
    """Whether a round goes before that does not count, unless it alone takes up the budget."""

    @property
    def all_rounds(self) -> int:
        """The rounds, with the one that warms up."""
        return self.rounds + self.warm_up


@dataclass(frozen=True)
class Form:
    """How thorough a run is."""

    name: str
    effort: dict[str, Effort]
    """By measure."""
    images: dict[str, dict[tuple[str, int], int]]
    """Images an epoch, by device, then by net and side of the crop; the cases are measured in this order."""
    step_contestants: tuple[str, ...]
    """Whose steps are timed alone."""
    loader_processes: tuple[int, ...]
    """Numbers of them that are tried, where a contestant's loader may have some; `CORES` stands for one a core."""
    loader_tried_at: tuple[int, ...]
    """Sides of the crop at which they are tried; at others, what paid at the first of these is taken."""
    share_of_archive: int
    """`preprocess` reads every so-manieth file of the stand-in for the archive."""


# On a GPU an epoch is of all images of the archive that whole batches take, up to these.
_ON_A_GPU = {(net, pixels): 1536 for pixels in (64, 224) for net in ("A", "E")}

SHORT = Form(
    "short",
    {
        INPUT: Effort(2, 6.0, warm_up=True),
        STEP: Effort(1, 12.0),
        EPOCH: Effort(2, 12.0),
        PREPROCESS: Effort(2, 60.0),
        NOOP: Effort(3, 60.0),
    },
    {"cpu": {("A", 64): 128, ("E", 64): 128, ("A", 224): 32, ("E", 224): 32}, "cuda": _ON_A_GPU},
    (GOOD_PRACTICE, OURS),  # for the time that it takes: one step of the article's E at 224 pixels is 12 s on two cores
    (0, CORES),
    (64,),
    20,
)
FULL = Form(
    "full",
    {
        INPUT: Effort(5, 120.0, warm_up=True),
        STEP: Effort(3, 120.0),
        EPOCH: Effort(3, 240.0),
        PREPROCESS: Effort(3, 240.0),
        NOOP: Effort(5, 120.0),
    },
    {"cpu": {("A", 64): 512, ("E", 64): 256, ("A", 224): 64, ("E", 224): 32}, "cuda": _ON_A_GPU},
    CONTESTANTS,
    (0, 1, CORES),
    (64, 224),
    1,
)
