"""Sessions, migrations, backups, and questions that stay quick in a long history; on both databases."""

import os
import random
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, insert, make_url, select, text
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from meshibot import views
from meshibot.config import Settings
from meshibot.config.models import account_model
from meshibot.database import (
    Account,
    Database,
    Picture,
    PictureState,
    Post,
    PostPicture,
    Slot,
    SlotState,
    queries,
)
from meshibot.database.migrate import (
    HEAD,
    alembic_config,
    backup,
    check_revision,
    current_revision,
    migrations_folder,
    upgrade,
)
from meshibot.database.models import PostState
from meshibot.errors import DatabaseFailure, DatabaseNewer, UsageError
from meshibot.kinds import Kind
from meshibot.notices.notifier import Notifier
from meshibot.outbox import people
from meshibot.slots import Schedule
from meshibot.slots.planner import write_slots
from testbed.ledger import (
    NOON,
    UTC_ZONE,
    Ledger,
    LedgerPublisher,
    MovableClock,
    new_database,
    outbox,
    slot,
    stock,
)

BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'folder' / 'bot.sqlite'}"
    address = request.getfixturevalue("postgres_url")
    assert isinstance(address, str)
    return address


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    upgrade(url)
    with Database.open(url) as database:
        yield database


# ---- migrations ---------------------------------------------------------------------------------


def test_an_empty_database_is_upgraded_once(url: str) -> None:
    assert upgrade(url)
    assert not upgrade(url)
    with Database.open(url) as database:
        assert current_revision(database) == HEAD
        assert check_revision(database)


def test_models_and_migrations_agree(database: Database) -> None:
    with database.connect() as connection:
        config = alembic_config(connection)
        command.check(config)
        assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_a_newer_database_is_refused_in_one_sentence(url: str) -> None:
    upgrade(url)
    with Database.open(url) as database:
        with database.connect() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(DatabaseNewer, match=r"revision 9999.*install the newer meshibot\.$"):
            check_revision(database)
    with pytest.raises(DatabaseNewer):
        upgrade(url)


def test_a_migration_that_fails_leaves_nothing_behind(url: str) -> None:
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    with Database.open(url) as database:
        with database.connect() as connection:
            connection.execute(text("CREATE TABLE posts (id integer)"))
        with pytest.raises(DatabaseFailure, match="posts"):
            upgrade(url)
        assert current_revision(database) is None
        with database.connect() as connection:
            connection.execute(text("DROP TABLE posts"))
    assert upgrade(url)


def test_several_processes_may_upgrade_at_once(url: str) -> None:
    code = "import sys; from meshibot.database.migrate import upgrade; print(upgrade(sys.argv[1]))"
    racers = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code, url], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert "True" in said


def test_the_migrations_are_found_in_the_checkout() -> None:
    assert (migrations_folder() / "env.py").is_file()


def test_alembic_runs_from_a_terminal(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'bot.sqlite'}"
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {migrations_folder()}\n")
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "-c", str(ini), "upgrade", "head"],
        env={**os.environ, "MESHIBOT_DATABASE_URL": url},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not upgrade(url)


# ---- sessions -----------------------------------------------------------------------------------


def test_times_come_back_aware_and_in_utc(database: Database) -> None:
    tokyo = datetime(2026, 11, 24, 21, 0, 0, 123456, timezone(timedelta(hours=9)))
    with database.write() as session:
        session.add(Account(name="main", publisher="folder", last_sent_at=tokyo))
    with database.read() as session:
        found = session.get_one(Account, "main").last_sent_at
        assert found == tokyo
        assert found is not None
        assert found.utcoffset() == timedelta()
    with pytest.raises(StatementError, match="without a time zone"), database.write() as session:
        session.add(Account(name="two", publisher="folder", last_sent_at=datetime(2026, 1, 1)))


def test_hashes_are_unsigned(database: Database, tmp_path: Path) -> None:
    stock(database, tmp_path, 3)
    values = [0, 1 << 63, (1 << 64) - 1]
    with database.write() as session:
        for picture, value in zip(session.scalars(select(Picture)), values, strict=True):
            picture.phash = value
    with database.read() as session:
        assert sorted(session.scalars(select(Picture.phash))) == values
    with pytest.raises(StatementError, match="64-bit"), database.write() as session:
        session.scalars(select(Picture)).all()[0].phash = -1


def test_what_fails_is_rolled_back(database: Database) -> None:
    def add_and_fail(session: Session) -> None:
        session.add(Account(name="main", publisher="folder"))
        session.flush()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), database.write() as session:
        add_and_fail(session)
    with database.read() as session:
        assert session.get(Account, "main") is None


def test_sqlite_is_set_up_to_survive_a_power_cut(tmp_path: Path) -> None:
    with new_database(tmp_path) as database, database.read() as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 60_000}


def test_writers_on_sqlite_wait_for_each_other(tmp_path: Path) -> None:
    """Both read before they write, which a deferred BEGIN would answer with 'database is locked'."""
    with new_database(tmp_path) as database:
        with database.write() as session:
            session.add(Account(name="main", publisher="folder"))

        def count() -> None:
            for _ in range(25):
                with database.write() as session:
                    session.get_one(Account, "main").next_serial += 1

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with database.read() as session:
            assert session.get_one(Account, "main").next_serial == 101


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://host/name",
        "sqlite://",
        "sqlite:///:memory:",
        "",
        "postgresql://bot:a@b@host/name",
    ],
)
def test_an_address_that_is_none_is_one_sentence(url: str) -> None:
    with pytest.raises(UsageError, match="DATABASE_URL"):
        Database.open(url)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_postgresql_goes_through_psycopg_and_hides_its_password(scheme: str) -> None:
    with Database.open(f"{scheme}://bot:planted-secret@127.0.0.1:1/meshibot") as database:
        assert database.url.drivername == "postgresql+psycopg"
        with pytest.raises(DatabaseFailure) as caught, database.read() as session:
            session.execute(text("SELECT 1"))
    assert "planted-secret" not in str(caught.value)
    assert "***" in str(caught.value)


def test_a_database_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    missing = f"sqlite:///{tmp_path / 'nowhere' / 'bot.sqlite'}"
    with Database.open(missing) as database, pytest.raises(DatabaseFailure, match="can't be opened"):
        check_revision(database)
    with (
        Database.open(f"sqlite:///{tmp_path / 'empty.sqlite'}") as database,
        pytest.raises(DatabaseFailure, match="db upgrade"),
        database.read() as session,
    ):
        session.get(Account, "main")
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseFailure, match="can't be made"):
        upgrade(f"sqlite:///{tmp_path / 'file' / 'bot.sqlite'}")


def test_a_damaged_database_is_one_sentence(tmp_path: Path) -> None:
    new_database(tmp_path).close()
    file = tmp_path / "bot.sqlite"
    whole = file.read_bytes()
    for content, says in (
        (
            b"no database at all, and longer than a header of one" * 40,
            "is no database: name another file, or",
        ),
        (whole[:4096] + b"\xff" * (len(whole) - 4096), "is damaged: put a backup in its place"),
    ):
        file.write_bytes(content)
        with Database.open(f"sqlite:///{file}") as database, pytest.raises(DatabaseFailure, match=says):
            queries_of_a_round(database)
        with pytest.raises(DatabaseFailure, match=f"^The database {file} {says}.*`meshibot restore`.$"):
            backup(f"sqlite:///{file}", tmp_path / "copy")
    torn = bytearray(whole)
    torn[3 * 4096 : 4 * 4096] = b"\xff" * 4096  # pages that copying alone does not look into
    file.write_bytes(torn)
    with pytest.raises(DatabaseFailure, match="is damaged: put a backup in its place"):
        backup(f"sqlite:///{file}", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def queries_of_a_round(database: Database) -> None:
    with database.write() as session:
        queries.due_slots(session, "main", NOON)


@pytest.mark.postgres
def test_a_transaction_that_a_suspended_machine_left_open_holds_nobody_up(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshibot.database.session.IDLE_TIMEOUT", "1s")
    upgrade(postgres_url)
    with Database.open(postgres_url) as asleep, Database.open(postgres_url) as awake:
        with asleep.write() as session:
            session.add(Account(name="main", publisher="x"))

        def sleep_in_a_transaction() -> None:
            with asleep.write() as session:
                session.get_one(Account, "main", with_for_update=True).next_serial = 3
                with awake.write() as other:  # waits for the row until the server has ended the first
                    other.get_one(Account, "main", with_for_update=True).next_serial = 7

        with pytest.raises(DatabaseFailure):
            sleep_in_a_transaction()
        with awake.read() as session:
            assert session.get_one(Account, "main").next_serial == 7


@pytest.mark.postgres
def test_a_server_that_refuses_to_write_is_one_sentence(postgres_url: str) -> None:
    upgrade(postgres_url)
    parsed = make_url(postgres_url)
    with Database.open(postgres_url) as database, database.connect() as connection:
        connection.execute(text("CREATE ROLE stranger LOGIN"))
    reads = parsed.update_query_dict({"options": "-c default_transaction_read_only=on"})
    for address, says in (
        (parsed.set(username="stranger"), "refuses this user: grant it the rights"),
        (reads, "can only be read: name the server"),
    ):
        url = address.render_as_string(hide_password=False)
        with Database.open(url) as database, pytest.raises(DatabaseFailure, match=says):
            queries_of_a_round(database)
    with Database.open(postgres_url) as database, database.connect() as connection:
        connection.execute(text("DROP ROLE stranger"))


def test_a_locked_database_is_one_sentence(tmp_path: Path) -> None:
    new_database(tmp_path).close()
    file = tmp_path / "bot.sqlite"
    with (
        closing(sqlite3.connect(file, isolation_level=None)) as other,
        Database.open(f"sqlite:///{file}") as database,
    ):
        event.listen(
            database.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 50")
        )
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseFailure, match="locked by another program"), database.write():
            pass
        with database.read() as session:
            assert session.get(Account, "main") is None  # who reads does not wait


# ---- backups ------------------------------------------------------------------------------------


def test_a_backup_is_consistent_while_others_write(tmp_path: Path) -> None:
    with new_database(tmp_path) as database:
        with database.write() as session:
            session.add_all([Account(name="a", publisher="folder"), Account(name="b", publisher="folder")])
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                with database.write() as session:
                    for name in ("a", "b"):
                        session.get_one(Account, name).next_serial += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            copies = [
                backup(str(database.url), tmp_path / "copies" / f"{number}.sqlite") for number in range(5)
            ]
        finally:
            stop.set()
            writer.join()
    seen = []
    for copy in copies:
        assert not list(copy.parent.glob("*.unfinished*"))
        with Database.open(f"sqlite:///{copy}") as database, database.read() as session:
            assert check_revision(database)
            a, b = (session.get_one(Account, name).next_serial for name in ("a", "b"))
            assert a == b
            seen.append(a)
    assert seen == sorted(seen)


def test_what_cannot_be_backed_up_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatabaseFailure, match="can't be used"):
        backup("postgresql://127.0.0.1:1/name", tmp_path / "copy")
    with pytest.raises(DatabaseFailure, match="no database"):
        backup(f"sqlite:///{tmp_path / 'none.sqlite'}", tmp_path / "copy")
    new_database(tmp_path).close()
    url = f"sqlite:///{tmp_path / 'bot.sqlite'}"
    with pytest.raises(UsageError, match="itself"):
        backup(url, tmp_path / "bot.sqlite")
    (tmp_path / ".env").write_text("MESHIBOT_PUBLISHER=x")
    for taken in (tmp_path, tmp_path / ".env"):
        with pytest.raises(UsageError, match="is no backup of meshibot's"):
            backup(url, taken)
    assert (tmp_path / ".env").read_text() == "MESHIBOT_PUBLISHER=x"
    (tmp_path / "broken.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseFailure, match="is no database: name another file"):
        backup(f"sqlite:///{tmp_path / 'broken.sqlite'}", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_backup_without_room_says_what_to_do_and_leaves_nothing(tmp_path: Path) -> None:
    new_database(tmp_path).close()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, before[1]))
    try:
        with pytest.raises(DatabaseFailure, match=r"failed \(.*\): make room there, or give another place"):
            backup(f"sqlite:///{tmp_path / 'bot.sqlite'}", tmp_path / "copies" / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "copies").iterdir())


# ---- questions ----------------------------------------------------------------------------------


def fill_history(database: Database, count: int) -> None:
    """Years of posts, in a few statements."""
    times = [NOON - timedelta(hours=count - number) for number in range(count)]
    with database.write() as session:
        session.add(Account(name="main", publisher="folder", next_serial=count + 1))
        session.flush()
        session.execute(
            insert(Picture),
            [
                {"sha256": f"{n:064x}", "checkpoint": "c", "seed": n, "score": 0.5, "quantile": 0.5,
                 "phash": n, "file": f"{n}.png", "state": PictureState.POSTED, "created_at": times[n]}
                for n in range(count)
            ],
        )  # fmt: skip
        session.execute(
            insert(Slot),
            [
                {
                    "account": "main",
                    "key": f"main|{n}",
                    "due_at": times[n],
                    "local": "",
                    "state": SlotState.TAKEN,
                }
                for n in range(count)
            ],
        )
        session.execute(
            insert(Post),
            [
                {"account": "main", "publisher": "x", "slot_id": n + 1, "serial": n + 1,
                 "kind": Kind.SINGLE,
                 "state": PostState.POSTED, "not_before": times[n], "deadline": times[n], "due_at": times[n],
                 "created_at": times[n], "sent_at": times[n], "attempts": 0,
                 "duplicate": False, "version": 1}
                for n in range(count)
            ],
        )  # fmt: skip
        session.execute(
            insert(PostPicture),
            [{"post_id": n + 1, "picture_id": n + 1, "position": 0} for n in range(count)],
        )


def ask_everything(database: Database, folder: Path) -> None:
    """What the outbox asks again and again, on the way of a post, what `status` and `history` ask, and what
    the notices ask each minute."""
    stock(database, folder, 2, seed=7)
    slot(database, NOON - timedelta(days=1))
    with database.write() as session:
        assert views.posts_for_a_person(session, ["main"]) == []
        assert len(views.recent_posts(session, 5, "main")) == 5
        queries.begun_between(session, "main", NOON - timedelta(days=1), NOON)
        write_slots(session, "main", Schedule("30 * * * *", UTC_ZONE), NOON, random.Random(1))
    publisher = LedgerPublisher(Ledger(folder / "ledger"), MovableClock())
    publisher.faults["send"].append("lost")
    box = outbox(database, folder, publisher)
    assert box.step("main") is None  # the slot is late
    assert box.next_moment("main") is not None
    due = slot(database, NOON)
    for _ in range(2):
        box.step("main")
    with database.read() as session:
        assert session.scalars(select(Post.state).where(Post.slot_id == due)).one() is PostState.POSTED
    post = people.post_now(box, "main")
    people.delete(database, post.id, lambda row: publisher)
    account = account_model().model_validate({"name": "main", "timezone": "UTC", "publisher": "x"})
    said = {
        "home": folder,
        "accounts": (account,),
        "notify_digest": "weekly",
        "notify_ping": "http://[::1]:9",
    }
    Notifier(database, Settings.model_validate(said), MovableClock())()


def test_every_question_is_answered_from_an_index(tmp_path: Path) -> None:
    """Without ANALYZE: nobody runs it on a bot's database, and SQLite chooses by its own rules."""
    asked: list[tuple[str, tuple[object, ...]]] = []

    def listen(
        _: Connection, __: object, statement: str, parameters: tuple[object, ...], *___: object
    ) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            asked.append((statement, parameters))

    with new_database(tmp_path) as database:
        fill_history(database, 2000)
        event.listen(database.engine, "before_cursor_execute", listen)
        ask_everything(database, tmp_path)
        event.remove(database.engine, "before_cursor_execute", listen)
        assert len(asked) > 12
        with database.connect() as connection:
            for statement, parameters in asked:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
                scans = [row[3] for row in plan if row[3].startswith("SCAN") and "posts" in row[3]]
                scans += [row[3] for row in plan if row[3].startswith("SCAN") and "pictures" in row[3]]
                scans += [row[3] for row in plan if row[3].startswith("SCAN") and "slots" in row[3]]
                assert not scans, (statement, plan)
                # All posts of an account are as many as all posts.
                few = ("ix_posts_open (account=?)", "ix_posts_person (account=?)")
                wide = [row[3] for row in plan if row[3].endswith("(account=?)")]
                assert "LIMIT" in statement or all(row.endswith(few) for row in wide), (statement, plan)


@pytest.mark.postgres
def test_every_question_is_answered_from_an_index_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    """Few rows may be touched: what PostgreSQL read from tables in sequence says so, whatever its plan."""
    upgrade(postgres_url)
    with Database.open(postgres_url) as database:
        fill_history(database, 20_000)
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("SELECT pg_stat_reset()"))
    with Database.open(postgres_url) as database:
        ask_everything(database, tmp_path)
        with database.read() as session:
            session.execute(text("SELECT pg_stat_force_next_flush()"))
        with database.read() as session:
            read = session.execute(
                text("SELECT relname, seq_tup_read FROM pg_stat_user_tables WHERE seq_tup_read > 100")
            ).all()
    engine.dispose()
    assert read == []


def test_a_slot_is_due_from_its_moment_on(database: Database) -> None:
    slot(database, NOON)
    with database.read() as session:
        assert not queries.anything_due(session, "main", NOON - timedelta(seconds=1))
        assert queries.next_moment(session, "main", NOON - timedelta(seconds=1)) == NOON
        assert queries.anything_due(session, "main", NOON)
        assert [row.due_at for row in queries.due_slots(session, "main", NOON)] == [NOON]


@pytest.mark.postgres
def test_who_chooses_a_picture_leaves_the_others_to_those_who_choose_meanwhile(
    postgres_url: str, tmp_path: Path
) -> None:
    upgrade(postgres_url)
    with Database.open(postgres_url) as database:
        stock(database, tmp_path, 2)
        with database.write() as one, database.write() as other:
            first = queries.choose_pictures(one, "main", 1).pictures
            second = queries.choose_pictures(other, "two", 1).pictures
            assert [picture.id for picture in (*first, *second)] == [1, 2]


def test_the_oldest_pictures_that_look_new_are_chosen(database: Database, tmp_path: Path) -> None:
    stock(database, tmp_path, 5)
    with database.write() as session:
        session.add(Account(name="main", publisher="folder"))
        pictures = session.scalars(select(Picture).order_by(Picture.id)).all()
        pictures[1].phash = pictures[0].phash ^ 0x1FF  # 9 bits: alike
        pictures[2].phash = pictures[0].phash ^ 0x3FF  # 10 bits: not alike
    with database.read() as session:
        assert [p.id for p in queries.choose_pictures(session, "main", 1).pictures] == [1]
        assert [p.id for p in queries.choose_pictures(session, "main", 2).pictures] == [1, 3]
        assert [p.id for p in queries.choose_pictures(session, "main", 4).pictures] == [1, 3, 4, 5]
        assert queries.choose_pictures(session, "main", 5).pictures == []
