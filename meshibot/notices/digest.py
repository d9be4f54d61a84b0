"""The weekly digest: what became of the last week's slots, so that silence is no riddle."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from meshibot.config import Account, Settings
from meshibot.costs import spent_between
from meshibot.database import Post, PostState, Slot, SlotState
from meshibot.notices.condition import Condition
from meshibot.plural import counted

DIGEST = "weekly digest"
_HOUR = 9
"""Of a Monday."""


def zone_of(settings: Settings) -> ZoneInfo:
    """Whose clock the operator's hours go by: the first account's."""
    return settings.accounts[0].timezone


def digest(session: Session, settings: Settings, now: datetime) -> Iterator[Condition]:
    """That of the last whole week, from Monday, nine o'clock, until the next one is due; told once."""
    if settings.notify_digest == "off":
        return
    local = (now - timedelta(hours=_HOUR)).astimezone(zone_of(settings))
    monday = local.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=local.weekday())
    begin, end = (monday - timedelta(days=7)).astimezone(UTC), monday.astimezone(UTC)
    lines = [_of(session, account, begin, end) for account in settings.accounts]
    week = f"{monday - timedelta(days=7):%Y-%m-%d}"
    yield Condition(f"digest|{week}", DIGEST, f"The week from {week}: {' '.join(lines)}")


def _of(session: Session, account: Account, begin: datetime, end: datetime) -> str:
    posted = session.scalar(
        select(func.count()).where(
            Post.account == account.name,
            Post.sent_at >= begin,
            Post.sent_at < end,
            Post.state.in_([PostState.POSTED, PostState.DELETED]),
        )
    )
    missed = session.scalar(
        select(func.count()).where(
            Slot.account == account.name,
            Slot.due_at >= begin,
            Slot.due_at < end,
            Slot.state == SlotState.MISSED,
        )
    )
    spent = spent_between(session, account, (begin, end))
    cost = f", ${spent:.2f} spent" if spent else ""
    return f"{account.name} made {counted(posted or 0, 'post')} and missed {missed}{cost}."
