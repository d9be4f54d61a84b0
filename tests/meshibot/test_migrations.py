"""A database of each older meshibot, with rows in every table, comes up to this one and loses nothing."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import connect

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy.exc import IntegrityError

from meshibot.database import Account, Database, Post, Slot
from meshibot.database.migrate import (
    HEAD,
    alembic_config,
    backup,
    current_revision,
    migrations_folder,
    upgrade,
)
from meshibot.database.models import Base
from testbed.command import Command
from testbed.homes import wait_for
from testbed.ledger import new_database

BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
WORDS = {
    "state": {"accounts": "stopped", "pictures": "posted", "slots": "taken", "posts": "needs_person"},
    "kind": {"posts": "grid"},
    "phase": {"attempts": "send"},
    "outcome": {"attempts": "unclear"},
    "verdict": {"pictures": "rejected"},
}
"""Values of columns that hold one of a few words."""


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bot.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


def revisions() -> list[str]:
    """Every revision there is, the oldest first."""
    scripts = ScriptDirectory(str(migrations_folder()))
    return [script.revision for script in scripts.walk_revisions()][::-1]


def go_to(database: Database, revision: str) -> None:
    """Bring a database up to a revision, and no further."""
    with database.migrate() as connection:
        command.upgrade(alembic_config(connection), revision)


def a_value(table: str, column: sa.Column[object], number: int) -> object:
    """Something for a column that was not filled yet; `number` makes it unique."""
    if column.name in WORDS and table in WORDS[column.name]:
        return WORDS[column.name][table]
    if isinstance(column.type, sa.JSON):
        return ["1234567890123456789"]
    if isinstance(column.type, sa.Boolean):
        return True
    if isinstance(column.type, sa.DateTime):
        return datetime(2026, 11, 24, 14, 30, number, 123456, UTC if column.type.timezone else None)
    if isinstance(column.type, sa.Integer):
        return (1 << 62) + number if column.name in ("seed", "phash") else number
    if isinstance(column.type, sa.Numeric | sa.Float):
        return 0.25
    length = getattr(column.type, "length", None) or 200
    return f"深夜の一杯 {column.name} {number}"[:length]


def fill(database: Database, count: int = 3) -> None:
    """Rows into every table, as far as the tables of this revision go."""
    with database.connect() as connection:
        found = sa.MetaData()
        found.reflect(connection)
        for table in found.sorted_tables:
            if table.name == "alembic_version":
                continue
            there = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for number in range(there + 1, there + count + 1):
                row: dict[str, object] = {}
                for column in table.columns:
                    keys = list(column.foreign_keys)
                    if keys:
                        names = (
                            connection.execute(sa.select(keys[0].column).order_by(keys[0].column))
                            .scalars()
                            .all()
                        )
                        row[column.name] = names[number - 1]
                    else:
                        row[column.name] = a_value(table.name, column, number)
                connection.execute(table.insert(), row)


def contents(database: Database) -> dict[str, list[dict[str, object]]]:
    """All rows of all tables."""
    with database.connect() as connection:
        found = sa.MetaData()
        found.reflect(connection)
        return {
            table.name: [
                dict(row)
                for row in connection.execute(sa.select(table).order_by(*table.primary_key)).mappings()
            ]
            for table in found.sorted_tables
            if table.name != "alembic_version"
        }


def test_each_revision_goes_up_with_rows_in_it(url: str) -> None:
    steps = revisions()
    assert steps == [f"{number:04d}" for number in range(1, len(steps) + 1)]
    assert steps[-1] == HEAD
    with Database.open(url) as database:
        for revision in steps:
            go_to(database, revision)
            assert current_revision(database) == revision
            fill(database)
            before = contents(database)
            assert {table: len(rows) for table, rows in before.items() if not rows} == {}
        with database.connect() as connection:
            command.check(alembic_config(connection))
        assert contents(database) == before
        assert read_with_the_models(database) == {name: len(rows) for name, rows in before.items()}


def test_each_older_revision_goes_straight_up(url: str) -> None:
    """As for someone who has not upgraded for years; every row is still there, whatever was added to it."""
    for revision in revisions():
        with Database.open(url) as database:
            go_to(database, revision)
            fill(database)
            before = contents(database)
            upgrade(url)
            after = contents(database)
            assert current_revision(database) == HEAD
            for table, rows in before.items():
                kept = set(after[table][0]) & set(rows[0])
                assert [{name: row[name] for name in kept} for row in after[table]] == [
                    {name: row[name] for name in kept} for row in rows
                ]
            read = read_with_the_models(database)
            assert {name: read[name] for name in before} == {name: len(rows) for name, rows in before.items()}
            with database.connect() as connection:
                for table in reversed(Base.metadata.sorted_tables):
                    connection.execute(sa.text(f"DROP TABLE {table.name}"))
                connection.execute(sa.text("DROP TABLE alembic_version"))


def read_with_the_models(database: Database) -> dict[str, int]:
    """What is stored means something to this code; the rows of each table."""
    with database.read() as session:
        for account in session.scalars(sa.select(Account)):
            assert account.stopped_at is not None
            assert account.stopped_at.tzinfo is UTC
        return {
            str(mapper.local_table): len(session.scalars(sa.select(mapper.class_)).all())
            for mapper in Base.registry.mappers
        }


def test_posts_of_before_are_where_their_account_is_and_were_due_with_their_slot(url: str) -> None:
    with Database.open(url) as database:
        go_to(database, "0002")
        fill(database)
        with database.connect() as connection:
            connection.execute(sa.text("UPDATE posts SET slot_id = NULL WHERE id = 3"))
        upgrade(url)
        with database.read() as session:
            posts = session.scalars(sa.select(Post).order_by(Post.id)).all()
            for post in posts:
                assert post.publisher == session.get_one(Account, post.account).publisher
                assert post.due_at == (post.slot.due_at if post.slot else post.created_at)
            assert [post.slot is None for post in posts] == [False, False, True]
            assert [slot.pinned for slot in session.scalars(sa.select(Slot))] == [False] * 3


def test_what_refers_to_a_table_that_was_made_anew_still_does(tmp_path: Path) -> None:
    """SQLite checks no foreign keys while the migration runs, and does again afterwards."""
    url = f"sqlite:///{tmp_path / 'bot.sqlite'}"
    with Database.open(url) as database:
        go_to(database, "0002")
        fill(database)
        go_to(database, HEAD)
        with database.connect() as connection:
            assert connection.execute(sa.text("PRAGMA foreign_key_check")).all() == []
        orphan = sa.text("INSERT INTO attempts (post_id, phase, started_at) VALUES (99, 'send', '2026')")
        with pytest.raises(IntegrityError), database.connect() as connection:
            connection.execute(orphan)


@pytest.mark.postgres
@pytest.mark.parametrize("arguments", [["run"], ["post-now"], ["db", "upgrade"]])
def test_a_newer_database_is_refused_in_one_sentence_on_postgresql(
    tmp_path: Path, postgres_url: str, arguments: list[str]
) -> None:
    bot = Command(tmp_path, {"DATABASE_URL": postgres_url, "CHECKPOINT": str(tmp_path / "none")})
    upgrade(postgres_url)
    with Database.open(postgres_url) as database, database.connect() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    sentence = bot.refused(*arguments, status=1)
    assert "is of a newer meshibot (revision 9999" in sentence
    assert sentence.endswith("install the newer meshibot.")


HAMMER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
name = sys.argv[2]
insert = "INSERT INTO accounts (name, publisher, next_serial, state) VALUES (?, 'f', 1, 'active')"
connection.execute(insert, (name,))
print("ready", flush=True)
for number in range(1, 1_000_000):
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO slots (account, key, due_at, local, state) VALUES (?, ?, '2026-11-24', ?, 'taken')",
        (name, f"{name}|{number}", "x" * (number * 37 % 3000)),
    )
    slot = connection.execute("SELECT last_insert_rowid()").fetchone()[0]
    connection.execute(
        "INSERT INTO posts (account, publisher, slot_id, serial, kind, state, attempts, duplicate, version,"
        " not_before, due_at, deadline, created_at) VALUES (?, 'f', ?, ?, 'single', 'posted', 0, 0, 0,"
        " '2026-11-24', '2026-11-24', '2026-11-24', '2026-11-24')",
        (name, slot, number),
    )
    connection.execute("UPDATE accounts SET next_serial = next_serial + 1 WHERE name = ?", (name,))
    connection.execute("COMMIT")
    time.sleep(0.002)  # so that the others have their turn
    if number % 50 == 0:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
"""
"""Each transaction makes a slot, its post, and counts both: a copy in between would not add up."""


@pytest.fixture
def hammered(tmp_path: Path) -> Iterator[Path]:
    """A database that three processes write as fast as they can."""
    new_database(tmp_path).close()
    file = tmp_path / "bot.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", HAMMER, str(file), name], stdout=subprocess.PIPE, text=True)
        for name in ("a", "b", "c")
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        yield file
        assert all(writer.poll() is None for writer in writers), "they were to write all the while"
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def slots_in(file: Path) -> int:
    """How many there are."""
    with closing(connect(file, timeout=60)) as connection:
        return int(connection.execute("SELECT count(*) FROM slots").fetchone()[0])


def test_a_backup_adds_up_while_three_processes_write(hammered: Path, tmp_path: Path) -> None:
    sizes = [0]
    for number in range(8):
        wait_for(lambda before=sizes[-1]: slots_in(hammered) > before)  # type: ignore[misc]
        copy = backup(f"sqlite:///{hammered}", tmp_path / "backups" / f"{number}.sqlite3")
        with closing(connect(copy)) as connection:
            ask = connection.execute
            assert ask("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert ask("PRAGMA foreign_key_check").fetchall() == []
            counted = dict(ask("SELECT name, next_serial - 1 FROM accounts WHERE next_serial > 1").fetchall())
            assert counted == dict(ask("SELECT account, count(*) FROM posts GROUP BY account").fetchall())
            assert counted == dict(ask("SELECT account, count(*) FROM slots GROUP BY account").fetchall())
            sizes.append(sum(counted.values()))
        assert sorted(copy.parent.iterdir()) == [copy.parent / f"{n}.sqlite3" for n in range(number + 1)]
    assert sizes == sorted(set(sizes)), "each copy has what was committed before it began"
