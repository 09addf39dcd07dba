"""Downloads over HTTP: retried, and complete or absent.

A published file, such as the official archive (1.2 GB), resumes where it stopped, also in a later process and from
another mirror: its SHA-256 verifies the whole, wherever the parts came from. What is there so far is in
`.state/download/`. Any other file is retried from its start.

`requests` and `urllib3.Retry` repeat a request, not a body that breaks off. `pooch` neither resumes nor knows mirrors.
`pypdl` resumes and knows mirrors, but never waits between attempts, verifies nothing by itself, and resumes from
servers that announce `Accept-Ranges` only. The rest of PyPI's resuming downloaders lack a checksum or mirrors.
"""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import requests
from requests.utils import get_environ_proxies, select_proxy
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from vgg_ablation.errors import StageError
from vgg_ablation.files import file_digest, require_space
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.locks import locked
from vgg_ablation.runtime.state import repository_root
from vgg_ablation.text import printable, without_credentials

OFFICIAL_ADDRESS = "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar"
OFFICIAL_SIZE = 1_183_006_720  # bytes
OFFICIAL_SHA256 = "08ff01b03c65566014ae88eb0490dbe4419fc7ac4de726ee1163e39fd809543e"
MIRRORS = "CALTECH256_MIRRORS"

TIMEOUTS = 20.0, 60.0  # seconds to connect, and without one byte
ATTEMPTS = 6  # in a row that bring no new bytes, before an address is given up
FIRST_WAIT = 2.0  # seconds before the second attempt, doubled before each further one
LONGEST_WAIT = 120.0  # seconds, also where the server asks for more
CHUNK = 64 * 1024  # bytes; a broken connection loses less than this
QUIET = 10.0  # seconds between two progress lines

_MB = 10**6
_TEMPORARY = (408, 425, 429)  # HTTP status codes, besides 500 and above


_INSTEAD = "download it by other means and name the file: dvc exp run -S studies.STUDY.data.source=PATH"


class Published(NamedTuple):
    """A file that many places serve, all with the same bytes."""

    name: str
    """Name of its folder in `.state/download/`."""
    addresses: Sequence[str]
    """To try in this order."""
    least: int
    """Bytes; with `most`, how precisely its size is known."""
    most: int
    sha256: str
    """In hexadecimal; only its head where no more is published."""
    instead: str
    """Advice where no address has it, at the end of the error message."""


class _AttemptError(Exception):
    """An attempt failed; `lasting`: another one at this address would fail too. `wait`: seconds asked for."""

    def __init__(self, reason: str, *, lasting: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.lasting, self.wait = lasting, wait


def fetch_official(destination: Path, console: Console) -> None:
    """Download the official archive to `destination`: from the official address, then from the `mirrors`.

    Raises:
        StageError: no address has the published file, or the disk cannot hold it. Progress is saved.
        OSError: the file cannot be written. Progress is saved.
    """
    addresses = [OFFICIAL_ADDRESS, *mirrors(MIRRORS)]
    archive = Published("caltech256", addresses, OFFICIAL_SIZE, OFFICIAL_SIZE, OFFICIAL_SHA256, _INSTEAD)
    fetch_published(archive, destination, console)


def fetch_published(published: Published, destination: Path, console: Console) -> None:
    """Download a file to `destination`; raises as `fetch_official`."""
    folder = repository_root() / ".state" / "download" / published.name
    with locked(folder, console.say):
        partial = folder / "partial"
        _fetch(published.addresses, partial, console, published)
        with partial.open("rb") as complete:
            os.fsync(complete.fileno())  # before the move: takes seconds, in which a kill must cost nothing
        shutil.move(partial, destination)


def fetch(address: str, destination: Path, console: Console) -> None:
    """Download the file at an http(s) address to `destination`.

    Raises:
        StageError: the network or the server refuses, or the disk cannot hold the announced size.
        OSError: the file cannot be written.
    """
    _fetch([address], destination, console, None)


def mirrors(variable: str) -> list[str]:
    """Return the addresses in an environment variable, such as CALTECH256_MIRRORS, separated by white space.

    They are no setting: wherever the bytes come from, they are the published ones.

    Raises:
        StageError: one of them is no http(s) address.
    """
    addresses = os.environ.get(variable, "").split()
    for address in addresses:
        if not address.startswith(("http://", "https://")):
            raise StageError(f"{variable}: {without_credentials(address)!r} is no http(s) address")
    return addresses


def _fetch(addresses: Sequence[str], path: Path, console: Console, published: Published | None) -> None:
    path.touch()
    reasons: list[str] = []
    for address in addresses:
        try:
            _fetch_from(address, path, console, published)
        except _AttemptError as error:
            reasons.append(f"{without_credentials(address)} ({error})")
            if len(reasons) < len(addresses):
                console.say(messages.next_address(reasons[-1]))
        else:
            return
    later = "run `dvc repro` again later to resume" if published else "run `dvc repro` again later"
    raise StageError(
        f"could not be downloaded: {'; '.join(reasons)}; {later}, or {published.instead if published else _INSTEAD}"
    )


def _fetch_from(address: str, path: Path, console: Console, published: Published | None) -> None:
    """Download from one address, in as many attempts as bring new bytes of a published file, or `ATTEMPTS`."""
    shown = without_credentials(address)
    furthest, fruitless = path.stat().st_size, 0
    console.say(messages.download_started(shown, published and published.most, furthest))
    while True:
        try:
            return _attempt(address, path, console, published)
        except _AttemptError as error:
            reached = path.stat().st_size if published else 0
            fruitless = 0 if reached > furthest else fruitless + 1
            furthest = max(furthest, reached)
            if error.lasting or fruitless == ATTEMPTS:
                raise
            wait = min(max(FIRST_WAIT * 2 ** max(fruitless - 1, 0), error.wait), LONGEST_WAIT)
            console.say(messages.download_retried(shown, str(error), wait))
            time.sleep(wait)


def _attempt(address: str, path: Path, console: Console, published: Published | None) -> None:
    """Send one request for the missing bytes, save them, and verify the official archive."""
    start = path.stat().st_size if published else 0
    resumed = start > 0
    if not published or start < published.least:
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            with requests.get(address, headers=headers, stream=True, timeout=TIMEOUTS) as response:
                resumed = _receive(response, path, start, console, published)
        except ValueError:  # what the libraries say of it may repeat a password
            raise _AttemptError("no valid http(s) address", lasting=True) from None
        except (requests.RequestException, HTTPError) as error:
            reason = _reason(error) + _through_proxy(address)
            raise _AttemptError(reason, lasting=isinstance(error, requests.TooManyRedirects)) from None
    if published and not (digest := file_digest(path)).startswith(published.sha256):
        os.truncate(path, 0)
        # Of a file put together from several answers nobody knows which part was wrong.
        raise _AttemptError(f"checksum mismatch: SHA-256 {digest}, not {published.sha256}", lasting=not resumed)


def _receive(
    response: requests.Response, path: Path, start: int, console: Console, published: Published | None
) -> bool:
    """Append the response to the first `start` bytes of the partial file, or replace it; return whether appended."""
    code, length = response.status_code, response.headers.get("Content-Length", "")
    if code == 200:
        start = 0
    elif not (start and code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")):
        lasting = code < 500 and code not in _TEMPORARY
        reason = printable(without_credentials(f"{code} {response.reason}"), 200)
        raise _AttemptError(reason, lasting=lasting, wait=Retry().get_retry_after(response.raw) or 0.0)  # pyright: ignore[reportArgumentType]
    size = start + int(length) if length.isdecimal() else None
    if published:
        size = published.most if size is None else size
        if not published.least <= size <= published.most:
            raise _AttemptError(f"has {size:,} bytes, not {published.most:,}", lasting=True)
    if size is None:
        console.say(messages.download_of_unknown_size())
    else:
        require_space(path.parent, size - start)
    os.truncate(path, start)
    reached, steps = start, size // _MB - start // _MB if size else 0
    with path.open("ab") as file, console.task(messages.DOWNLOADING, steps, quiet=QUIET) as task:
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            reached += len(chunk)
            for _ in range(reached // _MB - (reached - len(chunk)) // _MB if size else 0):
                task.advance()
            if published and reached > published.most:
                break  # the checksum refuses it
    if published and reached < published.least:
        raise _AttemptError(f"stopped after {reached:,} of {published.least:,} bytes")
    return start > 0


def _through_proxy(address: str) -> str:
    """Name the proxy that requests to `address` go through, as the environment says; nothing without one."""
    proxy = select_proxy(address, get_environ_proxies(address))
    return f" (through the proxy {printable(without_credentials(proxy), 200)})" if proxy else ""


def _reason(error: BaseException) -> str:
    """Return why a request failed: the innermost cause, without the wrappers of the libraries."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(without_credentials(text), 200)
