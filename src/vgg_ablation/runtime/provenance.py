"""The machine and the source that a result comes from. Imports no torch."""

import os
import platform
from pathlib import Path

import psutil

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.git import git
from vgg_ablation.runtime.state import PACKAGE


def describe_machine() -> str:
    """Return the processor's name, the number of cores and the memory: `AMD EPYC 9V45, 2 cores, 24 GiB`."""
    return f"{processor()}, {os.cpu_count() or 1} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def describe_commit() -> str:
    """Return the commit of the repository that holds this source, with `+changes` if tracked code differs from it.

    Empty without git or a repository, as for an installed package.
    """
    try:
        commit = git("rev-parse", "HEAD", folder=PACKAGE).strip()
        # Code only: settings are recorded on their own, and results of other nets change as they are computed.
        changed = git("diff", "--name-only", "HEAD", "--", ".", ":/stages/*.py", folder=PACKAGE)
    except StageError:
        return ""
    return commit + ("+changes" if changed else "")
