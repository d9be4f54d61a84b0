"""What X answers, and what each answer means: documentation and OpenAPI 2.167 as of August 2026."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from meshibot.publishers.answers import (
    TROUBLE,
    Answer,
    Response,
    Row,
    allowed_again,
    clock_ahead,
    dicts_in,
    json_of,
    one_line,
)
from meshibot.publishers.base import AccountStopped, MediaGone, PossibleDuplicate, Rejected, RetryLater

_PORTAL = "console.x.com"
_THEN = "then run `meshibot resume`."


_LIMITS = ("x-rate-limit", "x-app-limit-24hour", "x-user-limit-24hour")

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


def answer_of(response: Response, redact: Callable[[str], str]) -> Answer:
    """An answer in the terms of the table. What X says may repeat a secret, which is taken out."""
    said, kinds = (redact(text) for text in _said(response))
    now = datetime.now(UTC)
    at = allowed_again(response.headers, now, _LIMITS) if response.status_code == 429 else None
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


def data_of(response: Response) -> dict[str, Any]:
    """The `data` of the body, empty where it has none."""
    body = json_of(response)
    data = body.get("data") if isinstance(body, dict) else None
    return data if isinstance(data, dict) else {}
