"""The six nets of Table 1: their configurations and sizes, their settings, the network and its dense form.

What needs torch is imported on first use, so that a check of the settings does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from vgg_ablation.model.configurations import ARCHITECTURES, count_gmacs, count_parameters, weight_layers
from vgg_ablation.model.settings import ModelSettings

if TYPE_CHECKING:
    from vgg_ablation.model.dense import class_score_map, dense_logits
    from vgg_ablation.model.vgg import VGG, copy_from_shallow

__all__ = [
    "ARCHITECTURES",
    "VGG",
    "ModelSettings",
    "class_score_map",
    "copy_from_shallow",
    "count_gmacs",
    "count_parameters",
    "dense_logits",
    "weight_layers",
]

_NEEDS_TORCH = {"VGG": "vgg", "copy_from_shallow": "vgg", "class_score_map": "dense", "dense_logits": "dense"}


def __getattr__(name: str) -> object:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NEEDS_TORCH[name]}"), name)
