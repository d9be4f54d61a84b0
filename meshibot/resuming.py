"""`meshibot resume`: lets stopped accounts send again, where their networks accept them."""

from collections.abc import Iterable
from contextlib import closing

from sqlalchemy import select

from meshibot.assembly import publisher_of
from meshibot.captions import marker
from meshibot.clock import SystemClock
from meshibot.config import Account, Settings
from meshibot.database import Account as AccountRow
from meshibot.database import AccountState, Database
from meshibot.database.migrate import open_existing
from meshibot.errors import MeshibotError
from meshibot.outbox import people, restored
from meshibot.plural import counted
from meshibot.publishers.base import Lists, Publisher
from meshibot.slots import schedule_of
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
            learnt = _take_in(account, database, publisher)
    except MeshibotError as error:
        says = f"{account.name} stays stopped: {error}"
        return {**document, "says": says, "exit_status": error.exit_status}
    people.resume(database, account.name, remote_user_id=identity.id)
    says = f"{account.name} may send again, as {identity.name} ({identity.url}).{learnt}"
    return {**document, "resumed": True, "says": says, "exit_status": 0}


def _take_in(account: Account, database: Database, publisher: Publisher) -> str:
    """After a restore: write down what the account posted since the backup. Raises PublishError."""
    with database.read() as session:
        since = restored.unknown_since(session, account.name)
    if since is None:
        return ""
    seen = list(publisher.published(since)) if isinstance(publisher, Lists) else None
    with database.write() as session:
        now = SystemClock().now()
        taken = restored.take_in(
            session, account.name, schedule_of(account), seen, now, by=people.COMMAND_LINE
        )
    goes_on = f"the next post is {marker(taken.next_serial)}"
    if seen is None:
        return f" {publisher.title} lists no posts: {goes_on}, past all that may be there."
    return f" Taken in: {counted(taken.found, 'post')} since the backup; {goes_on}."
