"""One server of a network that speaks JSON over HTTP, asked by plain requests through the transport.

What an answer means is the network's table; what its error bodies look like, a function of the network's.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from meshibot import __version__
from meshibot.errors import UsageError
from meshibot.logs import Redactor
from meshibot.publishers.answers import (
    TROUBLE,
    Answer,
    NoAnswer,
    Response,
    Row,
    Step,
    allowed_again,
    clock_ahead,
    dicts_in,
    http_date,
    iso_moment,
    json_of,
    meaning,
    one_line,
    without_answer,
)
from meshibot.publishers.base import (
    AccountStopped,
    Draft,
    Fence,
    Limits,
    PublishError,
    Remark,
    RetryLater,
    Unclear,
)
from trainer.files import replace_file

if TYPE_CHECKING:
    import requests

    from meshibot.publishers.transport import Timeouts

log = logging.getLogger(__name__)

_CLOCK_MARGIN = timedelta(hours=1)
_LOOK_BACK = timedelta(days=1)

FRESH = timedelta(days=1)
"""For so long what a server said of itself is believed."""
_PAGE = "page"
_A_PAGE = re.compile(f" {_PAGE}$")
"""A page for people is a proxy's, or another program's."""

_SAYS_AI = re.compile(
    r"\bAI\b|artificial intelligence|generat|synthetic|machine learning|\bbots?\b|automat|生成|人工知能"
    r"|自動|ボット|\bKI\b|générat|\bIA\b",
    re.IGNORECASE,
)
"""What a server's rule says that speaks of such a bot."""

Said = Callable[[Mapping[str, Any]], tuple[object, object]]
"""From an error's body to what it says for people, and for programs."""


def common_answers(setting: str, then: str) -> tuple[Row, ...]:
    """The rows that every network's table begins with. `setting` names the server."""
    return (
        Row(429, RetryLater, "{network}'s rate limit is used up for {doing}{until}."),
        *TROUBLE,
        Row(
            range(300, 400),
            RetryLater,
            "{network} answered {status} to {doing}, a redirect that is not followed; look at "
            f"{setting}.",
        ),
        Row(
            404,
            AccountStopped,
            "What answers at {network}'s address is another program (404, a page for people).",
            f"Set {setting} right, {then}",
            about=_A_PAGE,
            may_mend=True,
        ),
        Row(
            403,
            AccountStopped,
            "{network}, or a proxy before it, lets this machine not in (403, a page for people).",
            f"Ask whoever runs the server whether it blocks this address, {then}",
            about=_A_PAGE,
            may_mend=True,
        ),
    )


@dataclass
class Server:
    """Calls to one server; each ends in an answer of 2xx, or in the exception that it means.

    For one thread at a time. Redirects are never followed: a POST would come again as a GET that looks like
    success, and what proves who the account is would go elsewhere.
    """

    title: str
    address: str
    table: tuple[Row, ...]
    said: Said
    limits: tuple[str, ...] = ()
    """The beginnings of its rate limits' headers."""
    secrets: Iterable[str] = ()
    timeouts: "Timeouts | None" = None
    token: str | None = field(default=None, repr=False)
    """Sent with each call as Bearer, where it is set."""

    def __post_init__(self) -> None:
        import requests  # for those who post

        from meshibot.publishers.transport import Adapter, Timeouts

        self.redact = Redactor(self.secrets)
        self.adapter = Adapter(None, self.timeouts or Timeouts())
        self._session = requests.Session()
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, self.adapter)
        self._session.headers["User-Agent"] = f"meshibot/{__version__}"

    @property
    def host(self) -> str:
        """Its name, and port where it has one."""
        return urlsplit(self.address).netloc

    def ask(
        self, step: Step, method: str, path: str, *, fence: Fence | None = None, **content: Any
    ) -> "requests.Response":
        """One request; `content` as `requests` takes it. Raises the PublishError that the answer means.

        `fence` is asked before it leaves: see `Publisher.send`.
        """
        started = time.monotonic()
        token = self.token

        def authorize(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
            # As `auth`, so that no .netrc puts another one in its place.
            if token is not None:
                request.headers["Authorization"] = f"Bearer {token}"
            return request

        try:
            with self.adapter.fenced(fence) if fence is not None else nullcontext():
                response = self._session.request(
                    method, self.address + path, auth=authorize, allow_redirects=False, **content
                )
        except NoAnswer as error:
            log.debug("No answer from %s", self.title, exc_info=error)
            raise without_answer(self.title, step, error) from None
        log.debug("%s %s: %s in %.2f s", method, path, response.status_code, time.monotonic() - started)
        if 200 <= response.status_code < 300:
            return response
        raise meaning(self.table, self.title, step, self.answer(response))

    def answer(self, response: Response) -> Answer:
        """An answer in the terms of the table, without the secrets that the server may repeat."""
        body = json_of(response)
        if isinstance(body, dict):
            said, kinds = self.said(body)
        else:
            said, kinds = None, _PAGE
        now = datetime.now(UTC)
        at = None
        if response.status_code in (429, 503):
            at = allowed_again(response.headers, now, self.limits)
        text = one_line(str(said or response.reason or "no reason given").rstrip("."))
        ahead = clock_ahead(response.headers.get("date", ""), now)
        return Answer(response.status_code, self.redact(text), self.redact(str(kinds or "")), at, ahead)

    def object(self, step: Step, response: "requests.Response") -> dict[str, Any]:
        """The answer's JSON object. Where there is none: Unclear after a post, otherwise RetryLater."""
        body = json_of(response)
        if isinstance(body, dict):
            return body
        raise self.unreadable(step, response)

    def unreadable(self, step: Step, response: "requests.Response") -> Unclear | RetryLater:
        """What it means that an answer of success is not what it should be."""
        status = response.status_code
        if step == "send":
            return Unclear(
                f"{self.title} answered {status} to the post, but its answer names no post.",
                http_status=status,
            )
        return RetryLater(
            f"{self.host} answered {status} with something that no {self.title} server says.",
            http_status=status,
        )

    def id_in(self, said: str, shape: re.Pattern[str]) -> tuple[str, str | None]:
        """The id that a person says, and the address if it was said by one on this server. UsageError."""
        text = said.strip()
        parts = urlsplit(text)
        own = not parts.scheme or parts.netloc.lower() == self.host.lower()
        remote_id = parts.path.rstrip("/").rpartition("/")[2]
        if not own or not shape.fullmatch(remote_id):
            raise UsageError(
                f"{said!r} is no post on {self.host}: give its address there, or the id at its end."
            )
        return remote_id, text if parts.scheme else None

    def software(self) -> str:
        """Which program answers, and its version, by nodeinfo; empty where that is not said."""
        try:
            links = json_of(self.ask("read", "GET", "/.well-known/nodeinfo"))
            named = dicts_in(links.get("links") if isinstance(links, dict) else None)
            path = urlsplit(str(named[-1].get("href", ""))).path if named else ""
            if not path.startswith("/"):
                return ""
            document = json_of(self.ask("read", "GET", path))
        except PublishError:
            return ""
        software = document.get("software") if isinstance(document, dict) else None
        if not isinstance(software, dict):
            return ""
        return self.redact(one_line(f"{software.get('name', '')} {software.get('version', '')}".strip()))

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def remarks_on_rules(rules: Iterable[str]) -> list[Remark]:
    """What a server's rules say of such a bot, in their own words."""
    texts = [" ".join(rule.split()) for rule in rules]
    about = [text for text in texts if _SAYS_AI.search(text)]
    if about:
        return [
            Remark(f"A rule of the server speaks of such bots: “{text}” Post there only if it may.", True)
            for text in about
        ]
    if texts:
        return [Remark(f"None of its {len(texts)} rules speaks of bots or of generated pictures; read them.")]
    return [Remark("The server names no rules; ask whoever runs it whether such a bot is welcome.")]


def require_made_for(limits: Limits, draft: Draft) -> None:
    """RetryLater where a picture was made for more than the server turned out to take: it is made anew."""
    for path in draft.media:
        most = limits.bytes_of(path)
        if path.is_file() and path.stat().st_size > most:
            raise RetryLater(f"This server takes pictures up to {most} bytes: it is made anew.")


def begin_of_look(since: datetime, response: Response) -> datetime:
    """The moment on the server's clock from which on a post is looked for that was made here after `since`.

    An hour earlier, for clocks differ; and at least a day back, for ours may have been ahead at that time and
    be right by now.
    """
    now = datetime.now(UTC)
    server_now = http_date(response.headers.get("date", "")) or now
    return server_now - max(now - since, _LOOK_BACK) - _CLOCK_MARGIN


@dataclass(frozen=True)
class Notes:
    """What a server said of itself lately, kept in a file of the bot's home from one process to the next."""

    file: Path

    @classmethod
    def of(cls, home: Path, network: str, host: str) -> "Notes":
        """Those of one server."""
        return cls(home / "servers" / f"{network}-{host.replace(':', '-')}.json")

    def read(self) -> tuple[dict[str, Any], bool]:
        """What was kept, empty where that is nothing, and whether it is fresh."""
        try:
            kept = json.loads(self.file.read_bytes())
            read_at, said = iso_moment(kept["read_at"]), kept["said"]
        except (OSError, ValueError, LookupError, TypeError):
            return {}, False
        if read_at is None or not isinstance(said, dict):
            return {}, False
        return said, timedelta(0) <= datetime.now(UTC) - read_at < FRESH

    def write(self, said: Mapping[str, Any]) -> None:
        """Keep it, where there is a home; what can't be kept is asked again."""
        document = {"read_at": datetime.now(UTC).isoformat(timespec="seconds"), "said": said}
        try:
            if self.file.parent.parent.is_dir():
                self.file.parent.mkdir(exist_ok=True)
                replace_file(self.file, json.dumps(document, ensure_ascii=False, indent=2).encode())
        except OSError as error:
            log.info("what %s says of itself can't be kept: %s", self.file.stem, error.strerror)
