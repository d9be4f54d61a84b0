"""`meshibot resume`: lets stopped accounts send again, where their networks accept them."""

from collections.abc import Iterable
from contextlib import closing

from sqlalchemy import select

from meshibot.assembly import publisher_of
from meshibot.config import Account, Settings
from meshibot.database import Account as AccountRow
from meshibot.database import AccountState, Database
from meshibot.database.migrate import open_existing
from meshibot.errors import MeshibotError
from meshibot.outbox import people
from meshibot.views import Json


def resume(settings: Settings, accounts: Iterable[Account]) -> list[Json]:
    """Ask the network of each stopped account, and let those go on that it accepts; what came of each."""
    with open_existing(settings.database_address) as database:
        if database is None:
            return []
        stopped = _stopped(database)
        return [
            _resume(settings, account, database, stopped[account.name])
            for account in accounts
            if account.name in stopped
        ]


def _stopped(database: Database) -> dict[str, str | None]:
    with database.read() as session:
        rows = session.scalars(select(AccountRow).where(AccountRow.state == AccountState.STOPPED))
        return {row.name: row.stopped_reason for row in rows}


def _resume(settings: Settings, account: Account, database: Database, reason: str | None) -> Json:
    document: Json = {"account": account.name, "resumed": False, "stopped_reason": reason}
    try:
        with closing(publisher_of(settings, account)) as publisher:
            identity = publisher.check()
    except MeshibotError as error:
        says = f"{account.name} stays stopped: {error}"
        return {**document, "says": says, "exit_status": error.exit_status}
    people.resume(database, account.name, remote_user_id=identity.id)
    says = f"{account.name} may send again, as {identity.name} ({identity.url})."
    return {**document, "resumed": True, "says": says, "exit_status": 0}
