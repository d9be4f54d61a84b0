"""Brings a database up to this code's tables, refuses one that is newer, and copies one that is in use."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from meshibot.backup.replaceable import require_replaceable
from meshibot.backup.unpack import as_one_file
from meshibot.database.session import Database, parse_url, sentence
from meshibot.errors import DatabaseFailure, DatabaseNewer, UsageError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0006"
"""The newest under migrations/versions. Revisions are numbers, so that "newer" is told without Alembic."""


def migrations_folder() -> Path:
    """Beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def current_revision(database: Database) -> str | None:
    """The database's revision, None for an empty database."""
    with database.read() as session:
        connection = session.connection()
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def check_revision(database: Database) -> bool | None:
    """True when the tables are this code's, False when an upgrade is due, None for an empty database.

    Raises DatabaseNewer for tables of a newer meshibot.
    """
    revision = current_revision(database)
    if revision is None:
        return None
    if not revision.isdigit() or int(revision) > int(HEAD):
        raise DatabaseNewer(
            f"The database {database.name} is of a newer meshibot (revision {revision}; this one knows "
            f"up to {HEAD}): install the newer meshibot."
        )
    return revision == HEAD


@contextmanager
def open_existing(url: str) -> Iterator[Database | None]:
    """The database for use as it is, None where there is none yet. Creates and upgrades nothing.

    Raises DatabaseFailure where it has to be upgraded first, DatabaseNewer where it is newer than this code.
    """
    with Database.open(url) as database:
        missing = database.is_sqlite and not Path(str(database.url.database)).is_file()
        current = None if missing else check_revision(database)
        if current is False:
            raise DatabaseFailure(
                f"The database {database.name} is of an older meshibot: run `meshibot db upgrade`."
            )
        yield database if current else None


def upgrade(url: str) -> bool:
    """Create or upgrade the tables; True if there was something to do.

    Several processes may do so at once: the first does it, the others wait. DatabaseNewer for a newer one.
    """
    with Database.open(url) as database:
        if database.is_sqlite:
            _make_folder(Path(str(database.url.database)))
        if check_revision(database):
            return False
        from alembic import command  # slow to import, and seldom needed

        with database.migrate() as connection:
            if not database.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(20261124)"))
            command.upgrade(alembic_config(connection), "head")
        return True


def alembic_config(connection: Connection) -> "Config":
    """Alembic's settings for a connection that is in a transaction already."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def backup(url: str, target: Path) -> Path:
    """Copy a database into a SQLite file, consistent while others write; returns `target`.

    SQLite's by its online backup, PostgreSQL's row by row. The copy appears at once and whole, or not at all;
    an earlier backup is replaced, and no other file.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _backup_rows(url, target)
    source_file = Path(str(parsed.database))
    if not source_file.is_file():
        raise DatabaseFailure(f"There is no database at {source_file} yet: nothing to back up.")
    if target.exists() and target.samefile(source_file):
        raise UsageError("The backup's file is the database itself: choose another name.")
    with (
        _appearing(target) as unfinished,
        closing(sqlite3.connect(source_file, timeout=60.0)) as source,
        closing(sqlite3.connect(unfinished)) as copy,
    ):
        try:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a WAL beside it
            sound = copy.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        except sqlite3.DatabaseError as error:
            if _is_of_its_place(error):
                raise
            raise DatabaseFailure(sentence(str(source_file), str(error))) from error
        if not sound:
            raise DatabaseFailure(sentence(str(source_file), "malformed"))
    return target


def _backup_rows(url: str, target: Path) -> Path:
    """The same for PostgreSQL."""
    from meshibot.database.carry import carry

    with _appearing(target) as unfinished:
        with open_existing(url) as source:
            if source is None:
                raise DatabaseFailure("There is nothing in the database yet: nothing to back up.")
            address = f"sqlite:///{unfinished}"
            upgrade(address)
            with Database.open(address) as copy:
                carry(source, copy)
        as_one_file(unfinished)
    return target


def _is_of_its_place(error: Exception) -> bool:
    """Whether it is where the copy is written that fails, not what is copied (sqlite.org/rescode.html)."""
    name = getattr(error, "sqlite_errorname", "")
    return isinstance(error, OSError) or name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN"))


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Where a copy is made that takes the place of the target once it is whole; or nothing is left."""
    require_replaceable(target)
    _make_folder(target)
    unfinished = target.with_name(target.name + ".unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(target)
    except (OSError, sqlite3.Error) as error:
        why = getattr(error, "strerror", None) or error
        advice = ": make room there, or give another place" if _is_of_its_place(error) else ""
        raise DatabaseFailure(f"The backup to {target} failed ({why}){advice}.") from error
    finally:
        for ending in ("", "-wal", "-shm", "-journal"):
            unfinished.with_name(unfinished.name + ending).unlink(missing_ok=True)


def _make_folder(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseFailure(f"The folder {file.parent} can't be made: {error.strerror}.") from error
