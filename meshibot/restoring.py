"""`meshibot restore`: a backup in the place of what is there, and nothing posted twice for it."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from meshibot.assembly import make_home
from meshibot.backup import archive, unpack
from meshibot.config import Settings
from meshibot.database import Account as AccountRow
from meshibot.database import Daemon, Database
from meshibot.database.carry import replace
from meshibot.database.migrate import open_existing, upgrade
from meshibot.database.queries import lives
from meshibot.database.session import parse_url
from meshibot.errors import MeshibotError, UsageError
from meshibot.outbox import people, restored
from meshibot.slots import schedule_of
from meshibot.views import Json, instant


def restore(settings: Settings, file: Path, now: datetime) -> Json:
    """Put a backup in place; what was done, as a JSON document.

    Nothing is changed before the backup was read to its end and found sound, and every slot since it was made
    is held. The accounts are stopped: see `resuming`. Raises MeshibotError where a daemon runs, or the backup
    can't be used.
    """
    _require_no_daemon(settings, now)
    make_home(settings)
    try:
        workshop = Path(tempfile.mkdtemp(prefix=".restore-", dir=settings.home))
    except OSError as error:
        raise _not_in_place(settings, error) from error
    try:
        manifest = unpack.unpack(file, workshop)
        database = workshop / archive.DATABASE
        upgrade(f"sqlite:///{database}")
        with Database.open(f"sqlite:///{database}") as opened:
            held, stock = _hold(opened, settings, manifest.made_at, now)
        unpack.as_one_file(database)
        pictures = unpack.put_pictures(workshop, manifest, settings.home)
        kept = _put_database(database, settings.database_address, now)
        written = unpack.put_settings(workshop, manifest, settings.home, settings.files)
    except OSError as error:
        raise _not_in_place(settings, error) from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return {
        "restored": str(file),
        "made_at": instant(manifest.made_at),
        "pictures": pictures,
        "stock_put_aside": stock,
        "kept": kept,
        "settings": [str(each) for each in written],
        "held": _held_json(held),
    }


def _not_in_place(settings: Settings, error: OSError) -> MeshibotError:
    return MeshibotError(
        f"The backup can't be put in place ({error.filename or settings.home}: {error.strerror or error}): "
        "make room, or make the folder writable, then try again."
    )


def _put_database(new: Path, url: str, now: datetime) -> str | None:
    """Put a SQLite file, or its rows, in the place of what is at an address; where that is kept."""
    address = parse_url(url)
    if address.get_backend_name() == "sqlite":
        kept = unpack.swap(new, Path(str(address.database)), now)
        return None if kept is None else str(kept)
    upgrade(url)
    with Database.open(f"sqlite:///{new}") as source, Database.open(url) as target:
        schema = replace(source, target, now)
        return None if schema is None else f"schema {schema}"


def hold(settings: Settings, since: datetime, now: datetime) -> Json:
    """The same for a database that was restored by other means: nothing since then is posted again."""
    _require_no_daemon(settings, now)
    with open_existing(settings.database_address) as database:
        if database is None:
            raise UsageError("There is no database yet: nothing to hold.")
        held, stock = _hold(database, settings, since, now)
    return {"since": instant(since), "stock_put_aside": stock, "held": _held_json(held)}


def _hold(
    database: Database, settings: Settings, since: datetime, now: datetime
) -> tuple[list[restored.Held], int]:
    schedules = {account.name: schedule_of(account) for account in settings.accounts}
    with database.write() as session:
        names = session.scalars(select(AccountRow.name).order_by(AccountRow.name)).all()
        held = [
            restored.hold(session, name, schedules.get(name), since, now, by=people.COMMAND_LINE)
            for name in names
        ]
        restored.forget_daemons(session, now)
        return held, restored.put_aside_stock(session, since)


def _held_json(held: Iterable[restored.Held]) -> list[Json]:
    return [{"account": each.account, "slots": each.slots, "unclear": each.unclear} for each in held]


def _require_no_daemon(settings: Settings, now: datetime) -> None:
    """UsageError while a daemon lives."""
    living = _living(settings, now)
    if living is not None:
        raise UsageError(
            f"A daemon runs on this database ({living.host}, process {living.pid}): stop it, then try again."
        )


def _living(settings: Settings, now: datetime) -> Daemon | None:
    """A daemon that was seen lately. A database that can't be read knows of none."""
    with suppress(MeshibotError), open_existing(settings.database_address) as database:
        if database is not None:
            with database.read() as session:
                rows = session.scalars(select(Daemon).where(Daemon.stopped_at.is_(None))).all()
            return next((row for row in rows if lives(row, now) and not _is_dead(row)), None)
    return None


def _is_dead(row: Daemon) -> bool:
    """Whether it ran on this machine and does so no more."""
    if row.host != socket.gethostname():
        return False
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
