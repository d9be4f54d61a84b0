"""From what a network answered, or did not, to what it means for a post.

A publisher says it as a table of rows, of which the first that fits counts; the classes of meaning are the
exceptions of `meshibot.publishers.base`.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol

from meshibot.publishers.base import AccountStopped, PublishError, RetryLater, Unclear

Step = Literal["upload", "send", "read", "delete"]
"""What was asked: only `send` makes a post."""

DOING: dict[Step, str] = {
    "upload": "uploading the picture",
    "send": "posting",
    "read": "reading the account",
    "delete": "deleting the post",
}


_CLOCK_TOLERANCE = timedelta(minutes=4)
"""Networks take signatures that are five minutes old."""
_LONGEST_LINE = 300
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SECONDS = re.compile(r"\d{1,10}", re.ASCII)
"""More digits than a moment of these centuries has are no number of seconds."""
_LONGEST_LIMIT = timedelta(days=1)


class Response(Protocol):
    """What is read of an answer: `requests.Response` has it."""

    status_code: int
    reason: str

    @property
    def headers(self) -> Mapping[str, str]: ...

    def json(self) -> Any: ...


class NoAnswer(Exception):  # noqa: N818 (an outcome)
    """A request came to no whole answer; `sent` says whether a byte of it may have left."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.why = why
        self.sent = sent


@dataclass(frozen=True)
class Answer:
    """An answer other than the one that was hoped for, in the terms that tables are written in."""

    status: int
    said: str
    """What the network says for people, in one line and without secrets."""
    kinds: str = ""
    """What it says for programs: codes and types."""
    at: datetime | None = None
    """When it may be asked again (UTC), where it says so."""
    ahead: timedelta = timedelta()
    """How far this machine's clock is ahead of the network's, by the answer's date."""

    @property
    def clock_is_off(self) -> bool:
        """By more than a signature may be old."""
        return abs(self.ahead) > _CLOCK_TOLERANCE


@dataclass(frozen=True)
class Row:
    """One kind of answer and its meaning.

    `says` and `then` may use {network}, {status}, {doing}, {said}, {until}, which is empty where the answer
    names no time, and {minutes} and {fast} (or slow) of the clock.
    """

    status: int | Collection[int] | None
    """None is every status."""
    meaning: type[PublishError]
    says: str
    then: str = ""
    """What a person has to do about a stopped account."""
    step: Step | None = None
    """None is every step."""
    about: re.Pattern[str] | None = None
    """Found in what the answer says, for people or for programs."""
    clock: Literal["off"] | None = None
    """`off`: this machine's clock is, by the answer's own date."""
    may_mend: bool = False
    """Of a stopped account: see `AccountStopped`."""

    def fits(self, step: Step, answer: Answer) -> bool:
        """Whether the row speaks of such an answer to such a request."""
        known = (self.status,) if isinstance(self.status, int) else self.status
        return (
            (known is None or answer.status in known)
            and self.step in (None, step)
            and (self.clock is None or answer.clock_is_off)
            and (self.about is None or self.about.search(f"{answer.said} {answer.kinds}") is not None)
        )


TROUBLE = (
    Row(
        (408, *range(500, 600)),
        Unclear,
        "{network} answered {status} to the post and may have made it: {said}.",
        step="send",
    ),
    Row((408, *range(500, 600)), RetryLater, "{network} answered {status} to {doing}: {said}."),
)
"""What no network is to be believed about: after it a post may exist."""


def meaning(table: Iterable[Row], network: str, step: Step, answer: Answer) -> PublishError:
    """What an answer means, in words for a person and with what the network says itself.

    An answer that the table does not know leaves open whether a post was made.
    """
    status = answer.status
    row = next((row for row in table if row.fits(step, answer)), None)
    if row is None:
        row = TROUBLE[0] if step == "send" else TROUBLE[1]
    until = f" until {answer.at:%Y-%m-%d %H:%M:%S} UTC" if answer.at else ""
    reason, then = (
        text.format(
            network=network,
            status=status,
            doing=DOING[step],
            said=answer.said,
            until=until,
            minutes=round(abs(answer.ahead) / timedelta(minutes=1)),
            fast="fast" if answer.ahead > timedelta() else "slow",
        )
        for text in (row.says, row.then)
    )
    if issubclass(row.meaning, AccountStopped):
        return row.meaning(reason, then, http_status=status, may_mend=row.may_mend)
    if issubclass(row.meaning, RetryLater):
        return row.meaning(reason, answer.at, http_status=status)
    return row.meaning(reason, http_status=status)


def without_answer(network: str, step: Step, error: NoAnswer) -> PublishError:
    """What it means that no answer came. Only a request that never left has certainly made no post."""
    if step == "send" and error.sent:
        return Unclear(f"The post was sent to {network}, but no whole answer came back ({error.why}).")
    return RetryLater(f"{network} can't be reached for {DOING[step]} ({error.why}).")


def one_line(text: str) -> str:
    """`text` without line breaks, and cut where it is longer than 300 characters."""
    text = " ".join(_UNPRINTABLE.sub("\ufffd", text).split())
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 1]}…"


def clock_ahead(date: str, now: datetime) -> timedelta:
    """How far `now` is ahead of an answer's `Date`; nothing where that is no date."""
    theirs = http_date(date)
    return timedelta() if theirs is None else now - theirs


def http_date(text: str) -> datetime | None:
    """A moment as HTTP writes it; None for anything else."""
    try:
        moment = parsedate_to_datetime(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):  # the last for a moment before the year 1
        return None


def json_of(response: Response) -> object:
    """The body, or None where it is no JSON (tweepy lets that error escape, though the post was made).

    What no database keeps and no terminal should be sent is replaced in its texts: JSON can spell halves of a
    character, zeros and escapes.
    """
    try:
        return _printable(response.json())
    except (ValueError, RecursionError):
        return None


def _printable(value: object) -> object:
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_printable(part) for part in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(part) for key, part in value.items()}
    return value


def dicts_in(value: object) -> list[dict[str, Any]]:
    """The objects of a JSON list, empty for what is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def allowed_again(headers: Mapping[str, str], now: datetime, limits: Iterable[str]) -> datetime | None:
    """When a 429 says that one may ask again: the latest that its headers name, or None.

    `limits` are the beginnings of the network's own headers, such as `x-rate-limit`: of those that have
    nothing `-remaining` the `-reset` counts, in seconds of the epoch or as ISO 8601. Resets are moments on
    the server's clock, so they are taken relative to the answer's own Date. No limit lasts longer than a day.
    """
    server_now = http_date(headers.get("date", "")) or now
    waits: list[timedelta] = []
    retry_after = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(retry_after):
        waits.append(timedelta(seconds=int(retry_after)))
    elif (named := http_date(retry_after)) is not None:
        waits.append(named - server_now)
    for limit in limits:
        reset = _moment(headers.get(f"{limit}-reset", "").strip())
        if reset is not None and headers.get(f"{limit}-remaining", "0").strip() == "0":
            waits.append(reset - server_now)
    return now + min(max(waits), _LONGEST_LIMIT) if waits else None


def _moment(text: str) -> datetime | None:
    if _SECONDS.fullmatch(text):
        return datetime.fromtimestamp(int(text), UTC)
    return iso_moment(text)


def iso_moment(text: object) -> datetime | None:
    """A moment as ISO 8601 writes it, taken for UTC where it names no zone; None for anything else."""
    try:
        moment = datetime.fromisoformat(str(text))
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def age_of(made: object, response: Response) -> timedelta | None:
    """How long before the answer a post was made, by its time as ISO 8601; None where one is not said.

    Both are of the server's clock: ours does not matter.
    """
    now, moment = http_date(response.headers.get("date", "")), iso_moment(made)
    return None if now is None or moment is None else now - moment
