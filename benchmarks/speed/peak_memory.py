"""The most memory that this process held since a moment. Imports no torch."""

import ctypes
from pathlib import Path

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset() -> bool:
    """Begin anew from what the process holds now; return whether the system can."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def give_back() -> None:
    """Return to the system what was freed but kept, so that what comes next has a peak of its own."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):  # not glibc, which alone keeps memory so
        return


def peak_mib() -> float | None:
    """Return the peak of the resident memory in MiB; None where the system does not tell it."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
