"""Writes the slots of a schedule into the database, ahead of time and once.

A slot's key is the local time that its cron line names, so that the hour that comes twice in autumn, a second
daemon, and a clock that jumps back all meet the same row. The jitter is drawn here, once.
"""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from meshibot.clock import day_of
from meshibot.database.models import Account, Post, Slot, SlotState
from meshibot.insights.first_day import first_days
from meshibot.insights.hours import Heard, choose
from meshibot.slots.schedule import Auto, PlannedSlot, Schedule, at_hours, plan

HORIZON = timedelta(hours=48)
"""How far ahead slots are written."""

MEMORY = timedelta(days=3 * 365)
"""How far back reactions tell at which hour to post."""

CATCH_UP = timedelta(days=31)
"""How far back slots are written after a time without a daemon, to be recorded as missed."""


_CHANGED = "The schedule was changed and no longer has it."
QUIET = "It lies in the quiet hours"
ON_PURPOSE = (_CHANGED, QUIET, "The daily budget", "The monthly budget")
"""How the reasons begin of slots that came to nothing as they were meant to."""


def write_slots(session: Session, account: str, schedule: Schedule, now: datetime, rng: random.Random) -> int:
    """Write an account's slots up to the horizon; returns how many are new.

    After a time without a daemon the slots of that time are written too, so that they can be recorded as
    missed. A slot ahead that the schedule no longer has is recorded as missed; one that it has again is
    planned again.
    """
    row = session.get_one(Account, account, with_for_update=True)
    start = now if row.planned_until is None else max(min(row.planned_until, now), now - CATCH_UP)
    until = now + HORIZON
    # Slots whose own time is past may lie ahead by their jitter: the schedule still has them.
    early = start - schedule.jitter - timedelta(minutes=1)
    if schedule.auto is not None:
        until = day_of(until, schedule.tz)[0]  # hours are drawn for whole days
        known = drawn_ahead(session, account, schedule, schedule.auto, (early, until), now, rng)
    else:
        days = (until - early) / timedelta(days=1) + 1  # local days may be short of an hour
        known = plan(schedule.cron, schedule.tz, early, days, schedule.quiet)
    fresh = [slot for slot in known if start <= slot.due_at < until]
    written = _insert(session, account, fresh, schedule, rng)
    _adapt(session, account, known, schedule, (early, now), rng)
    row.planned_until = until
    return written


def drawn_ahead(
    session: Session,
    account: str,
    schedule: Schedule,
    auto: Auto,
    span: tuple[datetime, datetime],
    now: datetime,
    rng: random.Random,
) -> list[PlannedSlot]:
    """The slots of a span of whole days where hours are drawn: those that the days have, and what they lack.

    A day never gets more than it is to have, whatever was done to those that it has. On the present day only
    what is still to come is drawn from.
    """
    there = _by_day(session, account, schedule, span)
    heard: list[Heard] | None = None
    known: list[PlannedSlot] = []
    first, end, today = (moment.astimezone(schedule.tz).date() for moment in (*span, now))
    for day in (first + timedelta(days=number) for number in range((end - first).days)):
        possible = _possible(day, auto.hours, schedule)
        slots = there.get(day, [])
        own = {hour for hour, slot in possible.items() if any(_is(slot, row) for row in slots)}
        # What today's settings don't explain: a person's, or made by a schedule before.
        others = [row for row in slots if not any(_is(possible[hour], row) for hour in own)]
        room = max(0, auto.posts - sum(row.pinned or row.state is SlotState.TAKEN for row in others))
        hours = sorted(own)[:room]
        left = [
            hour for hour, slot in possible.items() if hour not in own and (day < today or slot.due_at > now)
        ]
        if len(hours) < room and left:
            if heard is None:
                heard = heard_of(session, account, schedule.tz, now)
            hours += choose(left, room - len(hours), heard, rng)
        known += [possible[hour] for hour in hours]
    return known


def heard_of(session: Session, account: str, tz: tzinfo, now: datetime) -> list[Heard]:
    """How people answered to the account's posts of the last years."""
    days = first_days(session, account, tz, now - MEMORY)
    return [Heard(day.hour, day.reactions, (now - day.due_at) / timedelta(days=1)) for day in days]


def _possible(day: date, hours: Iterable[int], schedule: Schedule) -> dict[int, PlannedSlot]:
    midnight = datetime(day.year, day.month, day.day, tzinfo=schedule.tz)
    slots = plan(at_hours(tuple(hours)), schedule.tz, midnight, 1, schedule.quiet)
    return {int(slot.minute[11:13]): slot for slot in slots if not slot.quiet}


def _by_day(
    session: Session, account: str, schedule: Schedule, span: tuple[datetime, datetime]
) -> dict[date, list[Slot]]:
    """The slots that are written, and not given up for another schedule, by the local day of their keys."""
    begin, end = span
    query = select(Slot).where(
        Slot.account == account,
        Slot.state.in_(list(SlotState)),
        Slot.due_at >= begin - timedelta(days=1),
        Slot.due_at < end + timedelta(days=1),
    )
    days: dict[date, list[Slot]] = {}
    for slot in session.scalars(query):
        if slot.reason != _CHANGED:
            days.setdefault(_day_of(slot, schedule.tz), []).append(slot)
    return days


def _day_of(slot: Slot, tz: tzinfo) -> date:
    try:
        return date.fromisoformat(slot.key.partition("|")[2][:10])
    except ValueError:
        return slot.due_at.astimezone(tz).date()


def _is(planned: PlannedSlot, slot: Slot) -> bool:
    return slot.key.partition("|")[2] == planned.minute


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
    moments: tuple[datetime, datetime],
    rng: random.Random,
) -> None:
    """Bring the slots ahead into line with a schedule, time zone or quiet hours that were changed.

    A missed slot that lies ahead and is in the schedule is planned again: whatever made it missed (an old
    schedule, a clock that had run ahead) is over. What a person did to a slot stays, and so does a slot for
    which a post was written ahead. `moments` are from when on the schedule is known, and now: a slot that a
    longer jitter has put off may be from before.
    """
    early, now = moments
    by_key = {slot.key(account): slot for slot in known}
    ahead = select(Slot).where(
        Slot.account == account,
        Slot.state.in_([SlotState.PLANNED, SlotState.MISSED]),
        Slot.pinned.is_(False),
        ~exists().where(Post.slot_id == Slot.id),
        Slot.due_at > now,
        Slot.due_at < now + HORIZON,
    )
    for slot in session.scalars(ahead):
        meant = by_key.get(slot.key)
        if meant is None:
            if slot.state is SlotState.PLANNED and _named(slot) >= early:
                slot.state, slot.reason = SlotState.MISSED, _CHANGED
            continue
        if meant.local != slot.local:  # the same local time, of another place
            slot.due_at, slot.local = _drawn(meant, schedule, rng), meant.local
        if meant.quiet:
            slot.state, slot.reason = SlotState.MISSED, _quiet_reason(schedule)
        elif slot.state is SlotState.MISSED:
            slot.state, slot.reason = SlotState.PLANNED, None


def _named(slot: Slot) -> datetime:
    """The moment that its schedule named, before any jitter."""
    try:
        return datetime.fromisoformat(slot.local).astimezone(UTC)
    except ValueError:
        return slot.due_at


def _quiet_reason(schedule: Schedule) -> str:
    return f"{QUIET} {schedule.quiet}."
