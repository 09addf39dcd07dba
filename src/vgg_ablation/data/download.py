"""Files fetched over the network."""

from pathlib import Path

import pooch

from vgg_ablation.pipeline.console import Stage
from vgg_ablation.pipeline.errors import StageError

OFFICIAL_ADDRESS = "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar"
OFFICIAL_SIZE = 1_183_006_720  # bytes
OFFICIAL_SHA256 = "08ff01b03c65566014ae88eb0490dbe4419fc7ac4de726ee1163e39fd809543e"
ATTEMPTS = 3


def fetch_official(destination: Path, stage: Stage) -> None:
    """Fetch the official archive, held to its published size and SHA-256, to `destination`.

    Raises:
        StageError: as `fetch`, or it is another file than the published one.
    """
    fetch(OFFICIAL_ADDRESS, destination, stage, known_hash=f"sha256:{OFFICIAL_SHA256}", expected=OFFICIAL_SIZE)


def fetch(address: str, destination: Path, stage: Stage, *, known_hash: str | None = None, expected: int = 0) -> None:
    """Fetch the file at an http(s) `address` to `destination`.

    Raises:
        StageError: the network or the server refuses, or the file has not the hash or the number of bytes expected.
    """
    stage.say(f"fetching {address}" + (f" ({expected / 1e9:.2f} GB)" if expected else ""))
    fetcher = pooch.create(
        path=destination.parent, base_url="", registry={destination.name: known_hash},
        urls={destination.name: address}, retry_if_failed=ATTEMPTS - 1,
    )  # fmt: skip
    downloader = pooch.HTTPDownloader(progressbar=stage.console.is_terminal, timeout=60)
    pooch.get_logger().setLevel("WARNING")
    try:
        fetcher.fetch(destination.name, downloader=downloader)  # pyright: ignore[reportArgumentType]
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong hash is a ValueError
        # Of a connection that failed, what failed at the bottom; of other errors, their text.
        cause = getattr(error.args[0] if error.args else None, "reason", error)
        reason = " ".join(str(cause).split()).rsplit("): ", 1)[-1]
        raise StageError(
            f"{address} could not be fetched in {ATTEMPTS} attempts ({reason}); fetch it by other means and "
            f"name the file: dvc exp run -S studies.STUDY.data.source=PATH"
        ) from None
    if expected and destination.stat().st_size != expected:
        raise StageError(f"{address}: {destination.stat().st_size:,} bytes where {expected:,} are expected")
