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
import tarfile
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
from typing import ClassVar, NamedTuple

import numpy as np
import pytest
import requests
from filelock import FileLock, Timeout
from hypothesis import example, given, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from vgg_ablation.dataset import download
from vgg_ablation.dataset.archive import obtain
from vgg_ablation.dataset.download import fetch, fetch_official, mirrors, without_credentials
from vgg_ablation.errors import StageError
from vgg_ablation.files import write_json
from vgg_ablation.runtime.console import Stage

CONTENT = np.random.default_rng(1).bytes(300_000)
HALF = len(CONTENT) // 2


class Server:
    """A server on this machine: it has one file, answers with faults while it has any, and well after them."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.headers: dict[str, str] = {"ETag": '"one"'}
        self.faults: Iterator[Fault] = iter(())
        self.asked: list[dict[str, str]] = []
        """The header of each request."""
        self.ending = threading.Event()
        self.address = ""

    @property
    def ranges(self) -> list[str | None]:
        """Which part each request asked for."""
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
    """Answer as RFC 9110 has it, and close the connection after so many bytes of the body."""

    def answer(server: Server, handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if "If-Range" in handler.headers and handler.headers["If-Range"] not in server.headers.values():
            start = 0
        if start >= len(server.content):
            send(handler, 416, {"Content-Range": f"bytes */{len(server.content)}"})
            return
        body = server.content[start:]
        headers = server.headers | {"Content-Length": str(len(body))}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
        send(handler, 206 if start else 200, headers, body[:after])

    return answer


def stall(after: int) -> Fault:
    """Send so many bytes of the body, then nothing, with the connection open."""

    def answer(server: Server, handler: BaseHTTPRequestHandler) -> None:
        cut(after)(server, handler)
        server.ending.wait(30)

    return answer


def silence(server: Server, handler: BaseHTTPRequestHandler) -> None:
    server.ending.wait(30)


def status(code: int, **headers: str) -> Fault:
    return lambda server, handler: send(handler, code, {name.replace("_", "-"): headers[name] for name in headers})


def fixed(body: bytes, **headers: str) -> Fault:
    """Answer 200 with this very body and header, whatever is asked."""
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
    """Ask this machine itself, keep what comes in a folder of the test, and lose no time."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    monkeypatch.delenv(download.MIRRORS, raising=False)
    monkeypatch.setattr(download, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(download, "CHUNK", 10_000)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a server for stalled after a moment."""
    monkeypatch.setattr(download, "READ_TIMEOUT", 0.3)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as one:
        yield one


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A second server, named by the environment variable."""
    with serving(Server()) as another:
        monkeypatch.setenv(download.MIRRORS, another.address)
        yield another


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "images.tar"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, in seconds, none of which is made."""
    made: list[float] = []
    monkeypatch.setattr(download, "FIRST_WAIT", 2.0)
    monkeypatch.setattr("time.sleep", made.append)
    return made


@pytest.fixture
def official(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server as that of the official archive, which is CONTENT."""
    monkeypatch.setattr(download, "OFFICIAL_ADDRESS", server.address)
    monkeypatch.setattr(download, "OFFICIAL_SIZE", len(CONTENT))
    monkeypatch.setattr(download, "OFFICIAL_SHA256", hashlib.sha256(CONTENT).hexdigest())
    return server


def refusal(work: Callable[[], object]) -> str:
    """Return in which words a download is given up."""
    with pytest.raises(StageError) as error:
        work()
    return str(error.value)


def kept(tmp_path: Path) -> bytes:
    """Return what is kept of the one download that was begun."""
    (partial,) = (tmp_path / "root" / ".state" / "download").glob("*/partial")
    return partial.read_bytes()


@pytest.mark.usefixtures("impatient")
class TestFaults:
    """Each is followed by good answers, and the file must come out whole."""

    FAULTS: ClassVar[dict[str, Fault]] = {
        "nothing said": silence,
        "stalled in the middle": stall(HALF),
        "cut off before the first byte": cut(0),
        "cut off in the middle": cut(HALF),
        "cut off one byte short": cut(len(CONTENT) - 1),
        "hung up": lambda server, handler: None,
        "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
        "a chunk cut short": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc"),
        "no chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsome text\r\n"),
        "408": status(408),
        "429": status(429),
        "500": status(500),
        "502": status(502),
        "503": status(503),
        "503, sent compressed": status(503, Content_Encoding="gzip"),
        "504": status(504),
    }  # fmt: skip

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_file_is_whole_after_a_fault(self, server: Server, fault: str, destination: Path, stage: Stage) -> None:
        server.faults = iter([self.FAULTS[fault]])
        fetch(server.address, destination, stage)
        assert destination.read_bytes() == CONTENT

    def test_a_file_is_whole_after_all_faults_in_a_row(
        self, server: Server, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(download, "ATTEMPTS", len(self.FAULTS) + 1)
        server.faults = iter(self.FAULTS.values())
        fetch(server.address, destination, stage)
        assert destination.read_bytes() == CONTENT

    @given(
        st.lists(st.integers(0, len(CONTENT) - 1), max_size=5),
        st.sampled_from([{"ETag": '"one"'}, {"ETag": 'W/"one"'}, {}]),
    )
    @settings(max_examples=25)
    def test_a_file_is_whole_wherever_the_connection_breaks(self, breaks: list[int], headers: dict[str, str]) -> None:
        with serving(Server()) as server, TemporaryDirectory() as folder:
            server.headers = headers
            server.faults = iter([cut(after) for after in breaks])
            fetch(server.address, Path(folder, "images.tar"), Stage("test"))
            assert Path(folder, "images.tar").read_bytes() == CONTENT

    @given(st.binary(max_size=200), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\nLocation: "]))
    @settings(max_examples=25)
    def test_whatever_a_server_sends_ends_in_a_file_or_in_one_line(self, sent: bytes, before: bytes) -> None:
        with serving(Server()) as server, TemporaryDirectory() as folder:
            server.faults = iter([raw(before + sent + b"\r\n\r\n")])
            said = ""
            try:
                fetch(server.address, Path(folder, "images.tar"), Stage("test"))
            except StageError as error:
                said = str(error)
            assert Path(folder, "images.tar").exists() != said.startswith("could not be fetched: ")
            assert said.isprintable()

    def test_a_server_that_listens_later_is_met(
        self, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                send(self, 200, {"Content-Length": "5"}, b"whole")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False) as late:
            late.server_bind()  # until it listens, connections to its port are refused
            thread = threading.Thread(target=late.serve_forever, args=(0.01,))

            def listen(seconds: float) -> None:
                late.server_activate()
                thread.start()

            monkeypatch.setattr(download.time, "sleep", listen)
            fetch(f"http://127.0.0.1:{late.server_port}/images.tar", destination, stage)
            late.shutdown()
            thread.join()
        assert destination.read_bytes() == b"whole"

    def test_slow_but_steady_is_waited_for(
        self, server: Server, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def drip(server: Server, handler: BaseHTTPRequestHandler) -> None:
            send(handler, 200, {"Content-Length": "10"})
            for letter in b"0123456789":
                server.ending.wait(0.15)
                handler.wfile.write(bytes([letter]))

        monkeypatch.setattr(download, "READ_TIMEOUT", 1.0)  # s, of the 1.5 s that it takes
        server.faults = iter([drip])
        fetch(server.address, destination, stage)
        assert (destination.read_bytes(), len(server.asked)) == (b"0123456789", 1)


class TestGivingUp:
    class Case(NamedTuple):
        fault: Fault
        reason: str

    FOR_EVER: ClassVar[dict[str, Case]] = {
        "hung up": Case(lambda server, handler: None, "Remote end closed connection without response; attempts: 6"),
        "cut off": Case(cut(0), "the connection broke off; attempts: 6"),
        "busy": Case(status(503), "503 Service Unavailable; attempts: 6"),
    }

    @pytest.mark.parametrize("case", FOR_EVER)
    def test_a_fault_that_stays_is_named(self, server: Server, case: str, destination: Path, stage: Stage) -> None:
        server.faults = itertools.repeat(self.FOR_EVER[case].fault)
        said = refusal(lambda: fetch(server.address, destination, stage))
        assert said.startswith(f"could not be fetched: {server.address} ({self.FOR_EVER[case].reason}).")

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("fault", [silence, stall(0)])
    def test_a_server_that_stalls_is_not_waited_for_for_ever(
        self, server: Server, fault: Fault, destination: Path, stage: Stage
    ) -> None:
        server.faults = itertools.repeat(fault)
        said = refusal(lambda: fetch(server.address, destination, stage))
        assert f"{server.address} (nothing came for 0.3 s; attempts: 6)" in said

    LASTING: ClassVar[dict[str, Case]] = {
        "not found": Case(status(404), "404 Not Found"),
        "gone": Case(status(410), "410 Gone"),
        "forbidden": Case(status(403), "403 Forbidden"),
        "nothing new": Case(status(304), "304 Not Modified"),
        "a part unasked": Case(status(206, Content_Range="bytes 0-9/20"), "206 Partial Content"),
        "compressed": Case(fixed(b"\x1f\x8b", Content_Encoding="gzip"), "sends it as 'gzip'"),
        "another protocol": Case(status(302, Location="ftp://127.0.0.1/images.tar"), "No connection adapters"),
        "a terminal's commands": Case(raw(b"HTTP/1.1 404 \x1b[2JGone\r\n\r\n"), "404 [2JGone"),
    }

    @pytest.mark.parametrize("case", LASTING)
    def test_what_another_attempt_would_meet_too_is_asked_once(
        self, server: Server, case: str, destination: Path, stage: Stage
    ) -> None:
        server.faults = itertools.repeat(self.LASTING[case].fault)
        said = refusal(lambda: fetch(server.address, destination, stage))
        assert (f"({self.LASTING[case].reason}" in said, len(server.asked)) == (True, 1)

    def test_a_refused_connection_is_named(self, destination: Path, stage: Stage) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # and does not listen
            address = f"http://127.0.0.1:{closed.getsockname()[1]}/images.tar"
            said = refusal(lambda: fetch(address, destination, stage))
        assert f"{address} (Connection refused; attempts: 6)" in said

    def test_a_host_that_nobody_knows_is_named(
        self, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unknown(*_: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        said = refusal(lambda: fetch("http://images.invalid/images.tar", destination, stage))
        assert "http://images.invalid/images.tar (Name or service not known; attempts: 6)" in said

    def test_the_line_says_how_to_go_on_by_hand(self, server: Server, destination: Path, stage: Stage) -> None:
        server.faults = iter([status(404)])
        said = refusal(lambda: fetch(server.address, destination, stage))
        assert said.endswith("name the file: dvc exp run -S studies.STUDY.data.source=PATH")

    @pytest.mark.parametrize(
        "address",
        ["http://[::1/images.tar", "http://", "https://exa mple/\x00", f"http://{'a' * 64}.org/", "http://h:port/"],
    )
    def test_an_impossible_address_is_refused_at_once_in_one_line(
        self, address: str, destination: Path, stage: Stage, waits: list[float]
    ) -> None:
        said = refusal(lambda: fetch(address, destination, stage))
        assert ("\n" in said, waits) == (False, [])

    def test_a_long_reason_is_cut_short(self, server: Server, destination: Path, stage: Stage) -> None:
        server.faults = iter([raw(b"HTTP/1.1 404 " + b"x" * 50_000 + b"\r\n\r\n")])
        assert len(refusal(lambda: fetch(server.address, destination, stage))) < 1_000

    def test_a_redirect_loop_is_refused(self, server: Server, destination: Path, stage: Stage) -> None:
        server.faults = itertools.repeat(status(302, Location="/images.tar"))
        assert "(Exceeded 30 redirects.)" in refusal(lambda: fetch(server.address, destination, stage))

    def test_a_failed_download_leaves_nothing_where_the_file_should_be(
        self, server: Server, destination: Path, stage: Stage
    ) -> None:
        server.faults = itertools.chain([cut(HALF)], itertools.repeat(status(404)))
        refusal(lambda: obtain(server.address, destination, stage))
        assert not [path for path in destination.parent.iterdir() if destination.name in path.name]

    def test_attempts_that_bring_something_do_not_count(self, server: Server, destination: Path, stage: Stage) -> None:
        server.faults = itertools.repeat(cut(30_000))
        fetch(server.address, destination, stage)
        assert (destination.read_bytes(), len(server.asked)) == (CONTENT, 10)

    def test_attempts_that_bring_the_same_again_count(self, server: Server, destination: Path, stage: Stage) -> None:
        server.headers = {}  # so that each attempt begins anew
        server.faults = itertools.repeat(cut(HALF))
        refusal(lambda: fetch(server.address, destination, stage))
        assert len(server.asked) == download.ATTEMPTS + 1  # the first brought something

    def test_even_attempts_that_bring_something_have_an_end(
        self, server: Server, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(download, "MOST_ATTEMPTS", 8)
        server.faults = itertools.repeat(cut(30_000))
        refusal(lambda: fetch(server.address, destination, stage))
        assert len(server.asked) == 8


class TestWaiting:
    def test_pauses_double(self, server: Server, destination: Path, stage: Stage, waits: list[float]) -> None:
        server.faults = itertools.repeat(status(503))
        refusal(lambda: fetch(server.address, destination, stage))
        assert waits == [2, 4, 8, 16, 32]

    def test_pauses_begin_again_after_progress(
        self, server: Server, destination: Path, stage: Stage, waits: list[float]
    ) -> None:
        server.faults = iter([status(503), status(503), cut(HALF), status(503)])
        fetch(server.address, destination, stage)
        assert waits == [2, 4, 2, 2]

    @pytest.mark.parametrize("code", [429, 503])
    def test_the_server_may_ask_for_longer(
        self, server: Server, code: int, destination: Path, stage: Stage, waits: list[float]
    ) -> None:
        server.faults = iter([status(code, Retry_After="30")])
        fetch(server.address, destination, stage)
        assert waits == [30]

    def test_the_server_may_name_a_time(
        self, server: Server, destination: Path, stage: Stage, waits: list[float]
    ) -> None:
        server.faults = iter([status(503, Retry_After=formatdate(time.time() + 60, usegmt=True))])
        fetch(server.address, destination, stage)
        assert waits == [pytest.approx(60, abs=20)]

    def test_the_server_may_not_ask_for_an_age(
        self, server: Server, destination: Path, stage: Stage, waits: list[float]
    ) -> None:
        server.faults = iter([status(503, Retry_After="9" * 400)])
        fetch(server.address, destination, stage)
        assert waits == [download.LONGEST_WAIT]

    @given(st.text(st.characters(max_codepoint=255)) | st.datetimes().map(lambda date: f"{date:%a, %d %b %Y} 1:2:3"))
    @example("Mon, 01 Jan 99999 00:00:00 GMT")
    @example("Mon, 01 Jan 9999999999999999999999 00:00:00 GMT")
    def test_whatever_the_server_asks_for_is_a_number(self, said: str) -> None:
        assert isinstance(download._retry_after(CaseInsensitiveDict({"Retry-After": said})), float)

    def test_a_line_says_what_happened_and_when_it_goes_on_from_where(
        self, server: Server, destination: Path, stage: Stage, waits: list[float], capsys: pytest.CaptureFixture[str]
    ) -> None:
        server.faults = iter([cut(HALF)])
        fetch(server.address, destination, stage)
        said = f"test: {server.address}: the connection broke off; trying again in 2.0 s from byte 150,000 on\n"
        assert said in capsys.readouterr().out


class TestContinuing:
    def test_only_the_rest_is_asked_for(self, server: Server, destination: Path, stage: Stage) -> None:
        server.faults = iter([cut(HALF)])
        fetch(server.address, destination, stage)
        assert server.ranges == [None, "bytes=150000-"]

    def test_a_download_given_up_goes_on_in_the_next_run(self, server: Server, destination: Path, stage: Stage) -> None:
        server.faults = iter([cut(HALF), status(404)])
        refusal(lambda: fetch(server.address, destination, stage))
        fetch(server.address, destination, stage)
        assert (server.ranges[-1], destination.read_bytes()) == ("bytes=150000-", CONTENT)

    def test_an_interrupted_download_goes_on_in_the_next_run(
        self, server: Server, destination: Path, stage: Stage
    ) -> None:
        def interrupted(response: requests.Response, size: int) -> Iterator[bytes]:
            yield response.raw.read(size)
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(requests.Response, "iter_content", interrupted)
            with pytest.raises(KeyboardInterrupt):
                fetch(server.address, destination, stage)
        fetch(server.address, destination, stage)
        assert (server.ranges[-1], destination.read_bytes()) == ("bytes=10000-", CONTENT)

    def test_a_killed_download_goes_on_in_the_next_run(
        self, server: Server, destination: Path, stage: Stage, tmp_path: Path
    ) -> None:
        begin = (
            "import sys; from pathlib import Path; from vgg_ablation.dataset.download import fetch; "
            "from vgg_ablation.runtime.console import Stage; fetch(sys.argv[1], Path(sys.argv[2]), Stage('killed'))"
        )
        server.faults = iter([stall(HALF)])
        with subprocess.Popen([sys.executable, "-c", begin, server.address, str(destination)]) as process:
            deadline = time.monotonic() + 60
            while not (list(tmp_path.glob("root/.state/download/*/partial")) and len(kept(tmp_path)) >= 100_000):
                assert time.monotonic() < deadline
                server.ending.wait(0.05)
            process.kill()
        there = len(kept(tmp_path))
        fetch(server.address, destination, stage)
        assert (process.returncode, server.ranges) == (-signal.SIGKILL, [None, f"bytes={there}-"])
        assert destination.read_bytes() == CONTENT

    def test_a_full_disk_is_named_before_the_bytes_come_and_costs_none_of_those_here(
        self, server: Server, destination: Path, stage: Stage
    ) -> None:
        server.faults = iter([cut(HALF), status(404)])
        refusal(lambda: fetch(server.address, destination, stage))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
            assert "the disk is full" in refusal(lambda: fetch(server.address, destination, stage))
        fetch(server.address, destination, stage)
        assert (server.ranges[-1], destination.read_bytes()) == ("bytes=150000-", CONTENT)

    def test_a_disk_that_fills_up_on_the_way_is_named_and_what_came_is_kept(
        self, server: Server, destination: Path, stage: Stage
    ) -> None:
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
            assert "the disk is full" in refusal(lambda: obtain(server.address, destination, stage))
        fetch(server.address, destination, stage)
        assert (server.ranges[-1], destination.read_bytes()) == ("bytes=150000-", CONTENT)

    def test_a_server_without_ranges_begins_anew(self, server: Server, destination: Path, stage: Stage) -> None:
        whole = fixed(CONTENT, Content_Length=str(len(CONTENT)), ETag='"one"')
        server.faults = iter([cut(HALF), whole])
        fetch(server.address, destination, stage)
        assert (server.ranges[-1], destination.read_bytes()) == ("bytes=150000-", CONTENT)

    def test_a_redirect_is_followed_also_on_the_way(
        self, server: Server, mirror: Server, destination: Path, stage: Stage
    ) -> None:
        server.faults = itertools.repeat(status(302, Location=mirror.address))
        mirror.faults = iter([cut(HALF)])
        fetch(server.address, destination, stage)
        assert (mirror.ranges, destination.read_bytes()) == ([None, "bytes=150000-"], CONTENT)

    def test_a_whole_file_whose_end_was_not_seen_is_taken(
        self, server: Server, destination: Path, stage: Stage
    ) -> None:
        server.faults = iter([fixed(CONTENT, Content_Length=str(len(CONTENT) + 1), ETag='"one"')])
        fetch(server.address, destination, stage)  # the second answer is 416: nothing lies behind
        assert (server.ranges, destination.read_bytes()) == ([None, "bytes=300000-"], CONTENT)

    def test_a_server_that_sends_less_than_the_rest_is_asked_for_more(
        self, server: Server, destination: Path, stage: Stage
    ) -> None:
        def a_piece(server: Server, handler: BaseHTTPRequestHandler) -> None:
            piece = {"Content-Range": f"bytes {HALF}-{HALF + 9_999}/{len(CONTENT)}", "Content-Length": "10000"}
            send(handler, 206, server.headers | piece, CONTENT[HALF : HALF + 10_000])

        server.faults = iter([cut(HALF), a_piece])
        fetch(server.address, destination, stage)
        assert (server.ranges[-1], destination.read_bytes()) == ("bytes=160000-", CONTENT)


class TestChange:
    """Bytes of two files are never joined."""

    NEW = np.random.default_rng(2).bytes(len(CONTENT))

    def then_new(self, server: Server, *faults: Fault, content: bytes = NEW, tag: str = '"two"') -> None:
        """Have the server answer with the old file's first half, and then hold another file."""

        def half(server: Server, handler: BaseHTTPRequestHandler) -> None:
            cut(HALF)(server, handler)
            server.content = content
            server.headers = {"ETag": tag}

        server.faults = iter([half, *faults])

    def test_a_file_that_changed_between_attempts_comes_anew(
        self, server: Server, destination: Path, stage: Stage
    ) -> None:
        self.then_new(server)
        fetch(server.address, destination, stage)
        assert (server.asked[-1]["If-Range"], destination.read_bytes()) == ('"one"', self.NEW)

    def test_a_server_that_does_not_know_if_range_is_seen_through_by_its_tag(
        self, server: Server, destination: Path, stage: Stage
    ) -> None:
        def heedless(server: Server, handler: BaseHTTPRequestHandler) -> None:
            del handler.headers["If-Range"]
            cut(None)(server, handler)

        self.then_new(server, heedless)
        fetch(server.address, destination, stage)
        assert destination.read_bytes() == self.NEW

    def test_a_file_that_became_shorter_comes_anew(self, server: Server, destination: Path, stage: Stage) -> None:
        self.then_new(server, status(416, Content_Range="bytes */1000"), content=self.NEW[:1000])
        fetch(server.address, destination, stage)
        assert destination.read_bytes() == self.NEW[:1000]

    @pytest.mark.parametrize("said", ["bytes 140000-299999/300000", "bytes 150000-299999/*", "bytes */300000", ""])
    def test_a_part_other_than_asked_for_is_not_joined(
        self, server: Server, said: str, destination: Path, stage: Stage
    ) -> None:
        def another_part(server: Server, handler: BaseHTTPRequestHandler) -> None:
            send(handler, 206, server.headers | {"Content-Range": said}, CONTENT[140_000:])

        server.faults = iter([cut(HALF), another_part])
        fetch(server.address, destination, stage)
        assert destination.read_bytes() == CONTENT

    NOW: ClassVar = "now"
    LONG_AGO: ClassVar = "Mon, 01 Jan 2024 00:00:00 GMT"

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"ETag": 'W/"one"'},
            {"ETag": "one"},
            {"ETag": 'W/"one"', "Last-Modified": LONG_AGO},
            {"Last-Modified": NOW},
            {"Last-Modified": "yesterday"},
        ],
    )
    def test_without_a_strong_validator_nothing_is_joined(
        self, server: Server, headers: dict[str, str], destination: Path, stage: Stage
    ) -> None:
        # Of the moment of the test, which may come minutes after it was collected.
        server.headers = {
            name: formatdate(usegmt=True) if value == self.NOW else value for name, value in headers.items()
        }
        server.faults = iter([cut(HALF)])
        fetch(server.address, destination, stage)
        assert (server.ranges, destination.read_bytes()) == ([None, None], CONTENT)

    def test_a_file_long_unchanged_is_continued_by_its_date(
        self, server: Server, destination: Path, stage: Stage
    ) -> None:
        server.headers = {"Last-Modified": self.LONG_AGO}
        server.faults = iter([cut(HALF)])
        fetch(server.address, destination, stage)
        assert (server.asked[-1].get("If-Range"), server.ranges[-1]) == (self.LONG_AGO, "bytes=150000-")

    def test_a_process_killed_as_it_notes_another_file_leaves_none_of_the_old_ones_bytes(
        self, server: Server, destination: Path, stage: Stage
    ) -> None:
        def note_and_end(path: Path, value: object) -> None:
            write_json(path, value)
            raise KeyboardInterrupt

        self.then_new(server, status(404))
        refusal(lambda: fetch(server.address, destination, stage))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(download, "write_json", note_and_end)
            with pytest.raises(KeyboardInterrupt):
                fetch(server.address, destination, stage)
        fetch(server.address, destination, stage)
        assert destination.read_bytes() == self.NEW

    def test_a_damaged_note_of_the_origin_is_told_of_once(
        self, server: Server, destination: Path, stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        server.faults = iter([cut(HALF), status(404)])
        refusal(lambda: fetch(server.address, destination, stage))
        (origin,) = tmp_path.glob("root/.state/download/*/origin.json")
        origin.write_text("{")
        fetch(server.address, destination, stage)
        assert capsys.readouterr().out.count(f"test: {origin}: damaged; ") == 1

    @pytest.mark.parametrize("note", ["", "{", "[1]", '{"address": "http://elsewhere/", "validator": "\\"one\\""}'])
    def test_a_partial_of_unknown_origin_is_not_continued(
        self, server: Server, note: str, destination: Path, stage: Stage, tmp_path: Path
    ) -> None:
        server.faults = iter([cut(HALF), status(404)])
        refusal(lambda: fetch(server.address, destination, stage))
        (origin,) = tmp_path.glob("root/.state/download/*/origin.json")
        origin.write_text(note)
        fetch(server.address, destination, stage)
        assert (server.ranges[-1], destination.read_bytes()) == (None, CONTENT)


class TestOfficial:
    def test_the_official_archive_is_the_published_one(self) -> None:
        """https://data.caltech.edu/records/nyy15-4j048 (doi 10.22002/D1.20087)."""
        assert (download.OFFICIAL_SIZE, download.OFFICIAL_SHA256) == (
            1183006720,
            "08ff01b03c65566014ae88eb0490dbe4419fc7ac4de726ee1163e39fd809543e",
        )

    def test_it_is_accepted_by_its_size_and_hash(self, official: Server, destination: Path, stage: Stage) -> None:
        fetch_official(destination, stage)
        assert destination.read_bytes() == CONTENT

    @pytest.mark.parametrize("length", [len(CONTENT) - 1, len(CONTENT) + 1])
    def test_a_file_of_another_length_is_refused_by_its_head(
        self, official: Server, length: int, destination: Path, stage: Stage
    ) -> None:
        official.faults = itertools.repeat(fixed(b"", Content_Length=str(length)))
        said = refusal(lambda: fetch_official(destination, stage))
        assert (f"(has {length:,} bytes where 300,000 are expected)" in said, len(official.asked)) == (True, 1)

    def test_too_many_bytes_are_refused_as_they_come_and_thrown_away(
        self, official: Server, destination: Path, stage: Stage, tmp_path: Path
    ) -> None:
        def endless(server: Server, handler: BaseHTTPRequestHandler) -> None:
            send(handler, 200, {})
            while not server.ending.is_set():
                handler.wfile.write(CONTENT)

        official.faults = itertools.repeat(endless)
        said = refusal(lambda: fetch_official(destination, stage))
        assert ("(sends more than the 300,000 bytes expected)" in said, len(official.asked)) == (True, 1)
        assert kept(tmp_path) == b""

    def test_too_few_bytes_are_followed_by_the_rest(self, official: Server, destination: Path, stage: Stage) -> None:
        official.faults = iter([fixed(CONTENT[:HALF])])
        fetch_official(destination, stage)
        assert (official.ranges, destination.read_bytes()) == ([None, "bytes=150000-"], CONTENT)

    def test_other_bytes_are_refused_and_asked_for_once(
        self, official: Server, destination: Path, stage: Stage
    ) -> None:
        official.content = TestChange.NEW
        said = refusal(lambda: fetch_official(destination, stage))
        assert (f"its SHA-256 is {hashlib.sha256(TestChange.NEW).hexdigest()}" in said, len(official.asked)) == (
            True,
            1,
        )

    def test_other_bytes_are_thrown_away(
        self, official: Server, destination: Path, stage: Stage, tmp_path: Path
    ) -> None:
        official.content = TestChange.NEW
        refusal(lambda: fetch_official(destination, stage))
        assert kept(tmp_path) == b""

    def test_a_partial_with_other_bytes_is_found_out_and_fetched_anew(
        self, official: Server, destination: Path, stage: Stage
    ) -> None:
        official.faults = iter([fixed(TestChange.NEW[:HALF])])
        fetch_official(destination, stage)
        assert (official.ranges, destination.read_bytes()) == ([None, "bytes=150000-", None], CONTENT)

    def test_a_partial_that_is_whole_needs_no_network(
        self, official: Server, destination: Path, stage: Stage, tmp_path: Path
    ) -> None:
        official.faults = iter([status(404)])
        refusal(lambda: fetch_official(destination, stage))
        (partial,) = tmp_path.glob("root/.state/download/*/partial")
        partial.write_bytes(CONTENT)
        fetch_official(destination, stage)
        assert (len(official.asked), destination.read_bytes()) == (1, CONTENT)

    def test_it_is_asked_for_without_if_range(self, official: Server, destination: Path, stage: Stage) -> None:
        official.faults = iter([cut(HALF)])
        fetch_official(destination, stage)
        assert "If-Range" not in official.asked[-1]


class TestMirrors:
    def test_a_mirror_is_asked_at_once_where_the_official_address_has_nothing(
        self, official: Server, mirror: Server, destination: Path, stage: Stage, waits: list[float]
    ) -> None:
        official.faults = iter([status(404)])
        fetch_official(destination, stage)
        assert (len(mirror.asked), waits, destination.read_bytes()) == (1, [], CONTENT)

    def test_a_mirror_is_not_asked_where_the_official_address_answers(
        self, official: Server, mirror: Server, destination: Path, stage: Stage
    ) -> None:
        fetch_official(destination, stage)
        assert mirror.asked == []

    def test_a_mirror_goes_on_where_the_official_address_stopped(
        self, official: Server, mirror: Server, destination: Path, stage: Stage
    ) -> None:
        official.faults = iter([cut(HALF), status(404)])
        mirror.headers = {}
        fetch_official(destination, stage)
        assert (mirror.ranges, destination.read_bytes()) == (["bytes=150000-"], CONTENT)

    def test_a_mirror_of_another_file_costs_nothing_of_what_came(
        self, official: Server, mirror: Server, destination: Path, stage: Stage
    ) -> None:
        official.faults = iter([cut(HALF), status(404)])
        mirror.content = b"<html>Please log in</html>"
        mirror.faults = iter([fixed(mirror.content, Content_Length=str(len(mirror.content)))])
        refusal(lambda: fetch_official(destination, stage))
        fetch_official(destination, stage)
        assert (official.ranges[-1], destination.read_bytes()) == ("bytes=150000-", CONTENT)

    def test_a_mirror_of_a_shorter_file_costs_nothing_of_what_came(
        self, official: Server, mirror: Server, destination: Path, stage: Stage
    ) -> None:
        official.faults = iter([cut(HALF), status(404)])
        mirror.content = CONTENT[:HALF]
        said = refusal(lambda: fetch_official(destination, stage))
        fetch_official(destination, stage)
        assert ("(has no bytes from byte 150,000 on)" in said, official.ranges[-1]) == (True, "bytes=150000-")

    def test_bytes_joined_over_addresses_are_told_by_their_hash_and_fetched_anew(
        self, official: Server, mirror: Server, destination: Path, stage: Stage
    ) -> None:
        official.content = TestChange.NEW
        official.faults = iter([cut(HALF), status(404)])
        fetch_official(destination, stage)
        assert (mirror.ranges, destination.read_bytes()) == (["bytes=150000-", None], CONTENT)

    def test_the_line_names_each_address_with_its_reason(
        self, official: Server, mirror: Server, destination: Path, stage: Stage
    ) -> None:
        official.faults = iter([status(404)])
        mirror.faults = iter([status(403)])
        said = refusal(lambda: fetch_official(destination, stage))
        assert f"{official.address} (404 Not Found); {mirror.address} (403 Forbidden). " in said

    def test_other_sources_have_no_mirrors(
        self, server: Server, mirror: Server, destination: Path, stage: Stage
    ) -> None:
        server.faults = iter([status(404)])
        refusal(lambda: fetch(server.address, destination, stage))
        assert mirror.asked == []

    def test_they_are_taken_in_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CALTECH256_MIRRORS", " https://one/a.tar\n\thttp://two:8080/b.tar ")
        assert mirrors() == ["https://one/a.tar", "http://two:8080/b.tar"]

    @pytest.mark.parametrize("value", ["ftp://one/a.tar", "one/a.tar", "https://", "http://one:port/", "http://[::1/"])
    def test_what_is_no_web_address_is_refused_before_anything_is_asked(
        self, official: Server, value: str, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CALTECH256_MIRRORS", f"https://one/a.tar {value}")
        said = refusal(lambda: fetch_official(destination, stage))
        assert (said.startswith(f"CALTECH256_MIRRORS: {value!r} is no"), official.asked) == (True, [])


class TestCredentials:
    def test_they_are_given_to_the_server(self, server: Server, destination: Path, stage: Stage) -> None:
        fetch(server.address.replace("//", "//me:secret@"), destination, stage)
        assert server.asked[0]["Authorization"] == "Basic bWU6c2VjcmV0"  # RFC 7617: base64 of me:secret

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize(
        "fault", [cut(0), cut(HALF), status(503), status(404), silence, status(302, Location="ftp://me:secret@one/")]
    )
    def test_they_are_neither_said_nor_kept(
        self,
        server: Server,
        fault: Fault,
        destination: Path,
        stage: Stage,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        server.faults = itertools.chain([cut(10_000), fault], itertools.repeat(status(404)))
        said = refusal(lambda: fetch(server.address.replace("//", "//me:secret@"), destination, stage))
        written = "".join(path.read_text("latin-1") for path in tmp_path.rglob("*.json"))
        shown = said + capsys.readouterr().out + written
        assert ("secret" in shown, shown.count("***@") > 2) == (False, True)

    @pytest.mark.parametrize("address", ["http://me:secret@[::1/", "http://me:sec/ret@host:port/", "http://me:secret@"])
    def test_they_are_not_said_of_an_impossible_address(self, address: str, destination: Path, stage: Stage) -> None:
        said = refusal(lambda: fetch(address, destination, stage))
        assert not any(part in said for part in ("secret", "sec/ret", "me:"))

    def test_they_are_not_said_of_a_mirror(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CALTECH256_MIRRORS", "ftp://me:secret@host/a.tar")
        assert "secret" not in refusal(mirrors)

    @given(st.text(), st.text())
    def test_nothing_before_the_host_is_shown(self, user: str, password: str) -> None:
        assert without_credentials(f"https://{user}:{password}@host/a.tar") == "https://***@host/a.tar"


class TestFiles:
    def test_nothing_is_kept_of_a_download_that_is_there(
        self, server: Server, destination: Path, stage: Stage, tmp_path: Path
    ) -> None:
        server.faults = iter([cut(HALF)])
        fetch(server.address, destination, stage)
        left = {path.name for path in tmp_path.glob("root/.state/download/*/*")}
        assert left.isdisjoint({"partial", "origin.json"})

    def test_another_file_system_may_hold_the_destination(
        self, server: Server, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rename = os.rename

        def across(source: str | Path, target: str | Path) -> None:
            if target == destination:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            rename(source, target)

        monkeypatch.setattr(os, "rename", across)
        fetch(server.address, destination, stage)
        assert destination.read_bytes() == CONTENT

    def test_what_comes_is_one_process_s_alone(
        self, server: Server, destination: Path, stage: Stage, tmp_path: Path
    ) -> None:
        held: list[bool] = []

        def look(server: Server, handler: BaseHTTPRequestHandler) -> None:
            (lock,) = tmp_path.glob("root/.state/download/*/lock")
            try:
                FileLock(lock).acquire(timeout=0)
            except Timeout:
                held.append(True)
            cut(None)(server, handler)

        server.faults = iter([look])
        fetch(server.address, destination, stage)
        assert held == [True]

    def test_the_bytes_are_asked_for_as_they_are(self, server: Server, destination: Path, stage: Stage) -> None:
        fetch(server.address, destination, stage)
        assert server.asked[0]["Accept-Encoding"] == "identity"

    def test_a_file_far_larger_than_the_memory_it_takes(self, server: Server, destination: Path, stage: Stage) -> None:
        block, blocks = bytes(2**16), 256

        def long(server: Server, handler: BaseHTTPRequestHandler) -> None:
            send(handler, 200, {"Content-Length": str(len(block) * blocks)})
            for _ in range(blocks):
                handler.wfile.write(block)

        server.faults = iter([long])
        tracemalloc.start()
        try:
            fetch(server.address, destination, stage)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < destination.stat().st_size / 4

    def test_an_empty_file_is_fetched(self, server: Server, destination: Path, stage: Stage) -> None:
        server.faults = iter([fixed(b"", Content_Length="0")])
        fetch(server.address, destination, stage)
        assert destination.read_bytes() == b""


class TestProgress:
    def test_it_is_counted_in_megabytes(
        self, server: Server, destination: Path, stage: Stage, capsys: pytest.CaptureFixture[str]
    ) -> None:
        server.content = bytes(2_500_000)
        fetch(server.address, destination, stage)
        assert "test: fetching MB 3/3: " in capsys.readouterr().out

    def test_it_begins_where_the_last_attempt_stopped(
        self,
        server: Server,
        destination: Path,
        stage: Stage,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(download, "QUIET", 0.0)
        server.content = bytes(4_000_000)
        server.faults = iter([cut(2_000_000)])
        fetch(server.address, destination, stage)
        counts = [line.split()[3] for line in capsys.readouterr().out.splitlines() if "fetching MB" in line]
        assert counts == ["1/4:", "2/4:", "1/4:", "2/4:", "3/4:", "4/4:"]

    def test_a_server_that_does_not_say_how_much_will_come_is_told_of(
        self,
        server: Server,
        destination: Path,
        stage: Stage,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(download, "QUIET", 0.0)
        server.faults = iter([fixed(bytes(2_000_000))])
        fetch(server.address, destination, stage)
        said = capsys.readouterr().out
        assert ("the server does not say how much" in said, "test: 2 MB so far\n" in said) == (True, True)


class TestObtain:
    """The archive's way to the network."""

    @pytest.fixture
    def archive(self) -> bytes:
        """Return the bytes of a tar of one file in the official layout."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as written:
            entry = tarfile.TarInfo("256_ObjectCategories/003.backpack/003_0001.jpg")
            entry.size = 2000
            written.addfile(entry, io.BytesIO(b"second" * 400))
        return buffer.getvalue()

    def test_an_address_is_fetched(self, server: Server, archive: bytes, destination: Path, stage: Stage) -> None:
        server.content = archive
        obtain(server.address, destination, stage)
        assert destination.read_bytes() == archive

    def test_a_password_is_not_said_of_what_is_no_archive_either(
        self, server: Server, destination: Path, stage: Stage
    ) -> None:
        server.content = b"<html>Please log in</html>" * 100
        with pytest.raises(StageError) as error:
            obtain(server.address.replace("//", "//user:secret@"), destination, stage)
        assert "***@" in str(error.value)
        assert "secret" not in str(error.value)

    def test_the_official_archive_is_fetched(
        self, server: Server, archive: bytes, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.content = archive
        monkeypatch.setattr(download, "OFFICIAL_ADDRESS", server.address)
        monkeypatch.setattr(download, "OFFICIAL_SIZE", len(archive))
        monkeypatch.setattr(download, "OFFICIAL_SHA256", hashlib.sha256(archive).hexdigest())
        obtain("caltech256", destination, stage)
        assert destination.read_bytes() == archive

    def test_a_page_in_the_archives_place_is_refused(self, server: Server, destination: Path, stage: Stage) -> None:
        server.content = b"<html>Please log in</html>" * 100
        assert "not a whole, uncompressed tar" in refusal(lambda: obtain(server.address, destination, stage))
