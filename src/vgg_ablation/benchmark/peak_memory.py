"""The most memory that this process held since a moment. Imports no torch."""

from pathlib import Path

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset() -> None:
    """Begin anew from what the process holds now, where the system can; elsewhere the peak is since its start."""
    try:
        _RESET.write_text("5")
    except OSError:
        return


def peak_mib() -> float | None:
    """Return the peak of the resident memory in MiB; None where the system does not tell it."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
