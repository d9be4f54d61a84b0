"""What X answers, and what each answer means: documentation and OpenAPI 2.167 as of August 2026."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from meshibot.publishers.answers import TROUBLE, Answer, Row, clock_ahead, http_date, one_line
from meshibot.publishers.base import AccountStopped, MediaGone, PossibleDuplicate, Rejected, RetryLater

_PORTAL = "console.x.com"
_THEN = "then run `meshibot resume`."


_SECONDS = re.compile(r"\d{1,10}", re.ASCII)
"""More digits than a moment of these centuries has are no number of seconds."""
_LONGEST_LIMIT = timedelta(days=1)

_STOPPED_BY = re.compile(r"suspended|locked|deactivated|not enrolled|client-not-enrolled", re.I)
_PERMISSION_LACKS = re.compile(
    r"oauth1[ -]?(app )?permissions|app permissions|unsupported authentication|unsupported-authentication"
    r"|missing.{0,20}scope|required scope|read-only application",
    re.I,
)
_MEDIA_UNKNOWN = re.compile(r"media.{0,3}ids? .{0,20}(invalid|expired|not found)|invalid media", re.I)

ANSWERS = (
    Row(429, RetryLater, "{network}'s rate limit is used up for {doing}{until}."),
    *TROUBLE,
    Row(
        range(300, 400),
        RetryLater,
        "{network} answered {status} to {doing}, a redirect that is not followed; look at "
        "MESHIBOT_X_API_BASE.",
    ),
    Row(
        401,
        RetryLater,
        "{network} refuses the signature (401), for this machine's clock is {minutes} minutes {fast}: set it "
        "right (timedatectl set-ntp true).",
        clock="off",
    ),
    Row(
        401,
        AccountStopped,
        "{network} refuses the credentials (401: {said}).",
        f"Set the machine's clock right, put fresh values from {_PORTAL} into the four MESHIBOT_X_ settings, "
        f"{_THEN}",
        may_mend=True,  # there are hours in which X refuses everybody
    ),
    Row(
        402,
        AccountStopped,
        "The credits of the X developer account are used up (402: {said}).",
        f"Buy credits at {_PORTAL}, {_THEN}",
    ),
    Row(
        403,
        PossibleDuplicate,
        "{network} already has a post with this text: {said}.",
        step="send",
        about=re.compile("duplicate content", re.I),
    ),
    Row(
        403,
        AccountStopped,
        "The app may not do this for the account (403: {said}).",
        f"Give the app 'Read and write' at {_PORTAL}, make a new access token, put it into the settings, "
        f"{_THEN}",
        about=_PERMISSION_LACKS,
    ),
    Row(
        403,
        AccountStopped,
        "{network} has stopped the account or the app (403: {said}).",
        f"Log in at x.com, and at {_PORTAL}, and follow what X asks for, {_THEN}",
        about=_STOPPED_BY,
    ),
    Row(
        404,
        RetryLater,
        "{network} does not know the picture yet that it has just taken (404: {said}).",
        step="upload",
    ),
    Row(
        400,
        MediaGone,
        "{network} no longer knows the uploaded picture: {said}.",
        step="send",
        about=_MEDIA_UNKNOWN,
    ),
    Row(None, Rejected, "{network} refuses {doing} ({status}: {said})."),
)

READ_ONLY = Answer(403, "read-only application")
"""What an app without 'Write' would be answered if it posted; X says so with every signed answer."""


class Response(Protocol):
    """What is read of an answer: `requests.Response` has it."""

    status_code: int
    reason: str

    @property
    def headers(self) -> Mapping[str, str]: ...

    def json(self) -> Any: ...


def answer_of(response: Response, redact: Callable[[str], str]) -> Answer:
    """An answer in the terms of the table. What X says may repeat a secret, which is taken out."""
    said, kinds = (redact(text) for text in _said(response))
    now = datetime.now(UTC)
    at = _allowed_again(response.headers, now) if response.status_code == 429 else None
    ahead = clock_ahead(response.headers.get("date", ""), now)
    return Answer(response.status_code, said, kinds, at, ahead)


def _said(response: Response) -> tuple[str, str]:
    """What an error body says, in one line of at most 300 characters, and the kinds of problem it names."""
    body = json_of(response)
    details: list[object] = []
    kinds: list[object] = []
    for problem in dicts_in(body if isinstance(body, list) else [body]):
        inner = dicts_in(problem.get("errors"))
        details += [error.get("detail") or error.get("message") for error in inner]
        details += [problem.get(name) for name in ("detail", "error", "message")]
        details += [problem.get("title")] if not any(details) else []
        kinds += [item.get(name) for item in (problem, *inner) for name in ("type", "reason", "title")]
    text = "; ".join(dict.fromkeys(str(detail).rstrip(".") for detail in details if detail))
    text = one_line(text or response.reason or "no reason given")
    return text, " ".join(str(kind) for kind in kinds if kind)


def json_of(response: Response) -> object:
    """The body, or None where it is no JSON (tweepy lets that error escape, though the post was made)."""
    try:
        body: object = response.json()
    except ValueError:
        return None
    return body


def data_of(response: Response) -> dict[str, Any]:
    """The `data` of the body, empty where it has none."""
    body = json_of(response)
    data = body.get("data") if isinstance(body, dict) else None
    return data if isinstance(data, dict) else {}


def dicts_in(value: object) -> list[dict[str, Any]]:
    """The objects of a JSON list, empty for what is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def age_of(post: Mapping[str, Any], response: Response) -> timedelta | None:
    """How long before the answer a post was made, both by X's clock; None where it doesn't say."""
    now = http_date(response.headers.get("date", ""))
    try:
        made = datetime.fromisoformat(str(post.get("created_at")))
    except ValueError:
        return None
    return None if now is None or made.tzinfo is None else now - made


def _allowed_again(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """When a 429 says that one may ask again: the latest that its headers name, or None.

    Resets are moments on X's clock, so they are taken relative to the answer's own Date. No limit of X lasts
    longer than a day.
    """
    server_now = http_date(headers.get("date", "")) or now
    waits: list[timedelta] = []
    retry_after = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(retry_after):
        waits.append(timedelta(seconds=int(retry_after)))
    elif (named := http_date(retry_after)) is not None:
        waits.append(named - server_now)
    for limit in ("x-rate-limit", "x-app-limit-24hour", "x-user-limit-24hour"):
        reset = headers.get(f"{limit}-reset", "").strip()
        if _SECONDS.fullmatch(reset) and headers.get(f"{limit}-remaining", "0").strip() == "0":
            waits.append(datetime.fromtimestamp(int(reset), UTC) - server_now)
    return now + min(max(waits), _LONGEST_LIMIT) if waits else None
