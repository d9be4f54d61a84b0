"""Writes the slots of a schedule into the database, ahead of time and once.

A slot's key is the local time that its cron line names, so that the hour that comes twice in autumn, a second
daemon, and a clock that jumps back all meet the same row. The jitter is drawn here, once.
"""

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from meshibot.database.models import Account, Post, Slot, SlotState
from meshibot.schedule import PlannedSlot, Schedule, plan

HORIZON = timedelta(hours=48)
"""How far ahead slots are written."""

CATCH_UP = timedelta(days=31)
"""How far back slots are written after a time without a daemon, to be recorded as missed."""


_CHANGED = "The schedule was changed and no longer has it."
_QUIET = "It lies in the quiet hours"
ON_PURPOSE = (_CHANGED, _QUIET, "The daily budget", "The monthly budget")
"""How the reasons begin of slots that came to nothing as they were meant to."""


def write_slots(session: Session, account: str, schedule: Schedule, now: datetime, rng: random.Random) -> int:
    """Write an account's slots up to the horizon; returns how many are new.

    After a time without a daemon the slots of that time are written too, so that they can be recorded as
    missed. A slot ahead that the schedule no longer has is recorded as missed; one that it has again is
    planned again.
    """
    row = session.get_one(Account, account, with_for_update=True)
    start = now if row.planned_until is None else max(min(row.planned_until, now), now - CATCH_UP)
    # Slots whose own time is past may lie ahead by their jitter: the schedule still has them.
    early = start - schedule.jitter - timedelta(minutes=1)
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
    schedule, a clock that had run ahead) is over. What a person did to a slot stays, and so does a slot for
    which a post was written ahead.
    """
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
            if slot.state is SlotState.PLANNED:
                slot.state, slot.reason = SlotState.MISSED, _CHANGED
            continue
        if meant.local != slot.local:  # the same local time, of another place
            slot.due_at, slot.local = _drawn(meant, schedule, rng), meant.local
        if meant.quiet:
            slot.state, slot.reason = SlotState.MISSED, _quiet_reason(schedule)
        elif slot.state is SlotState.MISSED:
            slot.state, slot.reason = SlotState.PLANNED, None


def _quiet_reason(schedule: Schedule) -> str:
    return f"{_QUIET} {schedule.quiet}."
