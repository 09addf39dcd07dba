"""The nets that torchvision trained on ImageNet: their files, shape and inputs. Imports no torch."""

from typing import Any, NamedTuple

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.names import named, norm_of, plain
from vgg_ablation.runtime.settings import PUBLISHED_SIDE, PUBLISHED_WIDTH


class Official(NamedTuple):
    """One of torchvision's files `IMAGENET1K_V1`."""

    file: str
    mebibytes: float
    """Size of the file as torchvision gives it, to three decimals."""
    sha256: str
    """Where only its first eight hexadecimal digits are published, those in the file's name."""


OFFICIAL = {
    "A": Official("vgg11-8a719046.pth", 506.84, "8a719046"),
    "B": Official("vgg13-19584684.pth", 507.545, "19584684"),
    "D": Official("vgg16-397923af.pth", 527.796, "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
    "E": Official("vgg19-dcbb9e9d.pth", 548.051, "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44"),
    "A_BN": Official("vgg11_bn-6002323d.pth", 506.881, "6002323d"),
    "B_BN": Official("vgg13_bn-abd245e5.pth", 507.59, "abd245e5"),
    "D_BN": Official("vgg16_bn-6c64b313.pth", 527.866, "6c64b313"),
    "E_BN": Official("vgg19_bn-c79401a0.pth", 548.143, "c79401a0"),
}
"""Names and sizes: torchvision 0.29, `torchvision/models/vgg.py`.

No source gives the whole SHA-256 of all files: those of vgg16 and vgg19 are quoted by several projects that checked
them; of the others, the eight digits in the name are compared, as `torch.hub` does.
"""

PUBLISHED = tuple(net for net in OFFICIAL if norm_of(net) == "none")
"""Plain names of these nets."""

TWINS = {"A": "A", "A_LRN": "A", "B": "B", "C": "D", "D": "D", "E": "E"}
"""The published net whose layers a net starts from with `init: imagenet`, both by plain name."""

CLASSES = 1000
"""Number of classes of ImageNet."""
SHAPE: dict[str, Any] = {"input_side": PUBLISHED_SIDE, "width": PUBLISHED_WIDTH}
"""Side of the crop that these nets were trained on, and their width: keyword arguments of `VGG`."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of each channel of their inputs, pixel values in 0..1."""

WEIGHTS_FILE, SOURCE_FILE = "weights.safetensors", "source.json"
"""Converted weights, and the record of where they are from."""


def twin(arch: str) -> str:
    """Return the name of the published net whose layers net `arch` starts from, with the same normalisation.

    Raises:
        StageError: no published net has layers that fit.
    """
    if plain(arch) not in TWINS:
        raise StageError(f"model.init = 'imagenet': no published ImageNet weights fit net {arch}")
    return named(TWINS[plain(arch)], norm_of(arch))
