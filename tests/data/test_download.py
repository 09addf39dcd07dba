import gc
import hashlib
import io
import socket
import tarfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from vgg_ablation.data import download
from vgg_ablation.data.archive import obtain
from vgg_ablation.pipeline.console import Stage
from vgg_ablation.pipeline.errors import StageError


def small_tar() -> bytes:
    """Return the bytes of a tar of one file in the official layout."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as written:
        entry = tarfile.TarInfo("256_ObjectCategories/003.backpack/003_0001.jpg")
        entry.size = 2000
        written.addfile(entry, io.BytesIO(b"second" * 400))
    return buffer.getvalue()


WHOLE = small_tar()


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "images.tar"


def refusal(source: str, destination: Path, stage: Stage) -> str:
    """Return why `source` is refused."""
    with pytest.raises(StageError) as error:
        obtain(source, destination, stage)
    return str(error.value)


@dataclass
class Answer:
    """What the server on this machine answers, and how often it was asked."""

    body: bytes
    length: int
    status: int = 200
    asked: int = 0
    address: str = ""


@contextmanager
def served(body: bytes, *, length: int | None = None, status: int = 200) -> Iterator[Answer]:
    answer = Answer(body, len(body) if length is None else length, status)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer.asked += 1
            self.send_response(answer.status)
            self.send_header("Content-Length", str(answer.length))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        answer.address = f"http://127.0.0.1:{server.server_port}/images.tar"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield answer
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ask this machine itself, without a pause between attempts."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()  # pooch leaves the connection of a failed download to the garbage collector, which warns


def official(monkeypatch: pytest.MonkeyPatch, address: str, content: bytes) -> None:
    """Have the official archive be `content` at `address`."""
    monkeypatch.setattr(download, "OFFICIAL_ADDRESS", address)
    monkeypatch.setattr(download, "OFFICIAL_SIZE", len(content))
    monkeypatch.setattr(download, "OFFICIAL_SHA256", hashlib.sha256(content).hexdigest())


@pytest.mark.usefixtures("loopback")
class TestNetwork:
    def test_an_address_is_fetched(self, destination: Path, stage: Stage) -> None:
        with served(WHOLE) as answer:
            obtain(answer.address, destination, stage)
        assert destination.read_bytes() == WHOLE

    def test_an_address_that_refuses_says_what_to_do_instead(self, destination: Path, stage: Stage) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # and does not listen
            said = refusal(f"http://127.0.0.1:{closed.getsockname()[1]}/images.tar", destination, stage)
        assert "dvc exp run -S studies.STUDY.data.source=PATH" in said

    def test_a_refusal_is_one_line(self, destination: Path, stage: Stage) -> None:
        assert "\n" not in refusal("http://127.0.0.1:1/images.tar", destination, stage)

    @pytest.mark.parametrize("address", ["http://[::1/images.tar", "http://", "https://exa mple/\x00"])
    def test_an_impossible_address_is_refused(self, destination: Path, stage: Stage, address: str) -> None:
        refusal(address, destination, stage)

    def test_a_missing_page_is_refused(self, destination: Path, stage: Stage) -> None:
        with served(b"not found", status=404) as answer:
            assert "404" in refusal(answer.address, destination, stage)

    def test_a_page_in_the_archives_place_is_refused(self, destination: Path, stage: Stage) -> None:
        with served(b"<html>Please log in</html>" * 100) as answer:
            assert "not a whole, uncompressed tar" in refusal(answer.address, destination, stage)

    def test_a_connection_that_breaks_off_is_refused(self, destination: Path, stage: Stage) -> None:
        with served(WHOLE[:1000], length=len(WHOLE)) as answer:
            assert "could not be fetched" in refusal(answer.address, destination, stage)

    def test_a_failed_download_leaves_no_file(self, destination: Path, stage: Stage) -> None:
        with served(WHOLE[:1000], length=len(WHOLE)) as answer:
            refusal(answer.address, destination, stage)
        assert list(destination.parent.iterdir()) == []

    def test_the_official_archive_is_accepted_by_its_size_and_hash(
        self, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with served(WHOLE) as answer:
            official(monkeypatch, answer.address, WHOLE)
            obtain("caltech256", destination, stage)
        assert destination.read_bytes() == WHOLE

    def test_an_official_archive_of_another_hash_is_refused(
        self, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        changed = WHOLE.replace(b"second", b"Second")
        with served(changed) as answer:
            official(monkeypatch, answer.address, WHOLE)
            assert "hash" in refusal("caltech256", destination, stage)

    def test_an_official_archive_of_another_size_is_refused(
        self, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with served(WHOLE) as answer:
            official(monkeypatch, answer.address, WHOLE)
            monkeypatch.setattr(download, "OFFICIAL_SIZE", len(WHOLE) + 1)
            assert "are expected" in refusal("caltech256", destination, stage)

    def test_a_failed_download_is_tried_again(self, destination: Path, stage: Stage) -> None:
        with served(b"", status=503) as answer:
            refusal(answer.address, destination, stage)
        assert answer.asked == download.ATTEMPTS > 1


def test_the_official_archive_is_the_published_one() -> None:
    """https://data.caltech.edu/records/nyy15-4j048 (doi 10.22002/D1.20087)."""
    assert (download.OFFICIAL_SIZE, download.OFFICIAL_SHA256) == (
        1183006720,
        "08ff01b03c65566014ae88eb0490dbe4419fc7ac4de726ee1163e39fd809543e",
    )
