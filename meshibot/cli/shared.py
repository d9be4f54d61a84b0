"""What several commands ask for: the database, the checkpoint, the time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshibot.errors import UsageError

if TYPE_CHECKING:
    from meshibot.config import Settings
    from meshibot.database import Database, Picture
    from meshibot.slots.changes import Desk


def existing_database(settings: Settings) -> AbstractContextManager[Database | None]:
    from meshibot.database.migrate import open_existing

    return open_existing(settings.database_address)


def waiting_pictures(database: Database | None, preferred: str | None) -> list[Picture]:
    from meshibot.stock.inventory import waiting

    return waiting(database, preferred) if database else []


def checkpoint_fingerprint(settings: Settings) -> str | None:
    """The SHA-256 of the configured checkpoint; None where it can't be read."""
    from meshibot.stock.inventory import fingerprint

    return fingerprint(settings.checkpoint_file)


def desk_of(settings: Settings, database: Database, name: str) -> Desk:
    """Where a person changes the slots of an account."""
    from meshibot.outbox.people import COMMAND_LINE
    from meshibot.slots import schedule_of
    from meshibot.slots.changes import Desk

    account = settings.account(name)
    return Desk(
        database,
        account.name,
        account.publisher,
        schedule_of(account),
        COMMAND_LINE,
        preferred=lambda: checkpoint_fingerprint(settings),
        reviewed=account.review == "required",
    )


def required(database: Database | None) -> Database:
    if database is None:
        raise UsageError("There is no database yet: `meshibot run` makes it, or `meshibot post-now`.")
    return database


def post_document(settings: Settings, database: Database, post: int) -> dict[str, Any]:
    from meshibot.views import load_post, post_json

    with database.read() as session:
        return post_json(load_post(session, post), settings)


def current_time() -> datetime:
    return datetime.now(UTC)


def parse_date(text: str | None, option: str = "--from") -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} is {text!r}: write a date such as 2026-11-24.") from None
    if not 1900 <= moment.year < 3000:  # a schedule looks around it, and the calendar ends at both ends
        raise UsageError(f"{option} is {text!r}: write a date between 1900 and 2999.")
    return moment
