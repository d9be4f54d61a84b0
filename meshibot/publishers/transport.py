"""HTTP for publishing: every request ends in bounded time, and it is known whether any of it was sent.

Whether a failed request may be repeated hangs on one fact: did a byte of it leave? An exception's type is no
proof (a TLS error may come from the handshake or from the answer), so the connection itself keeps the record.
"""

import http.client
import io
import queue
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

from meshibot.clock import elapsed
from meshibot.publishers.answers import NoAnswer, http_date
from meshibot.publishers.base import Fence, Told

_BLOCK = 16_384
"""Bytes that are sent at once: a slow line may take long for all of them, as long as it takes some."""
_LONGEST_ANSWER = 8_000_000
"""Bytes, unpacked. A full page of a timeline has a fortieth of it; a packed answer may unpack to anything."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds. A request ends within `whole`, whatever part of it is slow.

    That is less than a lease of the outbox, and than the time over which it looks for a post that may exist.
    """

    connect: float = 10.0
    """To look the name up, connect to one of its addresses and agree on TLS."""
    answer: float = 45.0
    """For the whole answer, from the request's last byte on, however it trickles in."""
    whole: float = 60.0
    """From the look-up to the answer's last byte: what is left of it is for sending."""


class Adapter(HTTPAdapter):
    """Sends each request over a connection of its own, to another address where `base` names one.

    The request is signed for the official address before it gets here, and stays so: `base` is a door to the
    same service (a proxy, a test's double), not another service. For one thread at a time.
    """

    def __init__(self, base: str | None, timeouts: Timeouts) -> None:
        self._base = base.rstrip("/") if base else None
        self._timeouts = timeouts
        self._ends = elapsed() + timeouts.whole
        self._connected_by = elapsed() + timeouts.connect
        self._fence: Fence | None = None
        self.told: Told | None = None
        """What the latest answer said besides."""
        self.anything_sent = False
        """Whether a byte of the latest request was handed to an established connection."""
        # No retries of urllib3's own: whether to try again is the outbox's to decide.
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make pools whose connections keep time and record."""
        super().init_poolmanager(*args, **kwargs)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """The same behind HTTPS_PROXY."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        self._watch(manager)
        return manager

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: object = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send `request` within the timeouts, and read the whole answer. Raises NoAnswer without one."""
        began = elapsed()
        self._ends = began + self._timeouts.whole
        self._connected_by = began + self._timeouts.connect
        self.anything_sent = False
        if self._base is not None and request.url is not None:
            path = request.url.split("/", 3)[3] if request.url.count("/") >= 3 else ""
            request.url = f"{self._base}/{path}"
            # The proxies were chosen for the official address; the door is named outright and needs none.
            proxies = None
        request.headers["Connection"] = "close"
        try:
            response = super().send(
                request,
                stream=True,
                timeout=(self._timeouts.connect, self._timeouts.answer),
                verify=verify,
                cert=cert,
                proxies=dict(proxies) if proxies else None,
            )
            # Read here what requests would read after this returns.
            _read_whole(response)
            self.told = _told(response.headers)
            return response
        except _AnswerTooLong as error:
            raise NoAnswer(str(error), sent=True) from None
        except (OSError, HTTPError) as error:
            # RequestException is an OSError; urllib3's own are caught should one ever come through.
            raise NoAnswer(cause(error), sent=self.anything_sent) from error
        finally:
            # A connection that is kept may be closed at the other end by the next request, which is then in
            # doubt for nothing. The header alone is not enough: not every server says that it closes.
            self.close()

    @contextmanager
    def fenced(self, fence: Fence) -> Iterator[None]:
        """Let the requests made in here leave by this fence: see `Publisher.send`.

        Such a request is kept back until the whole of it is there, then the fence is asked, and it leaves at
        once. So a process that is suspended before that sends nothing when it wakes, not even the rest.
        """
        self._fence = fence
        try:
            yield
        finally:
            self._fence = None

    @property
    def keeps_back(self) -> bool:
        """Whether the request waits for its fence."""
        return self._fence is not None

    def last_look(self) -> None:
        """Ask the fence, and end the request within the time that it gives."""
        if self._fence is not None:
            left = self._fence()
            self._ends = min(self._ends, elapsed() + left)

    def left_to_connect(self) -> float:
        """Seconds. Raises TimeoutError where there are none."""
        return _positive(self._connected_by - elapsed())

    def left_to_go_on(self) -> float:
        """Seconds for the next thing after connecting. Raises TimeoutError where there are none."""
        return min(_positive(self._ends - elapsed()), self._timeouts.answer)

    def _watch(self, manager: PoolManager) -> None:
        adapter = self

        class Plain(_Watched, HTTPConnection):
            record = adapter

        class Secure(_Watched, HTTPSConnection):
            record = adapter

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


class _AnswerTooLong(Exception):  # noqa: N818 (an outcome)
    """An answer that no network gives, and that would fill the memory."""


def _read_whole(response: requests.Response) -> None:
    """Take in the answer's body, unpacked, as `requests` does, but no more of it than an answer may have."""
    parts: list[bytes] = []
    length = 0
    for part in response.iter_content(_BLOCK):
        length += len(part)
        if length > _LONGEST_ANSWER:
            response.close()
            raise _AnswerTooLong(f"the answer is longer than {_LONGEST_ANSWER // 1_000_000} MB")
        parts.append(part)
    response._content = b"".join(parts)  # what `requests` sets itself where it reads the body


def _told(headers: Mapping[str, str]) -> Told:
    """The server's date, and its rate limit by whichever name it goes."""
    now = http_date(headers.get("date", ""))
    ahead = None if now is None else datetime.now(UTC) - now
    for prefix in ("x-rate-limit", "x-ratelimit", "ratelimit"):
        left, whole = (headers.get(f"{prefix}-{name}", "") for name in ("remaining", "limit"))
        if left.isdigit():
            return Told(ahead, int(whole) if whole.isdigit() else None, int(left))
    return Told(ahead)


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise TimeoutError("the request did not end in time")
    return seconds


class _UntilDeadline(io.RawIOBase):
    """Reads a socket until a moment and no longer: a timeout per read never ends while bytes trickle in."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_positive(self._deadline - elapsed()))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedSocket:
    """What http.client asks of a socket that it reads an answer from: a file."""

    def __init__(self, sock: socket.socket) -> None:
        # `_Watched` has just set the timeout on it, which from here on is the time for the whole answer.
        self._deadline = elapsed() + (sock.gettimeout() or Timeouts.answer)
        self._sock = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        raw = self._sock.makefile("rb", buffering=0)
        return io.BufferedReader(_UntilDeadline(raw, self._sock, self._deadline))


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(_BoundedSocket(sock), *args, **kwargs)  # type: ignore[arg-type]


class _Watched(HTTPConnection):
    record: Adapter
    response_class = _BoundedResponse
    _established = False
    _kept = b""
    """What waits for the fence."""

    def connect(self) -> None:
        # What is sent while connecting (a proxy's CONNECT, the TLS handshake) is not the request.
        super().connect()
        self._established = True

    def _new_conn(self) -> socket.socket:
        """As urllib3's own, which would take the time anew for the look-up and for each address."""
        try:
            addresses = _look_up(self._dns_host, self.port or self.default_port, self.record)
            return _connect(addresses, self.socket_options or (), self.record)
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(self.host, self, socket.gaierror(str(error))) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, str(error)) from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if self._established and self.record.keeps_back:
            self._kept += bytes(data)
        else:
            self._send_blocks(data)

    def _send_blocks(self, data: Any) -> None:
        for block in _blocks(data):
            self.sock.settimeout(self.record.left_to_go_on())
            if self._established:
                self.record.anything_sent = True
            super().send(block)

    def getresponse(self) -> Any:
        if self._kept:
            self.record.last_look()
            kept, self._kept = self._kept, b""
            self._send_blocks(kept)
        self.timeout = self.record.left_to_go_on()
        return super().getresponse()


def _blocks(data: Any) -> Iterator[Any]:
    if not isinstance(data, bytes):
        yield data
        return
    for start in range(0, len(data), _BLOCK):
        yield memoryview(data)[start : start + _BLOCK]


Addresses = Sequence[tuple[int, int, int, str, Any]]


def _look_up(host: str, port: int, record: Adapter) -> Addresses:
    """A name's addresses. Nothing ends a resolver that hangs, so it works in a thread that is left behind."""
    answers: queue.SimpleQueue[Addresses | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, name=f"look-up of {host}", daemon=True).start()
    try:
        answer = answers.get(timeout=record.left_to_connect())
    except queue.Empty:
        raise TimeoutError("looking the name up took too long") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _connect(addresses: Addresses, options: Any, record: Adapter) -> socket.socket:
    """A connection to the first address that takes one; each gets its share of what time is left."""
    failure: OSError = OSError("the name has no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        connection = socket.socket(family, kind, protocol)
        try:
            for option in options:
                connection.setsockopt(*option)
            connection.settimeout(record.left_to_connect() / (len(addresses) - number))
            connection.connect(address)
            connection.settimeout(record.left_to_connect())  # for TLS
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure


def cause(error: BaseException) -> str:
    """The root of a chain of exceptions in a few words, without the addresses and objects in it."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        inner = [argument for argument in following.args if isinstance(argument, BaseException)]
        reason = getattr(following, "reason", None)
        if isinstance(reason, BaseException):
            inner.insert(0, reason)
        following = inner[0] if inner else following.__cause__ or following.__context__
    names = {type(link).__name__ for link in chain}
    if any(isinstance(link, NameResolutionError) for link in chain):
        return "its name can't be looked up"
    if "ConnectTimeoutError" in names:
        return "connecting took too long"
    if "ReadTimeoutError" in names or any(isinstance(link, TimeoutError) for link in chain):
        return "the answer took too long"
    if any(isinstance(link, ConnectionRefusedError) for link in chain):
        return "the connection was refused"
    if any(
        isinstance(link, ConnectionError) for link in chain if not isinstance(link, requests.RequestException)
    ):
        return "the connection was cut"
    if any(name.startswith("SSL") or name == "CertificateError" for name in names):
        return "no safe connection (TLS) could be made or kept"
    if "ProxyError" in names:
        return "the proxy failed"
    return type(chain[-1]).__name__
