"""One bound over a whole request, whatever part of it is slow, and what is known of one that failed."""

import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import requests

from meshibot.publishers import transport
from meshibot.publishers.answers import NoAnswer
from meshibot.publishers.transport import Adapter, Timeouts

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def session(timeouts: Timeouts, base: str | None = None) -> Iterator[requests.Session]:
    """A session that sends everything through an adapter of ours."""
    with requests.Session() as opened:
        opened.trust_env = False
        opened.mount("http://", Adapter(base, timeouts))
        yield opened


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """One that serves one connection as it is told; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def refused(opened: requests.Session, url: str, data: bytes = b"") -> NoAnswer:
    """Why there was no answer."""
    with pytest.raises(NoAnswer) as caught:
        opened.post(url, data=data)
    return caught.value


def test_a_resolver_that_hangs_does_not_hold_the_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can't be ended; the request is, and certainly nothing was sent."""
    hung = threading.Event()

    def hang(*_: Any) -> Any:
        hung.wait(60)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with session(Timeouts(connect=0.2)) as opened:
        error = refused(opened, "http://photographs.example/")
    hung.set()
    assert (error.why, error.sent) == ("connecting took too long", False)


@pytest.fixture
def full() -> Iterator[tuple[str, int]]:
    """The address of a listener whose queue is full: it answers no handshake, as a dead address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()
        for one in crowd:
            one.close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Have every name mean these."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)


def test_eight_dead_addresses_take_no_longer_than_one(
    full: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, *[full] * 8)
    waits: list[float] = []
    connect = socket.socket.connect

    class Timed(socket.socket):
        def connect(self, address: Any) -> None:
            waits.append(self.gettimeout() or 0.0)
            connect(self, address)

    monkeypatch.setattr(socket, "socket", Timed)
    with session(Timeouts(connect=2.4)) as opened:
        error = refused(opened, "http://photographs.example/")
    assert (error.why, error.sent) == ("connecting took too long", False)
    assert len(waits) == 8, "each address was tried"
    assert sum(waits) < 2.5


def test_the_address_that_lives_is_found_among_dead_ones(
    full: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(ANSWER)

    with server(answer) as url:
        resolve_to(monkeypatch, full, full, ("127.0.0.1", int(url.rpartition(":")[2])))
        with session(Timeouts(connect=9.0)) as opened:
            assert opened.post("http://photographs.example/").text == "ok"


def test_a_slow_line_may_take_its_time() -> None:
    """Longer than connecting may, as long as it takes some: the whole bounds it."""
    part = 3_000_000

    def read_slowly(connection: socket.socket) -> None:
        for _ in range(5):
            time.sleep(0.5)
            connection.recv(part, socket.MSG_WAITALL)
        connection.recv(part)  # as much as the headers had moved it on
        connection.sendall(ANSWER)

    with server(read_slowly) as url, session(Timeouts(connect=2.0, answer=20.0, whole=60.0)) as opened:
        assert opened.post(url, data=bytes(5 * part)).text == "ok"


def test_a_server_that_takes_nothing_ends_the_request() -> None:
    """By the wait for one block, long before the whole."""
    done = threading.Event()

    def wait(_: socket.socket) -> None:
        done.wait(60)

    with (
        server(wait) as url,
        session(Timeouts(connect=5.0, answer=0.4)) as opened,
    ):
        error = refused(opened, url, bytes(20_000_000))
        done.set()
    assert (error.why, error.sent) == ("the answer took too long", True)


def test_sending_that_goes_on_for_ever_ends_with_the_whole() -> None:
    done = threading.Event()

    def trickle(connection: socket.socket) -> None:
        with suppress(OSError):
            while not done.wait(0.05) and connection.recv(65_536):
                pass

    with server(trickle) as url, session(Timeouts(connect=5.0, answer=1.0, whole=2.0)) as opened:
        error = refused(opened, url, bytes(50_000_000))
        done.set()
    assert (error.why, error.sent) == ("the answer took too long", True)


def test_an_answer_that_unpacks_to_gigabytes_is_cut() -> None:
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join([pack.compress(bytes(1_000_000)) for _ in range(64)] + [pack.flush()])
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"

    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        with suppress(OSError):
            connection.sendall(head.encode() + packed)

    tracemalloc.start()
    try:
        with server(serve) as url, session(Timeouts()) as opened:
            error = refused(opened, url)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (error.why, error.sent) == ("the answer is longer than 8 MB", True)
    assert most < 40_000_000


def test_a_packed_answer_of_ordinary_length_is_read_whole() -> None:
    packed = gzip.compress(b"bowl" * 10_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"

    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(head.encode() + packed)

    with server(serve) as url, session(Timeouts()) as opened:
        assert opened.post(url).content == b"bowl" * 10_000


@contextmanager
def counting_server() -> Iterator[tuple[str, list[bytes]]]:
    """One that answers, and keeps what it got."""
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        connection.settimeout(20)
        while data := connection.recv(65_536):
            got.append(data)
            if data.endswith(b"bowl"):
                connection.sendall(ANSWER)

    with server(serve) as url:
        yield url, got


def adapter_of(opened: requests.Session) -> Adapter:
    adapter = opened.get_adapter("http://")
    assert isinstance(adapter, Adapter)
    return adapter


def test_a_fenced_request_leaves_whole_and_only_after_the_last_look() -> None:
    with counting_server() as (url, got), session(Timeouts(answer=20.0)) as opened:
        adapter = adapter_of(opened)
        seen: list[tuple[bool, int]] = []

        def fence() -> float:
            time.sleep(0.05)  # what had left would be there by now
            seen.append((adapter.anything_sent, len(got)))
            return 30.0

        with adapter.fenced(fence):
            assert opened.post(url, data=b"a bowl").text == "ok"
    assert seen == [(False, 0)]
    assert got[0].startswith(b"POST / ")
    assert b"".join(got).endswith(b"\r\n\r\na bowl")


def test_a_closed_fence_ends_the_request_after_it_had_connected() -> None:
    def closed() -> float:
        raise RuntimeError("closed")

    with counting_server() as (url, got), session(Timeouts()) as opened:
        with adapter_of(opened).fenced(closed), pytest.raises(RuntimeError, match="closed"):
            opened.post(url, data=b"a bowl")
        assert not adapter_of(opened).anything_sent
    assert got == []


def test_a_fenced_request_ends_within_the_time_that_its_fence_gives() -> None:
    done = threading.Event()

    def hang(connection: socket.socket) -> None:
        connection.recv(65_536)
        done.wait(60)

    with server(hang) as url, session(Timeouts(answer=50.0, whole=60.0)) as opened:
        with adapter_of(opened).fenced(lambda: 0.3):
            error = refused(opened, url, b"a bowl")
        done.set()
    assert (error.why, error.sent) == ("the answer took too long", True)


def test_a_request_ends_in_time_on_a_machine_that_was_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic clock that Python gives stands still meanwhile; the one that is read here does not."""
    asleep = [0.0]
    monkeypatch.setattr(transport, "elapsed", lambda: time.monotonic() + asleep[0])

    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(ANSWER[:10])
        asleep[0] = 3600.0
        time.sleep(0.3)  # so that the rest does not come with the first part
        with suppress(OSError):
            connection.sendall(ANSWER[10:])

    with server(serve) as url, session(Timeouts(answer=20.0)) as opened:
        error = refused(opened, url, b"a bowl")
    assert (error.why, error.sent) == ("the answer took too long", True)
