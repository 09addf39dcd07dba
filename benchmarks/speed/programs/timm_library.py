"""timm's net, folder and loader."""

import timm  # pyright: ignore[reportMissingImports] - only `make bench` installs it
import torch
from timm.data import create_dataset, create_loader  # pyright: ignore
from timm.models.vgg import ConvMlp  # pyright: ignore[reportMissingImports]
from torch import nn

from benchmarks.speed.cases import CLASSES, DROPOUT, STORED_SIDE, Case
from benchmarks.speed.programs.loader import Loader, WithLoader

_NAMES = {"A": "vgg11", "D": "vgg16", "E": "vgg19"}
_POOLED_TO = 7  # side of the last map that timm's head is made for


def build_network(net: str, pixels: int) -> nn.Module:
    """Return net A, D or E for crops of `pixels` pixels.

    timm would enlarge smaller maps to 7x7; here they keep their size, so that all programs have the same net.
    """
    network = timm.create_model(_NAMES[net], num_classes=CLASSES, drop_rate=DROPOUT)
    if (side := pixels // 32) != _POOLED_TO:
        network.pre_logits = ConvMlp(512, 4096, side, drop_rate=DROPOUT)
    return network


class Timm(WithLoader):
    """timm's loader normalises on the device, a batch at a time."""

    def __init__(self, case: Case, device: str, precision: str) -> None:
        # As close to our crop as its options allow: half of the images are rescaled to the stored side and half to the
        # crop's, which costs less, before a random square is cut.
        share = (case.pixels / STORED_SIDE[case.pixels]) ** 2

        def make_loader(processes: int) -> Loader:
            dataset = create_dataset("", root=str(case.images.files), search_split=False)
            return create_loader(
                dataset, case.pixels, case.batch_size,  # pyright: ignore[reportArgumentType]
                is_training=True, train_crop_mode="rkrr", scale=(share, share), ratio=(1.0, 1.0), color_jitter=None,  # pyright: ignore[reportArgumentType]
                interpolation="bilinear", num_workers=processes, pin_memory=device == "cuda",
                device=torch.device(device),
            )  # fmt: skip

        super().__init__(build_network(case.net, case.pixels), torch.device(device), precision, make_loader)
