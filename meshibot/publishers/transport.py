"""HTTP for publishing: every request ends in bounded time, and it is known whether any of it was sent.

Whether a failed request may be repeated hangs on one fact: did a byte of it leave? An exception's type is no
proof (a TLS error may come from the handshake or from the answer), so the connection itself keeps the record.
"""

import http.client
import io
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection


@dataclass(frozen=True)
class Timeouts:
    """Seconds. `answer` bounds the whole answer from the request's last byte on, however it trickles in."""

    connect: float = 10.0
    answer: float = 45.0


class Adapter(HTTPAdapter):
    """Sends each request over a connection of its own, to another address where `base` names one.

    The request is signed for the official address before it gets here, and stays so: `base` is a door to the
    same service (a proxy, a test's double), not another service. For one thread at a time.
    """

    def __init__(self, base: str | None, timeouts: Timeouts) -> None:
        self._base = base.rstrip("/") if base else None
        self._timeouts = timeouts
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
        """Send `request` within the timeouts, and read the whole answer. Raises requests.RequestException."""
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
                stream=False,
                timeout=(self._timeouts.connect, self._timeouts.answer),
                verify=verify,
                cert=cert,
                proxies=dict(proxies) if proxies else None,
            )
            # Read here what requests would read after this returns.
            _ = response.content
            return response
        finally:
            # A connection that is kept may be closed at the other end by the next request, which is then in
            # doubt for nothing. The header alone is not enough: not every server says that it closes.
            self.close()

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


class _UntilDeadline(io.RawIOBase):
    """Reads a socket until a moment and no longer: a timeout per read never ends while bytes trickle in."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the answer was not complete in time")
        self._sock.settimeout(remaining)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedSocket:
    """What http.client asks of a socket that it reads an answer from: a file."""

    def __init__(self, sock: socket.socket) -> None:
        # urllib3 has just set the read timeout on it, which from here on is the time for the whole answer.
        self._deadline = time.monotonic() + (sock.gettimeout() or Timeouts.answer)
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

    def connect(self) -> None:
        # What is sent while connecting (a proxy's CONNECT, the TLS handshake) is not the request.
        super().connect()
        self._established = True

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if self._established:
            self.record.anything_sent = True
        super().send(data)
