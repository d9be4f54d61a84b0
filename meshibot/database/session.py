"""Engines and transactions: SQLite (WAL, fsync at every commit) or PostgreSQL (psycopg 3).

A deferred BEGIN on SQLite gives 'database is locked' in spite of a busy timeout, as soon as two readers want
to write; so a transaction says at its start whether it will write.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from sqlalchemy import URL, Connection, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from meshibot.errors import ChangedMeanwhile, DatabaseFailure, UsageError

IDLE_TIMEOUT = "60s"
"""After which PostgreSQL ends a transaction in which nothing happens: its machine may be suspended, and its
locks hold all others up."""
BUSY_TIMEOUT = 60.0
"""Seconds that a SQLite connection waits for another one's write, unless its address ends in `?timeout=…`."""


def parse_url(url: str) -> URL:
    """The address of a database; PostgreSQL goes through psycopg 3. UsageError when it is not one."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        raise UsageError(
            "MESHIBOT_DATABASE_URL is not a database address: write sqlite:////path/to/file or "
            "postgresql://user@host/name."
        ) from None
    if "@" in (parsed.host or ""):
        raise UsageError("MESHIBOT_DATABASE_URL has an @ too many: write the one in its password as %40.")
    backend = parsed.get_backend_name()
    if backend == "postgres":  # Heroku's spelling, and many an old tutorial's
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite")
    raise UsageError(f"MESHIBOT_DATABASE_URL names {backend!r}: a SQLite file or PostgreSQL is needed.")


class Database:
    """Short transactions on one database. Close it, or use it as a context manager."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        arguments = {"timeout": BUSY_TIMEOUT} if self.is_sqlite and "timeout" not in url.query else {}
        try:
            self.engine = create_engine(url, connect_args=arguments, pool_pre_ping=not self.is_sqlite)
        except (ImportError, NoSuchModuleError):
            raise UsageError("PostgreSQL needs one more package: pip install 'meshibot[postgres]'.") from None
        if self.is_sqlite:
            event.listen(self.engine, "connect", _set_up_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            event.listen(self.engine, "connect", _set_up_postgresql)
        self._writing = self.engine.execution_options(meshibot_write=True)
        self._migrating = self.engine.execution_options(meshibot_write=True, meshibot_foreign_keys=False)

    @classmethod
    def open(cls, url: str) -> Self:
        """Connections are made when they are first needed. UsageError for an address that can't be right."""
        return cls(parse_url(url))

    @property
    def name(self) -> str:
        """The address, without its password, which may stand in the query as well: safe to show."""
        return self.url.set(query={}).render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view; nothing is kept. Objects stay usable afterwards, as far as they were loaded."""
        with self._explained(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that holds the write lock from its start; committed at the end, or rolled back."""
        with self._explained(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            session.connection()  # begins now, not with the first statement
            yield session

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A writing transaction without the ORM."""
        with self._explained(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def migrate(self) -> Iterator[Connection]:
        """The same, in which SQLite may drop a table that others refer to, so as to make it anew."""
        with self._explained(), self._migrating.begin() as connection:
            if not self.is_sqlite:  # it may think between its statements
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield connection

    @contextmanager
    def consistent(self) -> Iterator[Connection]:
        """A view of one moment, for as long as it is open: SQLite's always is."""
        options = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self._explained(), self.engine.connect().execution_options(**options) as connection:
            yield connection

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError as error:
            raise UsageError("A text holds bytes that are not UTF-8: write it anew, in UTF-8.") from error
        except (IntegrityError, DataError):  # a mistake of ours, which its traceback tells best
            raise
        except StaleDataError as error:
            raise ChangedMeanwhile(
                "It was changed by somebody else at the same moment: look again, then try again."
            ) from error
        except DBAPIError as error:
            # Not OperationalError alone: a damaged file, a server that can only be read and a connection that
            # was closed are other classes.
            raise DatabaseFailure(sentence(self.name, str(error.orig))) from error


def sentence(name: str, cause: str) -> str:
    """What is wrong with a database, by what its driver says, and what to do."""
    known = {
        "locked": "is locked by another program: end that one, then try again",
        "readonly": "can't be written: make the file and its folder writable",
        "full": "can't grow, the disk is full: make room",
        "unable to open": "can't be opened: create its folder, or make it readable and writable",
        "malformed": "is damaged: put a backup in its place by `meshibot restore`",
        "not a database": "is no database: name another file, or put a backup there by `meshibot restore`",
        "permission denied": "refuses this user: grant it the rights to the tables",
        "read-only transaction": "can only be read: name the server that can be written",
        "no such table": "has no tables yet: run `meshibot db upgrade`",
        "disk I/O": "can't be read or written, the disk reports an error: check the disk and its free room",
    }
    for part, says in known.items():
        if part in cause:
            return f"The database {name} {says}."
    said = " ".join(cause.split())
    return f"The database {name} can't be used: {said}{'' if said.endswith(('.', '?')) else '.'}"


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver must not open transactions by itself: see _begin_sqlite
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA synchronous = FULL")
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode = WAL")
    finally:
        cursor.close()


def _set_up_postgresql(connection: Any, _: object) -> None:
    connection.autocommit = True
    try:
        connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'")
    finally:
        connection.autocommit = False


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    checked = options.get("meshibot_foreign_keys", True)
    # Heeded outside of transactions only, and the connection may have served a migration.
    connection.exec_driver_sql(f"PRAGMA foreign_keys = {'ON' if checked else 'OFF'}")
    writes = options.get("meshibot_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
