"""From cron lines to the moments at which an account posts. It is pure: the planner writes them down."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError

from meshibot.errors import UsageError
from meshibot.quiet import QuietHours

if TYPE_CHECKING:
    from meshibot.config import Account as AccountSettings

AUTO = "auto"
"""In place of cron lines: the hours are drawn by what people answered to."""

_MARGIN = timedelta(days=1)  # no zone's clock change is larger
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Auto:
    """So many posts a day, at some of these hours. None of them is quiet."""

    hours: tuple[int, ...]
    posts: int


@dataclass(frozen=True)
class Schedule:
    """When an account posts, and how late a post may be. `cron` holds lines with `;` between them."""

    cron: str
    tz: tzinfo
    jitter: timedelta = timedelta()
    grace: timedelta = timedelta(hours=2)
    quiet: QuietHours | None = None
    daily_budget: int | None = None
    """Most posts in a local day."""
    auto: Auto | None = None
    """Where the hours of a day are drawn as it comes near; `cron` then has as many of those allowed."""
    monthly_budget: float | None = None
    """Most US dollars in a local month."""


@dataclass(frozen=True)
class PlannedSlot:
    """A moment that a schedule gives. `minute` is the local time that the cron line names."""

    minute: str
    due_at: datetime
    """UTC, without jitter."""
    local: str
    """`due_at` on the clocks of the place, ISO 8601 with the offset."""
    quiet: bool
    """It lies in the quiet hours: it is skipped, and said so."""

    def key(self, account: str) -> str:
        """Unique in the database, such as `main|2026-11-24T23:30`."""
        return f"{account}|{self.minute}"


@lru_cache(maxsize=256)
def cron_lines(cron: str) -> tuple[str, ...]:
    """Check and part the lines of a schedule. UsageError, in one sentence, names the line that is wrong."""
    lines = tuple(" ".join(line.split()) for line in cron.split(";") if line.strip())
    if not lines:
        raise UsageError(
            "MESHIBOT_SCHEDULE is empty: write a cron line such as '0 23 * * *' (every day at 23:00)."
        )
    for line in lines:
        if len(line.split()) != 5:
            raise UsageError(
                f"MESHIBOT_SCHEDULE has the line {line!r}: it needs five fields, minute, hour, day of the "
                "month, month and day of the week."
            )
        try:
            next(iter(CronSim(line, datetime(2024, 1, 1))), None)
        except CronSimError as error:
            raise UsageError(f"MESHIBOT_SCHEDULE has the line {line!r}: {_fault(line, error)}.") from None
    return lines


def _fault(line: str, error: CronSimError) -> str:
    """What is wrong with a cron line, a fragment of a sentence."""
    field = str(error).removeprefix("Bad ")
    minute, hour, day, _, weekday = line.split()
    with suppress(CronSimError):
        next(iter(CronSim(f"{minute} {hour} {day} * {weekday}", datetime(2024, 1, 1))), None)
        if field == "day-of-month":
            return "no month that it names has such a day"
    return f"its {field} can't be understood"


def schedule_of(account: "AccountSettings") -> Schedule:
    """When the account posts. Raises UsageError for a cron line that can't be understood."""
    auto = _auto_of(account) if account.schedule == AUTO else None
    lines = cron_lines(account.schedule if auto is None else at_hours(spread(auto)))
    return Schedule(
        "; ".join(lines),
        account.timezone,
        account.jitter,
        account.grace,
        account.quiet_hours,
        account.daily_budget,
        monthly_budget=account.monthly_budget,
        auto=auto,
    )


def _auto_of(account: "AccountSettings") -> Auto:
    """UsageError where there are more posts than hours, or no hour is left by the quiet ones."""
    quiet = account.quiet_hours
    hours = tuple(
        hour
        for hour in account.auto_hours or range(24)
        if quiet is None or datetime(2024, 1, 1, hour) not in quiet
    )
    if not hours:
        raise UsageError(
            f"MESHIBOT_AUTO_HOURS has no hour outside the quiet hours {quiet}: allow others, or change "
            "MESHIBOT_QUIET_HOURS."
        )
    if account.auto_posts > len(hours):
        raise UsageError(
            f"MESHIBOT_AUTO_POSTS is {account.auto_posts}, and only {len(hours)} hours are allowed outside "
            "the quiet ones: lower it, or allow more in MESHIBOT_AUTO_HOURS."
        )
    return Auto(hours, account.auto_posts)


def at_hours(hours: Sequence[int]) -> str:
    """The cron line of a day with posts at these hours."""
    return f"0 {','.join(map(str, hours))} * * *"


def spread(auto: Auto) -> tuple[int, ...]:
    """As many of the allowed hours as there are posts, far apart: they stand for days not drawn yet."""
    return tuple(auto.hours[(2 * n + 1) * len(auto.hours) // (2 * auto.posts)] for n in range(auto.posts))


def plan(
    cron: str, tz: tzinfo, start: datetime, days: float, quiet: QuietHours | None = None
) -> list[PlannedSlot]:
    """The slots from `start` (included) to `days` local days later, nearest first, without jitter.

    Cron lines have their Unix meaning: Sunday is 0 or 7, and where day of the month and day of the week are
    both given either one will do. On the spring night a time that does not exist is moved on by the length
    of the gap, unless the line has its hour as `*` and so goes on by itself; on the autumn night the first
    of two equal times counts. UsageError for a line that can't be understood.
    """
    begin = start.astimezone(tz).replace(tzinfo=None)
    whole = begin + timedelta(days=days)
    end = whole.replace(tzinfo=tz).astimezone(UTC)
    found: dict[str, PlannedSlot] = {}
    for line in cron_lines(cron):
        for minute, due in _line(line, tz, begin - _MARGIN, whole + _MARGIN):
            if start <= due < end:
                local = due.astimezone(tz)
                name = minute.isoformat(timespec="minutes")
                hushed = quiet is not None and local in quiet
                found.setdefault(
                    name, PlannedSlot(name, due, local.isoformat(timespec="minutes"), quiet=hushed)
                )
    return sorted(found.values(), key=lambda slot: (slot.due_at, slot.minute))


def _line(line: str, tz: tzinfo, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Pairs of a line's own local time (naive) and the instant (UTC) that it means."""
    runs_on = line.split()[1].startswith("*")
    moved: list[tuple[datetime, datetime]] = []
    instants: set[datetime] = set()
    for local in CronSim(line, begin - _MINUTE):
        if local > end:
            break
        due = local.replace(tzinfo=tz).astimezone(UTC)
        if due.astimezone(tz).replace(tzinfo=None) == local:
            instants.add(due)
            yield local, due
        else:
            moved.append((local, due))
    for local, due in moved:
        if not (runs_on and due in instants):
            yield local, due
