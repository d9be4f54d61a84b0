"""What people did, and how it was before: each change leaves an event, by which it can be taken back."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from meshibot.database.models import Event
from meshibot.database.queries import by_id
from meshibot.errors import ChangedMeanwhile, UsageError

Json = dict[str, Any]


def record(
    session: Session,
    at: datetime,
    by: str,
    action: str,
    note: Json,
    *,
    account: str | None = None,
    slot_id: int | None = None,
    picture_id: int | None = None,
) -> int:
    """Write an event down, in the transaction of what it tells; its id."""
    event = Event(
        at=at,
        actor=by,
        action=action,
        account=account,
        slot_id=slot_id,
        picture_id=picture_id,
        note=json.dumps(note, ensure_ascii=False),
    )
    session.add(event)
    session.flush()
    return event.id


def recent(session: Session, limit: int) -> Sequence[Event]:
    """The last events, the newest first."""
    return session.scalars(select(Event).order_by(Event.id.desc()).limit(limit)).all()


def find(session: Session, event: int) -> Event:
    """An event by its id. UsageError where there is none."""
    row = by_id(session, Event, event)
    if row is None:
        raise UsageError(f"There is no event {event}: see `meshibot events`.")
    return row


def note_of(event: Event) -> Json:
    """What an event keeps; nothing where it keeps words only."""
    try:
        note = json.loads(event.note or "")
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def require_unchanged(version: int | None, now: int, what: str) -> None:
    """ChangedMeanwhile where a row is not as it was when its version was read; None asks for nothing."""
    if version is not None and version != now:
        raise ChangedMeanwhile(f"{what} was changed meanwhile: look at it again, then try again.")
