"""The downloader against servers on this machine that answer well, badly or with malice."""

import errno
import hashlib
import io
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgg_ablation.dataset import download
from vgg_ablation.dataset.download import fetch, fetch_official, mirrors
from vgg_ablation.errors import StageError
from vgg_ablation.runtime.console import Console
from vgg_ablation.text import without_credentials

CONTENT = np.random.default_rng(1).bytes(300_000)
OTHER = np.random.default_rng(2).bytes(300_000)
HALF = 150_000


class Server:
    """A server of one file, which answers with faults while it has any, and well after them."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.faults: Iterator[Fault] = iter(())
        self.asked: list[dict[str, str]] = []  # headers of the requests
        self.ending = threading.Event()
        self.address = ""

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for headers in self.asked]


Fault = Callable[[Server, BaseHTTPRequestHandler], object]


def send(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes = b"") -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()


def cut(after: int | None) -> Fault:
    """Answer as RFC 9110 says, and close the connection after so many bytes of the body."""

    def answer(server: Server, handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        body, size = server.content[start:], len(server.content)
        if not body:
            send(handler, 416, {"Content-Range": f"bytes */{size}"})
            return
        partial = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
        send(handler, 206 if start else 200, {"Content-Length": str(len(body)), **partial}, body[:after])

    return answer


def stall(after: int) -> Fault:
    def answer(server: Server, handler: BaseHTTPRequestHandler) -> None:
        cut(after)(server, handler)
        server.ending.wait(30)

    return answer


def status(code: int, **headers: str) -> Fault:
    return lambda server, handler: send(handler, code, {name.replace("_", "-"): headers[name] for name in headers})


def fixed(body: bytes, **headers: str) -> Fault:
    """Answer 200 with this body and these headers, whatever is asked."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda server, handler: send(handler, 200, named, body)


def raw(answer: bytes) -> Fault:
    return lambda server, handler: handler.wfile.write(answer)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(dict(self.headers))
            next(server.faults, cut(None))(server, self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of a client that hangs up."""

    with Quiet(("127.0.0.1", 0), Handler) as listening:
        server.address = f"http://127.0.0.1:{listening.server_port}/images.tar"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.ending.set()
            listening.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ask this machine itself, save progress in a folder of the test, and lose no time."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    monkeypatch.setattr(download, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(download, "CHUNK", 10_000)
    monkeypatch.setattr(download, "TIMEOUTS", (5.0, 0.3))
    monkeypatch.setattr(download, "OFFICIAL_SIZE", len(CONTENT))
    monkeypatch.setattr(download, "OFFICIAL_SHA256", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as one:
        yield one


@pytest.fixture
def official(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server as that of the official archive, which is CONTENT."""
    monkeypatch.setattr(download, "OFFICIAL_ADDRESS", server.address)
    return server


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(Server()) as another:
        monkeypatch.setenv("CALTECH256_MIRRORS", another.address)
        yield another


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "images.tar"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, in seconds, none of which is made."""
    made: list[float] = []
    monkeypatch.setattr(download, "FIRST_WAIT", 2.0)
    monkeypatch.setattr("time.sleep", made.append)
    return made


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(StageError) as error:
        work()
    return str(error.value)


def saved(tmp_path: Path) -> Path:
    return tmp_path / "root" / ".state" / "download" / "caltech256" / "partial"


# Faults.

FAULTS: dict[str, Fault] = {
    "nothing": lambda server, handler: server.ending.wait(30),
    "stalled": stall(HALF),
    "cut before the first byte": cut(0),
    "cut in the middle": cut(HALF),
    "cut one byte short": cut(len(CONTENT) - 1),
    "hung up": lambda server, handler: None,
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a chunk cut short": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc"),
    "no chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsome text\r\n"),
    **{str(code): status(code) for code in (408, 429, 503)},
    "no date to retry after": status(503, Retry_After="soon"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_is_complete_after_a_fault(official: Server, fault: str, path: Path, console: Console) -> None:
    for work in (lambda: fetch_official(path, console), lambda: fetch(official.address, path, console)):
        official.faults = iter([FAULTS[fault]])
        work()
        assert path.read_bytes() == CONTENT


@given(st.lists(st.integers(0, len(CONTENT) - 1), max_size=5))
@settings(max_examples=8)
def test_the_official_archive_is_complete_wherever_the_connection_breaks(breaks: list[int]) -> None:
    with serving(Server()) as server, TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", folder)
        patch.setattr(download, "OFFICIAL_ADDRESS", server.address)
        server.faults = iter([cut(after) for after in breaks])
        fetch_official(Path(folder, "images.tar"), Console("test"))
        assert Path(folder, "images.tar").read_bytes() == CONTENT


@given(st.binary(max_size=200), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\nLocation: "]))
@settings(max_examples=15)
def test_whatever_a_server_sends_ends_in_a_file_or_in_one_line(sent: bytes, before: bytes) -> None:
    with serving(Server()) as server, TemporaryDirectory() as folder:
        server.faults = iter([raw(before + sent + b"\r\n\r\n")])
        said = ""
        try:
            fetch(server.address, Path(folder, "images.tar"), Console("test"))
        except StageError as error:
            said = str(error)
        assert said.startswith("could not be downloaded: ") or said == ""
        assert said.isprintable()


LASTING: dict[str, tuple[Fault, str]] = {
    "not found": (status(404), "404 Not Found"),
    "forbidden": (status(403), "403 Forbidden"),
    "not modified": (status(304), "304 Not Modified"),
    "a part unasked": (status(206, Content_Range="bytes 0-9/20"), "206 Partial Content"),
    "another protocol": (status(302, Location="ftp://127.0.0.1/images.tar"), "no valid http(s) address"),
    "a terminal's commands": (raw(b"HTTP/1.1 404 \x1b[2J" + b"x" * 1000 + b"\r\n\r\n"), r"404 \x1b[2Jxxx"),
}


@pytest.mark.parametrize("case", LASTING)
def test_a_fault_that_another_attempt_would_meet_too_is_met_once(
    server: Server, case: str, path: Path, console: Console
) -> None:
    server.faults = itertools.repeat(LASTING[case][0])
    said = refusal(lambda: fetch(server.address, path, console))
    assert said.startswith(f"could not be downloaded: {server.address} ({LASTING[case][1]}")
    assert (len(server.asked), len(said) < 600) == (1, True)


@pytest.mark.parametrize(("fault", "reason"), [(stall(0), "timed out"), (status(503), "503 Service Unavailable")])
def test_a_fault_that_stays_is_named_after_six_attempts(
    server: Server, fault: Fault, reason: str, path: Path, console: Console
) -> None:
    server.faults = itertools.repeat(fault)
    said = refusal(lambda: fetch(server.address, path, console))
    assert f"({reason}" in said
    assert said.endswith("name the file: dvc exp run -S studies.STUDY.data.source=PATH")
    assert len(server.asked) == 6


def test_another_file_starts_over_in_each_attempt(server: Server, path: Path, console: Console) -> None:
    server.faults = itertools.repeat(cut(HALF))
    refusal(lambda: fetch(server.address, path, console))
    assert server.ranges == [None] * 6


def test_waits_double(server: Server, path: Path, console: Console, waits: list[float]) -> None:
    server.faults = itertools.repeat(status(503))
    refusal(lambda: fetch(server.address, path, console))
    assert waits == [2, 4, 8, 16, 32]


def test_the_server_may_ask_for_a_longer_wait_within_bounds(
    server: Server, path: Path, console: Console, waits: list[float]
) -> None:
    in_a_minute = formatdate(time.time() + 60, usegmt=True)
    server.faults = iter([status(503, Retry_After=asked) for asked in ("30", in_a_minute, "9" * 400)])
    fetch(server.address, path, console)
    assert waits == [30, pytest.approx(50, abs=10), 120]


# Resuming.


def test_a_killed_download_resumes_in_the_next_run(
    official: Server, path: Path, console: Console, tmp_path: Path
) -> None:
    begin = (
        "import sys; from pathlib import Path; from vgg_ablation.dataset import download; "
        "from vgg_ablation.runtime.console import Console; download.OFFICIAL_ADDRESS = sys.argv[1]; "
        "download.OFFICIAL_SIZE = 300_000; download.fetch_official(Path(sys.argv[2]), Console('killed'))"
    )
    official.faults = iter([stall(HALF)])
    with subprocess.Popen([sys.executable, "-c", begin, official.address, str(path)]) as process:
        deadline = time.monotonic() + 60
        while not (saved(tmp_path).exists() and saved(tmp_path).stat().st_size >= 100_000):
            assert time.monotonic() < deadline
            official.ending.wait(0.05)
        process.kill()
    there = saved(tmp_path).stat().st_size
    fetch_official(path, console)
    assert (process.returncode, official.ranges) == (-signal.SIGKILL, [None, f"bytes={there}-"])
    assert path.read_bytes() == CONTENT


def test_a_full_disk_is_named_before_the_bytes_come_and_progress_stays(
    official: Server, path: Path, console: Console
) -> None:
    official.faults = iter([cut(HALF), status(404)])
    refusal(lambda: fetch_official(path, console))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
        assert "the disk is full" in refusal(lambda: fetch_official(path, console))
    fetch_official(path, console)
    assert (official.ranges[-1], path.read_bytes()) == ("bytes=150000-", CONTENT)


def test_a_disk_that_fills_up_on_the_way_costs_no_progress(official: Server, path: Path, console: Console) -> None:
    class Filling(io.FileIO):
        def write(self, chunk: object) -> int:
            if self.tell() >= HALF:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(chunk)  # pyright: ignore[reportArgumentType]

    opened = Path.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode="r", **options: (
            Filling(path, "a") if (path.name, mode) == ("partial", "ab") else opened(path, mode, **options)
        ))  # fmt: skip
        with pytest.raises(OSError, match="No space left"):
            fetch_official(path, console)
    fetch_official(path, console)
    assert (official.ranges[-1], path.read_bytes()) == ("bytes=150000-", CONTENT)


# Other bytes than the published ones.


def test_other_bytes_are_refused_and_not_saved(official: Server, path: Path, console: Console, tmp_path: Path) -> None:
    official.content = OTHER
    said = refusal(lambda: fetch_official(path, console))
    assert f"(checksum mismatch: SHA-256 {hashlib.sha256(OTHER).hexdigest()}" in said
    assert (len(official.asked), saved(tmp_path).read_bytes(), path.exists()) == (1, b"", False)


def test_an_endless_answer_is_refused_as_it_comes(official: Server, path: Path, console: Console) -> None:
    def endless(server: Server, handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, {})
        while not server.ending.is_set():
            handler.wfile.write(CONTENT)

    official.faults = iter([endless])
    assert "checksum mismatch" in refusal(lambda: fetch_official(path, console))


def test_a_mixture_of_two_files_is_found_by_its_checksum_and_downloaded_anew(
    official: Server, path: Path, console: Console
) -> None:
    official.faults = iter([fixed(OTHER[:HALF])])
    fetch_official(path, console)
    assert (official.ranges, path.read_bytes()) == ([None, "bytes=150000-", None], CONTENT)


# Mirrors.


def test_a_mirror_resumes_where_the_official_address_stopped(
    official: Server, mirror: Server, path: Path, console: Console, waits: list[float]
) -> None:
    official.faults = iter([cut(HALF), status(404)])
    fetch_official(path, console)
    assert (mirror.ranges, waits, path.read_bytes()) == (["bytes=150000-"], [2], CONTENT)


def test_the_last_line_names_each_address_with_its_reason(
    official: Server, mirror: Server, path: Path, console: Console
) -> None:
    official.faults, mirror.faults = iter([status(404)]), iter([status(403)])
    said = refusal(lambda: fetch_official(path, console))
    assert f"{official.address} (404 Not Found); {mirror.address} (403 Forbidden); run `dvc repro` again" in said


def test_mirrors_are_http_addresses_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALTECH256_MIRRORS", " https://one/a.tar\n\thttp://two:8080/b.tar ")
    assert mirrors("CALTECH256_MIRRORS") == ["https://one/a.tar", "http://two:8080/b.tar"]
    monkeypatch.setenv("CALTECH256_MIRRORS", "https://one/a.tar ftp://me:secret@two/a.tar")
    assert (
        refusal(lambda: mirrors("CALTECH256_MIRRORS"))
        == "CALTECH256_MIRRORS: 'ftp://***@two/a.tar' is no http(s) address"
    )


# Credentials, memory, progress.


@pytest.mark.parametrize("fault", [cut(HALF), status(503), status(404), status(302, Location="ftp://me:secret@one/")])
def test_credentials_reach_the_server_and_no_message(
    server: Server, fault: Fault, path: Path, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = itertools.chain([fault], itertools.repeat(status(404)))
    said = refusal(lambda: fetch(server.address.replace("//", "//me:secret@") + "?key=secret", path, console))
    shown = said + capsys.readouterr().out
    assert server.asked[0]["Authorization"] == "Basic bWU6c2VjcmV0"  # RFC 7617: base64 of me:secret
    assert ("secret" in shown, "***@" in shown) == (False, True)


@pytest.mark.parametrize("address", ["http://me:secret@[::1/", "http://me:sec/ret@host:port/", "http://me:secret@"])
def test_credentials_of_an_impossible_address_are_in_no_message(address: str, path: Path, console: Console) -> None:
    said = refusal(lambda: fetch(address, path, console))
    assert "(no valid http(s) address)" in said
    assert not any(part in said for part in ("sec", "me:"))


@given(st.text(max_size=20), st.text(max_size=20))
@settings(max_examples=10)
def test_nothing_before_the_host_is_shown(user: str, password: str) -> None:
    assert without_credentials(f"https://{user}:{password}@host/a.tar") == "https://***@host/a.tar"


def test_a_file_is_far_larger_than_the_memory_it_takes_and_counted_in_megabytes(
    server: Server, path: Path, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    server.content = bytes(16_500_000)
    tracemalloc.start()
    try:
        fetch(server.address, path, console)
        assert tracemalloc.get_traced_memory()[1] < len(server.content) / 4
    finally:
        tracemalloc.stop()
    assert path.stat().st_size == len(server.content)
    assert "test: downloading MB 16/16: " in capsys.readouterr().out


def test_a_proxy_that_refuses_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{port}")
    monkeypatch.setattr(download, "FIRST_WAIT", 0)
    with pytest.raises(StageError, match=rf"Connection refused \(through the proxy http://\*\*\*@127\.0\.0\.1:{port}"):
        fetch("https://data.example/images.tar", tmp_path / "tar", Console("download"))
    assert "secret" not in capsys.readouterr().out
