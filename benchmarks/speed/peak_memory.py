"""The most memory that this process has held since a moment; no library resets that peak. Imports no torch."""

import ctypes
from pathlib import Path

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset() -> bool:
    """Start a new peak; return whether the system can."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def give_back() -> None:
    """Return freed memory to the system, so that the next case has a peak of its own; without glibc, do nothing."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return


def peak_mib() -> float | None:
    """Return the peak of the resident memory in MiB, or None where the system does not report it."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
