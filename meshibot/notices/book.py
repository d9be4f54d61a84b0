"""Writes notices down: opened once when something begins, closed when it is over, told way by way."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from meshibot.database import Notice
from meshibot.notices.condition import Condition
from meshibot.notices.digest import DIGEST

State = Literal["open", "over"]

TOLD_WITHIN = timedelta(days=2)
"""What could not be told in this time after it was over is not told any more."""


@dataclass
class Book:
    """What is wrong, and since when it has been so: what a process remembers between two looks."""

    since: dict[str, datetime] = field(default_factory=dict)

    def due(self, found: Iterable[Condition], now: datetime, *, patient: bool = True) -> dict[str, Condition]:
        """Of what is wrong that which has been so for long enough, by key; not `patient`: all of it."""
        there = {condition.key: condition for condition in found}
        self.since = {key: self.since.get(key, now) for key in there}
        return {
            key: condition
            for key, condition in there.items()
            if not patient or now - self.since[key] >= condition.patience
        }

    def differs(self, session: Session, due: Mapping[str, Condition]) -> bool:
        """Whether there is anything to write down: mostly there is not."""
        told = {row.key: row.text for row in _open(session)}
        begun = any(key not in told for key in due)
        return begun or any(key not in self.since or _text(due, key, told) != told[key] for key in told)

    def keep(self, session: Session, due: Mapping[str, Condition], now: datetime) -> None:
        """Open notices for what is wrong, and close those of what is no longer."""
        notices = {row.key: row for row in _open(session)}
        for key, notice in notices.items():
            if key not in self.since:
                notice.closed_at = now
            else:
                # what it says may have grown; it is told once all the same
                notice.text = _text(due, key, {key: notice.text})
        for key, condition in due.items():
            if key not in notices:
                session.add(
                    Notice(
                        key=key,
                        kind=condition.kind,
                        account=condition.account,
                        text=condition.text,
                        opened_at=now,
                        told={},
                    )
                )


def _open(session: Session) -> Sequence[Notice]:
    return session.scalars(select(Notice).where(Notice.closed_at.is_(None))).all()


def _text(due: Mapping[str, Condition], key: str, told: Mapping[str, str]) -> str:
    return due[key].text if key in due else told[key]


@dataclass(frozen=True)
class Message:
    """One notice as it is told now."""

    id: int
    kind: str
    account: str | None
    state: State
    text: str
    at: datetime

    @property
    def is_urgent(self) -> bool:
        """Whether something is wrong now."""
        return self.state == "open" and self.kind != DIGEST

    @property
    def title(self) -> str:
        """A few words."""
        return f"meshibot: {'over: ' if self.state == 'over' else ''}{self.kind}"


def untold(session: Session, way: str, now: datetime) -> list[Message]:
    """What was not told yet by this way, the oldest first.

    What was over before its beginning was told is not told at all.
    """
    rows: Sequence[Notice] = session.scalars(
        select(Notice)
        .where(or_(Notice.closed_at.is_(None), Notice.closed_at > now - TOLD_WITHIN))
        .order_by(Notice.id)
    ).all()
    messages = []
    for row in rows:
        state: State = "open" if row.closed_at is None else "over"
        told = row.told.get(way)
        if told == state or (state == "over" and (told is None or row.kind == DIGEST)):
            continue
        text = row.text if row.closed_at is None else f"This is over: {row.text}"
        messages.append(Message(row.id, row.kind, row.account, state, text, row.closed_at or row.opened_at))
    return messages


def mark(session: Session, way: str, messages: Iterable[Message]) -> None:
    """Write down that these were told."""
    for message in messages:
        row = session.get_one(Notice, message.id)
        row.told = {**row.told, way: message.state}
