"""Files fetched over the network: continued where they stopped, tried again, whole and checked or not there at all.

What has come so far lies under `.state/download/` in the repository's root, so that a download which was killed goes on
where it was. Bytes of two files are never joined: an archive of known SHA-256 is checked as a whole at its end, and any
other file is continued only where the server vouches with a strong validator (RFC 9110, section 8.8) that it is the
same file still.
"""

import hashlib
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from vgg_ablation.errors import StageError
from vgg_ablation.files import read_json, require_space, write_json
from vgg_ablation.runtime.console import Stage, duration
from vgg_ablation.runtime.state import file_digest, locked, repository_root

OFFICIAL_ADDRESS = "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar"
OFFICIAL_SIZE = 1_183_006_720  # bytes
OFFICIAL_SHA256 = "08ff01b03c65566014ae88eb0490dbe4419fc7ac4de726ee1163e39fd809543e"
MIRRORS = "CALTECH256_MIRRORS"

CONNECT_TIMEOUT = 20.0  # seconds
READ_TIMEOUT = 60.0  # seconds in which not one byte comes
ATTEMPTS = 6
"""Attempts in a row that bring nothing new, after which an address is given up."""
MOST_ATTEMPTS = 100
"""Attempts after which an address is given up although each brings a little."""
FIRST_WAIT = 2.0  # seconds before the second attempt, doubled before each further one
LONGEST_WAIT = 120.0  # seconds; also where the server asks for more
CHUNK = 64 * 1024  # bytes; a fault loses what came of one chunk
QUIET = 10.0  # seconds between two lines on progress

Accept = Callable[[Path], object]
"""What looks at a file that was fetched, and raises StageError where it is not what it should be."""

_MB = 10**6
_SAFELY_OLDER = 60  # seconds between Last-Modified and Date that no two clocks' difference explains
_MAY_PASS = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_PART = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+)")


@dataclass(frozen=True)
class _Published:
    """What is known of a file before it is fetched."""

    size: int
    """Its length in bytes."""
    sha256: str
    """Its SHA-256 as 64 hexadecimal digits."""


class _AttemptError(Exception):
    """Why an attempt failed; a `lasting` reason is one that another attempt at this address would meet too."""

    def __init__(self, reason: str, *, lasting: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.lasting = lasting
        self.wait = wait
        """Seconds that the server asks to wait."""


def fetch_official(destination: Path, stage: Stage, accept: Accept = lambda _: None) -> None:
    """Fetch the official archive, held to its published size and SHA-256, to `destination`.

    The official address is tried first, then the `mirrors`; one goes on where another stopped. `accept` as in `fetch`.

    Raises:
        StageError: as `fetch` and `mirrors`, or every address has another file than the published one.
    """
    published = _Published(OFFICIAL_SIZE, OFFICIAL_SHA256)
    _fetch("caltech256", [OFFICIAL_ADDRESS, *mirrors()], destination, stage, published, accept)


def fetch(address: str, destination: Path, stage: Stage, accept: Accept = lambda _: None) -> None:
    """Fetch the file at an http(s) `address` to `destination`, whose folder exists.

    `accept` looks at the whole file before it is moved there: what takes long belongs in it, as until then nothing that
    came is lost to an interruption.

    Raises:
        StageError: the network or the server refuses, or the disk cannot hold what is announced. What came until then
            is kept, and the next call goes on from it. Or `accept` raised it; what came is thrown away then.
        OSError: it cannot be written, as the disk fills up on the way, say; what came is kept too.
    """
    _fetch(address, [address], destination, stage, None, accept)


def mirrors() -> list[str]:
    """Return the addresses in the environment variable CALTECH256_MIRRORS, separated by white space.

    They are no setting in params.yaml, as they do not determine the result: wherever the bytes come from, they are the
    published ones. A machine behind a wall names its own copy, and shares every cached output with the others.

    Raises:
        StageError: one of them is no http(s) address.
    """
    found = os.environ.get(MIRRORS, "").split()
    for address in found:
        if not _is_web_address(address):
            raise StageError(
                f"{MIRRORS}: {without_credentials(address)!r} is no http(s) address; "
                "give addresses of the archive, separated by spaces"
            )
    return found


def without_credentials(address: str) -> str:
    """Return `address` as it may be shown: without a `user:password@` or query in it, or in a text that quotes it."""
    return re.sub(r"(\?)[^\s'\")]+", r"\1***", re.sub(r"(?<=://).*@", "***@", address, flags=re.DOTALL))


def _is_web_address(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0  # reading it checks it
    except ValueError:
        return False


def _fetch(
    source: str, addresses: Sequence[str], destination: Path, stage: Stage, published: _Published | None, accept: Accept
) -> None:
    key = hashlib.sha256(source.encode()).hexdigest()[:24]
    folder = repository_root() / ".state" / "download" / key
    reasons: list[str] = []
    with locked(folder, stage.say):
        download = _Download(folder, stage, published)
        for address in addresses:
            try:
                download.fetch_from(address)
            except _AttemptError as error:
                reasons.append(f"{without_credentials(address)} ({error})")
                if len(reasons) < len(addresses):
                    stage.say(f"{reasons[-1]}: going on with the next address")
            else:
                download.move_to(destination, accept)
                return
    raise StageError(
        f"could not be fetched: {'; '.join(reasons)}. Run it again later, which goes on from what came, or fetch it by "
        "other means and name the file: dvc exp run -S studies.STUDY.data.source=PATH"
    )


class _Download:
    """One file on its way: the bytes that came so far, in `folder`, and how more are asked for."""

    def __init__(self, folder: Path, stage: Stage, published: _Published | None) -> None:
        self._partial = folder / "partial"
        self._origin = folder / "origin.json"
        self._stage = stage
        self._published = published
        self._partial.touch()

    def move_to(self, destination: Path, accept: Accept) -> None:
        """Move the fetched file to `destination`, also on another file system, and forget where it came from."""
        try:
            accept(self._partial)
        except StageError:
            self._partial.unlink()
            raise
        with self._partial.open("rb") as whole:
            os.fsync(whole.fileno())  # here, as it takes seconds
        shutil.move(self._partial, destination)
        self._origin.unlink(missing_ok=True)

    def fetch_from(self, address: str) -> None:
        """Fetch what is missing from `address`, in as many attempts as bring something, and check the whole.

        Raises:
            _AttemptError: the address is given up.
            StageError: the disk cannot hold what is announced.
        """
        if not _is_web_address(address):
            raise _AttemptError("no http(s) address", lasting=True)
        shown = without_credentials(address)
        known = f" ({self._published.size / 1e9:.2f} GB)" if self._published else ""
        self._stage.say(f"fetching {shown}{known}{self._from_where(address)}")
        furthest, fruitless = self._size(), 0
        for attempt in range(1, MOST_ATTEMPTS + 1):
            try:
                self._attempt(address)
            except _AttemptError as error:
                if error.lasting:
                    raise
                fruitless = 0 if self._size() > furthest else fruitless + 1
                furthest = max(furthest, self._size())
                if fruitless == ATTEMPTS or attempt == MOST_ATTEMPTS:
                    raise _AttemptError(f"{error}; attempts: {attempt}") from None
                wait = min(max(FIRST_WAIT * 2 ** max(fruitless - 1, 0), error.wait), LONGEST_WAIT)
                self._stage.say(f"{shown}: {error}; trying again in {duration(wait)}{self._from_where(address)}")
                time.sleep(wait)
            else:
                return

    def _attempt(self, address: str) -> None:
        """Ask once for all that is missing, write it as it comes, and check the whole."""
        if self._published and self._size() >= self._published.size:
            self._check(continued=True)
            return
        # Of a published file the hash tells in the end, so that it needs no If-Range, which some servers misread.
        validator = None if self._published else self._validator_of(address)
        offset = self._size() if self._published or validator else 0
        headers = {"Accept-Encoding": "identity"}  # the file's own bytes, whose length and place are known
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if validator:
                headers["If-Range"] = validator
        try:
            with (
                requests.Session() as session,
                session.get(address, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)) as response,
            ):
                continued = self._receive(response, address, offset, validator)
        except (requests.RequestException, ValueError) as error:  # a ValueError: no address, or no header of HTTP
            lasting = isinstance(error, (ValueError, requests.TooManyRedirects))
            raise _AttemptError(_reason(error), lasting=lasting) from None
        self._check(continued=continued)

    def _receive(self, response: requests.Response, address: str, offset: int, validator: str | None) -> bool:
        """Write what an answer brings where it belongs, and return whether that continues what was here."""
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            self._confirm_end(response, offset)
            return True
        start, total = self._begin(response, offset, validator)
        if not start:
            self._discard()  # first: the bytes of one answer are never remembered as those of another
            origin = {"address": without_credentials(address), "validator": _strong_validator(response.headers)}
            write_json(self._origin, origin)
        self._append(response, start, total)
        return start > 0

    def _begin(self, response: requests.Response, offset: int, validator: str | None) -> tuple[int, int | None]:
        """Judge an answer by its head, and return where its bytes belong and how many the whole has, if it says so."""
        if response.status_code == HTTPStatus.PARTIAL_CONTENT and offset:
            part = _PART.fullmatch(response.headers.get("Content-Range", ""))
            if part is None or int(part["start"]) != offset:
                self._discard()
                raise _AttemptError("sends another part than was asked for")
            if validator and _strong_validator(response.headers) not in (None, validator):
                self._discard()
                raise _AttemptError("has another file by now")
            start, total = offset, int(part["total"])
        elif response.status_code == HTTPStatus.OK:
            length = response.headers.get("Content-Length", "")
            start, total = 0, int(length) if length.isdecimal() else None
        else:
            passing = response.status_code in _MAY_PASS or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
            said = _line(f"{response.status_code} {response.reason}")
            raise _AttemptError(said, lasting=not passing, wait=_retry_after(response.headers))
        if encoding := response.headers.get("Content-Encoding", "").replace("identity", ""):
            raise _AttemptError(f"sends it as {encoding!r}, though asked for the bytes as they are", lasting=True)
        if self._published and total not in (None, self._published.size):
            raise _AttemptError(f"has {total:,} bytes where {self._published.size:,} are expected", lasting=True)
        return start, self._published.size if self._published else total

    def _confirm_end(self, response: requests.Response, offset: int) -> None:
        """Take the answer that nothing lies behind `offset` for the end, where the file is that long."""
        if self._published:  # which goes on there
            raise _AttemptError(f"has no bytes from byte {offset:,} on", lasting=True)
        if response.headers.get("Content-Range") != f"bytes */{offset}":
            self._discard()
            raise _AttemptError(f"has no bytes from byte {offset:,} on")

    def _append(self, response: requests.Response, start: int, total: int | None) -> None:
        size = start
        if total is not None:
            require_space(self._partial.parent, total - start)
        with self._partial.open("ab") as file, self._progress(total) as reached:
            for chunk in response.iter_content(CHUNK):
                size += len(chunk)
                if total is not None and size > total:
                    break
                file.write(chunk)
                reached(size)
        if total is None or size == total:
            return
        if size > total:
            self._discard()
            raise _AttemptError(f"sends more than the {total:,} bytes expected", lasting=True)
        raise _AttemptError(f"stopped after {size:,} of {total:,} bytes")

    def _check(self, *, continued: bool) -> None:
        """Compare the whole file with what is published of it."""
        if self._published and (digest := file_digest(self._partial)) != self._published.sha256:
            self._discard()
            raise _AttemptError(
                f"not the published file: its SHA-256 is {digest} where {self._published.sha256} is expected",
                lasting=not continued,  # of what was put together nobody knows which part was wrong
            )

    @contextmanager
    def _progress(self, total: int | None) -> Iterator[Callable[[int], None]]:
        """Yield what shows that the first so many bytes are there."""
        if total is not None:
            done = 0
            with self._stage.task("fetching MB", math.ceil(total / _MB), quiet=QUIET) as task:

                def advance(size: int) -> None:
                    nonlocal done
                    while done < math.ceil(size / _MB):
                        task.advance()
                        done += 1

                yield advance
        else:
            self._stage.say("the server does not say how much will come")
            told = time.monotonic()

            def tell(size: int) -> None:
                nonlocal told
                if time.monotonic() - told >= QUIET:
                    told = time.monotonic()
                    self._stage.say(f"{size / _MB:,.0f} MB so far")

            yield tell

    def _size(self) -> int:
        return self._partial.stat().st_size

    def _discard(self) -> None:
        os.truncate(self._partial, 0)

    def _from_where(self, address: str) -> str:
        kept = self._size() if self._published or self._validator_of(address) else 0
        return f" from byte {kept:,} on" if kept else ""

    def _validator_of(self, address: str) -> str | None:
        """Return what `address` said identifies the file whose first bytes are here, where it did."""
        try:
            origin = read_json(self._origin)
        except FileNotFoundError:
            return None
        except StageError:
            self._stage.say(f"{self._origin}: damaged; what came of the file cannot be continued")
            self._origin.unlink()
            return None
        return origin.get("validator") if origin.get("address") == without_credentials(address) else None


def _strong_validator(headers: CaseInsensitiveDict[str]) -> str | None:
    """Return what changes whenever a byte of the file does, as If-Range takes it (RFC 9110, sections 8.8 and 13.1.5).

    A weak entity tag is none, and rules the date out too; a date is one where the file is clearly older than the
    answer.
    """
    if (tag := headers.get("ETag")) is not None:
        return tag if re.fullmatch(r'"[^"]*"', tag) else None
    modified, answered = (_seconds(headers.get(name, "")) for name in ("Last-Modified", "Date"))
    if modified is None or answered is None or answered - modified < _SAFELY_OLDER:
        return None
    return headers["Last-Modified"]


def _retry_after(headers: CaseInsensitiveDict[str]) -> float:
    """Return how many seconds the server asks to wait, in either form of the header; 0 where it does not."""
    said = headers.get("Retry-After", "")
    if said.isdecimal():
        return float(said)
    date = _seconds(said)
    return 0.0 if date is None else date - time.time()


def _seconds(date: str) -> float | None:
    """Return an HTTP date in seconds since 1970, None where it is none."""
    try:
        parts = parsedate_tz(date)
        return None if parts is None else mktime_tz(parts)
    except (ValueError, OverflowError):
        return None


def _reason(error: Exception) -> str:
    """Return in a few words why a request failed: what lies at the bottom of the libraries' errors."""
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection in {duration(CONNECT_TIMEOUT)}"
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
        return f"nothing came for {duration(READ_TIMEOUT)}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    bottom: BaseException = error
    while deeper := bottom.__cause__ or bottom.__context__:
        bottom = deeper
    text = bottom.strerror if isinstance(bottom, OSError) and bottom.strerror else str(bottom)
    return _line(text) or type(error).__name__


def _line(text: str) -> str:
    """Return what others wrote as part of one short line: no line ends, no terminal's commands, no credentials."""
    shown = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return without_credentials(shown)[:200]
