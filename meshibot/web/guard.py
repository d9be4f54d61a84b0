"""What every request has to pass before a page sees it, and what every answer gets. Pure ASGI.

Host (DNS rebinding), size, rate, login, and for whatever changes something the same origin: a cookie with
SameSite=Strict comes along from other ports of the same host as well, so it proves nothing.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meshibot.web.access import Access
from meshibot.web.words import Language, say

MOST_BYTES = 64 * 1024
"""Of a request's body: forms are small, and there are no uploads."""
SAFE = ("GET", "HEAD")
UNSAFE = ("POST",)

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Of a picture alone in a tab: the browser's own viewer styles it inline, and nothing of ours is there.
PICTURE_POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with that a form sends `Origin: null`, which is refused below.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

OPEN_PATHS = ("/login", "/healthz", "/favicon.ico", "/language")
"""Where one need not be logged in, besides what lies in /static/."""


@dataclass
class Rate:
    """At most `most` in `seconds`, for all callers together: they may share an address."""

    most: int
    seconds: float
    clock: Callable[[], float] = time.monotonic
    _times: deque[float] = field(default_factory=deque)

    def allows(self) -> bool:
        """Whether one more may come now; it counts if so."""
        now = self.clock()
        while self._times and self._times[0] <= now - self.seconds:
            self._times.popleft()
        if len(self._times) >= self.most:
            return False
        self._times.append(now)
        return True


@dataclass
class Guard:
    """Wraps the application."""

    app: ASGIApp
    access: Access
    hosts: frozenset[str]
    """Names by which it may be asked, without their ports."""
    secure: bool = False
    """A proxy in front speaks https."""
    language: Callable[[Scope], Language] = lambda _: "en"
    """In which language a request is refused."""
    logins: Rate = field(default_factory=lambda: Rate(10, 60))
    writes: Rate = field(default_factory=lambda: Rate(600, 60))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse it, or pass it on."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        is_page = not scope["path"].startswith(("/static/", "/images/"))
        sending = _with_headers(send, no_store=is_page or refusal is not None)
        if refusal is not None:
            await refusal(scope, receive, sending)
            return
        body = await _read(receive) if scope["method"] in UNSAFE else b""
        if body is None:
            await self._refused(413, "refused_size", scope)(scope, receive, sending)
            return
        await self.app(scope, _given(body, receive), sending)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        method, path = scope["method"], scope["path"]
        if not is_known_host(headers.get("host", ""), self.hosts):
            return self._refused(400, "refused_name", scope)
        if method not in (*SAFE, *UNSAFE):
            return PlainTextResponse("Method Not Allowed", 405, {"Allow": "GET, HEAD, POST"})
        scope.setdefault("state", {})["logged_in"] = self._is_logged_in(headers, path)
        if method in UNSAFE:
            return self._refusal_of_write(scope, headers)
        if scope["state"]["logged_in"] or _is_open(path):
            return None
        if path == "/metrics":
            return PlainTextResponse("Unauthorized", 401, {"WWW-Authenticate": "Bearer"})
        return RedirectResponse("/login", 303)

    def _refusal_of_write(self, scope: Scope, headers: Headers) -> Response | None:
        path = scope["path"]
        if not is_same_origin(headers, scheme="https" if self.secure else scope["scheme"]):
            return self._refused(403, "refused_elsewhere", scope)
        if not scope["state"]["logged_in"] and not _is_open(path):
            return self._refused(403, "refused_stranger", scope)
        if path == "/login" and not self.logins.allows():
            return self._refused(429, "refused_logins", scope)
        if not self.writes.allows():
            return self._refused(429, "refused_writes", scope)
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:12]) > MOST_BYTES:
            return self._refused(413, "refused_size", scope)
        return None

    def _refused(self, status: int, key: str, scope: Scope) -> Response:
        headers = {"Retry-After": "60"} if status == 429 else None
        return PlainTextResponse(f"{say(self.language(scope), key)}\n", status, headers)

    def _is_logged_in(self, headers: Headers, path: str) -> bool:
        if path == "/metrics":
            kind, _, token = headers.get("authorization", "").partition(" ")
            if kind.lower() == "bearer" and self.access.knows(token.strip()):
                return True
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        own = cookies.get(self.access.cookie)
        return own is not None and self.access.is_session(own.value)


def is_known_host(host: str, known: Iterable[str]) -> bool:
    """Whether a Host header has one of our names; its port does not count."""
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not name:  # no colon
        name, port = host, ""
    if port and not (port.isascii() and port.isdigit()):
        return False
    return name.lower().removesuffix(".") in known


def is_same_origin(headers: Headers, scheme: str) -> bool:
    """Whether a request comes from one of our own pages.

    Browsers say so in Sec-Fetch-Site; over plain http on another name than localhost they don't, and then
    Origin has to be scheme and Host. What says neither is refused.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and origin.lower() == f"{scheme}://{headers.get('host', '')}".lower()


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith("/static/")


def _with_headers(send: Send, *, no_store: bool) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            if headers.get("content-type", "").startswith("image/"):
                headers["Content-Security-Policy"] = PICTURE_POLICY
            if no_store:
                headers["Cache-Control"] = "no-store"
        await send(message)

    return sending


async def _read(receive: Receive) -> bytes | None:
    """The body; None where it is larger than a form may be, whatever its length was said to be."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _given(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """The body once, then whatever comes."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving
