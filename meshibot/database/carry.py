"""Carries all rows from one database to another, whichever kind each is: so a backup has one form.

Not pg_dump: its file can be read only by tools of the server's version or a newer one, and a restored table
would be there for all to see before its slots are held.
"""

from datetime import datetime

from sqlalchemy import JSON, Connection, MetaData, Table, exists, func, insert, select, text

from meshibot.database.models import Account, Base
from meshibot.database.session import Database

_ROWS = 2_000
"""At once: a post with its draft has a few kilobytes."""
_WAIT = "10s"
"""For others to end what they do with the tables."""


def carry(source: Database, target: Database) -> None:
    """All rows, as they were at one moment, into the empty tables of `target`."""
    with source.consistent() as reading, target.migrate() as writing:
        _carry(reading, writing)


def replace(source: Database, target: Database, now: datetime) -> str | None:
    """The same in the place of what PostgreSQL's tables hold, in one transaction; both are of this revision.

    What was there is kept in a schema of its own, whose name is returned; None where it was nothing. Nobody
    sees a state between.
    """
    kept = f"before_restore_{now:%Y%m%dt%H%M%Sz}"
    with source.consistent() as reading, target.migrate() as writing:
        writing.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT}'")
        tables = [table.name for table in Base.metadata.sorted_tables]
        writing.exec_driver_sql(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        held_any = bool(writing.scalar(select(exists().select_from(Account))))
        if held_any:
            writing.exec_driver_sql(f"CREATE SCHEMA {kept}")
            for table in tables:
                writing.exec_driver_sql(f"CREATE TABLE {kept}.{table} AS TABLE {table}")
        writing.exec_driver_sql(f"TRUNCATE {', '.join(tables)}")
        _carry(reading, writing)
        _count_on(writing)
    return kept if held_any else None


def _carry(reading: Connection, writing: Connection) -> None:
    for table in _tables():
        rows = reading.execution_options(yield_per=_ROWS).execute(select(table))
        for part in rows.mappings().partitions():
            writing.execute(insert(table), [dict(row) for row in part])


def _tables() -> list[Table]:
    """Each after those that it refers to; what JSON lacks is carried as nothing, and not as a null in it."""
    copied = MetaData()
    for table in Base.metadata.sorted_tables:
        for column in table.to_metadata(copied).columns:
            if isinstance(column.type, JSON):
                column.type = JSON(none_as_null=True)
    return copied.sorted_tables


def _count_on(connection: Connection) -> None:
    """Let PostgreSQL's counters go on behind the ids that were carried."""
    for table in Base.metadata.sorted_tables:
        if "id" not in table.columns:
            continue
        sequence = connection.scalar(select(func.pg_get_serial_sequence(table.name, "id")))
        if sequence is not None:
            highest = connection.scalar(select(func.max(table.columns["id"]))) or 0
            connection.execute(
                text("SELECT setval(:name, :at, false)"), {"name": sequence, "at": highest + 1}
            )
