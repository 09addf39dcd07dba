"""torchvision's net, folder and transforms, used as its documentation advises."""

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.speed.cases import CLASSES, DROPOUT, STORED_SIDE, Case
from benchmarks.speed.programs.loader import Loader, WithLoader

_BUILD = {"A": models.vgg11, "D": models.vgg16, "E": models.vgg19}
_POOLED_TO = 7  # side of the last map that torchvision's classifier is made for


def build_network(net: str, pixels: int) -> nn.Module:
    """Return net A, D or E for crops of `pixels` pixels.

    torchvision would enlarge smaller maps to 7x7; here they keep their size, so that all programs have the same net.
    """
    network = _BUILD[net](num_classes=CLASSES, dropout=DROPOUT)
    if (side := pixels // 32) != _POOLED_TO:
        network.avgpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        network.classifier[0] = nn.Linear(512 * side**2, 4096)
    return network


class Torchvision(WithLoader):
    """Decoding and transforms in the loader's processes."""

    def __init__(self, case: Case, device: str, precision: str) -> None:
        transform = v2.Compose([
            v2.RGB(),
            v2.ToImage(),
            v2.Resize(STORED_SIDE[case.pixels], antialias=True),
            v2.RandomCrop(case.pixels),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ])  # fmt: skip
        dataset = ImageFolder(case.images.files, transform)

        def make_loader(processes: int) -> Loader:
            return DataLoader(
                dataset, case.batch_size, shuffle=True, drop_last=True, num_workers=processes,
                pin_memory=device == "cuda", persistent_workers=processes > 0,
            )  # fmt: skip

        super().__init__(build_network(case.net, case.pixels), torch.device(device), precision, make_loader)


class Compiled(Torchvision):
    """The same program with its net compiled, as torch's documentation advises."""

    def __init__(self, case: Case, device: str, precision: str) -> None:
        super().__init__(case, device, precision)
        self._forward = torch.compile(self.network)
