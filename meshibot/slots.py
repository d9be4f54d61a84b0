"""From cron lines to the moments at which an account posts.

`plan` is pure. `write_slots` puts what it gives into the database, ahead of time and once: a slot's key is
the local time that its cron line names, so that the hour that comes twice in autumn, a second daemon, and a
clock that jumps back all meet the same row. The jitter is drawn there, once.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError
from sqlalchemy import select
from sqlalchemy.orm import Session

from meshibot.database.models import Account, Slot, SlotState
from meshibot.errors import UsageError
from meshibot.quiet import QuietHours

if TYPE_CHECKING:
    from meshibot.config import Account as AccountSettings

HORIZON = timedelta(hours=48)
"""How far ahead slots are written."""

CATCH_UP = timedelta(days=31)
"""How far back slots are written after a time without a daemon, to be recorded as missed."""

_MARGIN = timedelta(days=1)  # no zone's clock change is larger
_MINUTE = timedelta(minutes=1)


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


@dataclass(frozen=True)
class PlannedSlot:
    """A moment that a schedule gives. `minute` is the local time that the cron line names."""

    minute: str
    due_at: datetime
    """UTC, without jitter."""
    local: str
    """`due_at` on the clocks of the place, ISO 8601 with the offset."""
    quiet: bool = False
    """It lies in the quiet hours: it is skipped, and said so."""

    def key(self, account: str) -> str:
        """Unique in the database, such as `main|2026-11-24T23:30`."""
        return f"{account}|{self.minute}"


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
            field = str(error).removeprefix("Bad ")
            raise UsageError(
                f"MESHIBOT_SCHEDULE has the line {line!r}: its {field} can't be understood."
            ) from None
    return lines


def schedule_of(account: "AccountSettings") -> Schedule:
    """When the account posts. Raises UsageError for a cron line that can't be understood."""
    lines = cron_lines(account.schedule)
    return Schedule(
        "; ".join(lines),
        account.timezone,
        account.jitter,
        account.grace,
        account.quiet_hours,
        account.daily_budget,
    )


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


def write_slots(session: Session, account: str, schedule: Schedule, now: datetime, rng: random.Random) -> int:
    """Write an account's slots up to the horizon; returns how many are new.

    After a time without a daemon the slots of that time are written too, so that they can be recorded as
    missed. A slot ahead that the schedule no longer has is recorded as missed; one that it has again is
    planned again.
    """
    row = session.get_one(Account, account, with_for_update=True)
    start = now if row.planned_until is None else max(min(row.planned_until, now), now - CATCH_UP)
    # Slots whose own time is past may lie ahead by their jitter: the schedule still has them.
    early = start - schedule.jitter - _MINUTE
    days = (now + HORIZON - early) / timedelta(days=1) + 1  # local days may be short of an hour
    known = plan(schedule.cron, schedule.tz, early, days, schedule.quiet)
    fresh = [slot for slot in known if start <= slot.due_at < now + HORIZON]
    written = _insert(session, account, fresh, schedule, rng)
    _adapt(session, account, known, schedule, now, rng)
    row.planned_until = now + HORIZON
    return written


def _insert(
    session: Session, account: str, slots: Sequence[PlannedSlot], schedule: Schedule, rng: random.Random
) -> int:
    rows = [
        {
            "account": account,
            "key": slot.key(account),
            "due_at": _drawn(slot, schedule, rng),
            "local": slot.local,
            "state": SlotState.MISSED if slot.quiet else SlotState.PLANNED,
            "reason": _quiet_reason(schedule) if slot.quiet else None,
        }
        for slot in slots
    ]
    if not rows:
        return 0
    since = min(slot.due_at for slot in slots)
    # Every state, named for the index's sake.
    known = select(Slot.key).where(
        Slot.account == account, Slot.state.in_(list(SlotState)), Slot.due_at >= since
    )
    there = set(session.scalars(known))
    missing = [row for row in rows if row["key"] not in there]
    if missing:
        from sqlalchemy.dialects import postgresql, sqlite  # slow to import, and `status` needs none

        insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        session.execute(insert(Slot).on_conflict_do_nothing(index_elements=["key"]), missing)
    return len(missing)


def _drawn(slot: PlannedSlot, schedule: Schedule, rng: random.Random) -> datetime:
    """The due time with its jitter, which never leads into the quiet hours."""
    due = slot.due_at + schedule.jitter * rng.random()
    if schedule.quiet is not None and due.astimezone(schedule.tz) in schedule.quiet:
        return slot.due_at
    return due


def _adapt(
    session: Session,
    account: str,
    known: Iterable[PlannedSlot],
    schedule: Schedule,
    now: datetime,
    rng: random.Random,
) -> None:
    """Bring the slots ahead into line with a schedule, time zone or quiet hours that were changed.

    A missed slot that lies ahead and is in the schedule is planned again: whatever made it missed (an old
    schedule, a clock that had run ahead) is over, and it has no post.
    """
    by_key = {slot.key(account): slot for slot in known}
    ahead = select(Slot).where(
        Slot.account == account,
        Slot.state.in_([SlotState.PLANNED, SlotState.MISSED]),
        Slot.due_at > now,
        Slot.due_at < now + HORIZON,
    )
    for slot in session.scalars(ahead):
        meant = by_key.get(slot.key)
        if meant is None:
            if slot.state is SlotState.PLANNED:
                slot.state, slot.reason = SlotState.MISSED, "The schedule was changed and no longer has it."
            continue
        if meant.local != slot.local:  # the same local time, of another place
            slot.due_at, slot.local = _drawn(meant, schedule, rng), meant.local
        if meant.quiet:
            slot.state, slot.reason = SlotState.MISSED, _quiet_reason(schedule)
        elif slot.state is SlotState.MISSED:
            slot.state, slot.reason = SlotState.PLANNED, None


def _quiet_reason(schedule: Schedule) -> str:
    return f"It lies in the quiet hours {schedule.quiet}."
