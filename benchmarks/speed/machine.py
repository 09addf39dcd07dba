"""What was measured on. Imports no torch."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.provenance import processor

_LIBRARIES = ("torch", "torchvision", "timm", "dvc", "pillow")


def describe_machine() -> dict[str, str | int | float]:
    """Return the processor's name, the number of cores and the memory in GiB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"processor": processor(), "cores": os.cpu_count() or 1, "memory_gib": round(memory / 2**30, 1)}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries compared.

    Raises:
        StageError: one is not installed.
    """
    try:
        return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
    except PackageNotFoundError as error:
        raise StageError(f"{error.name} is not installed; `make bench` installs it") from None
