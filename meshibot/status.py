"""What `meshibot status` says: how things stand, from the database and the schedules alone."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from meshibot.config import Account, Settings
from meshibot.database import Account as AccountRow
from meshibot.database import (
    AccountState,
    Daemon,
    Database,
    Picture,
    PictureState,
    Slot,
    Verdict,
    queries,
)
from meshibot.database.migrate import open_existing
from meshibot.slots import Schedule, schedule_of
from meshibot.views import (
    Json,
    instant,
    open_posts,
    post_json,
    posts_for_a_person,
    recent_posts,
    upcoming,
)

_NOTHING_STORED: dict[str, Any] = {
    "accounts": {},
    "waiting": 0,
    "approved": 0,
    "needs_person": [],
    "open_posts": [],
    "missed": [],
    "recent": [],
    "daemon": None,
}


def status(settings: Settings, now: datetime) -> Json:
    """How things stand: accounts, slots, stock, what needs a person or waits, what was missed, the daemon."""
    with open_existing(settings.database_address) as database:
        stored: Json = _stored(database, settings, now) if database else dict(_NOTHING_STORED)
    rows = stored.pop("accounts")
    accounts = []
    for account in settings.accounts:
        row = rows.get(
            account.name, {"state": AccountState.ACTIVE.value, "stopped_reason": None, "slot": None}
        )
        slot = row.pop("slot") or next_slot(account, schedule_of(account), now)
        accounts.append({"name": account.name, "publisher": account.publisher, **row, "next_slot": slot})
    waiting, approved = stored.pop("waiting"), stored.pop("approved")
    stock = {"waiting": waiting, "target": settings.stock_target}
    if any(account.review == "required" for account in settings.accounts):
        stock["approved"] = approved
    return {"accounts": accounts, "stock": stock, **stored}


def next_slot(account: Account, schedule: Schedule, now: datetime) -> Json | None:
    """The next slot that the schedule gives; None where a year has none."""
    for days in (2, 40, 366):
        if slots := upcoming([(account, schedule)], None, days, now):
            return slots[0]
    return None


def _stored(database: Database, settings: Settings, now: datetime) -> Json:
    with database.read() as session:
        waiting = session.scalar(select(func.count()).where(Picture.state == PictureState.APPROVED))
        approved = session.scalar(
            select(func.count()).where(
                Picture.state == PictureState.APPROVED, Picture.verdict == Verdict.APPROVED
            )
        )
        accounts: dict[str, Json] = {
            row.name: {"state": row.state.value, "stopped_reason": row.stopped_reason, "slot": None}
            for row in session.scalars(select(AccountRow))
        }
        for name, row in accounts.items():
            slot = queries.next_slot(session, name, now)
            if slot is not None:
                row["slot"] = _slot_json(slot)
        daemon = queries.last_daemon(session, now)
        return {
            "accounts": accounts,
            "waiting": waiting or 0,
            "approved": approved or 0,
            "needs_person": [
                post_json(post, settings) for post in posts_for_a_person(session, list(accounts))
            ],
            "open_posts": [post_json(post, settings) for post in open_posts(session, list(accounts))],
            "missed": [
                {**_slot_json(slot), "reason": slot.reason}
                for name in accounts
                for slot in queries.missed_slots(session, [name], now, 5)
            ],
            "recent": [post_json(post, settings) for post in recent_posts(session, 5)],
            "daemon": _daemon_json(daemon, now) if daemon else None,
        }


def _slot_json(slot: Slot) -> Json:
    """A slot as it is stored, jitter included."""
    return {
        "account": slot.account,
        "due_at": instant(slot.due_at),
        "local": slot.local,
        "key": slot.key,
    }


def _daemon_json(daemon: Daemon, now: datetime) -> Json:
    return {
        "running": queries.lives(daemon, now),
        "host": daemon.host,
        "pid": daemon.pid,
        "version": daemon.version,
        "started_at": instant(daemon.started_at),
        "seen_at": instant(daemon.seen_at),
        "stopped_at": instant(daemon.stopped_at),
    }
