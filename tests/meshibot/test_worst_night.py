"""What an unattended bot meets in its years: full disks, locks, lost rights, a dead network, clocks gone mad.

Each leaves a clear word and loses nothing: what was posted is known, what was not is posted once it can be.
"""

import json
import logging
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, make_url, select, text
from sqlalchemy.exc import NoResultFound

from meshibot import daemon as daemon_module
from meshibot.assembly import open_bot
from meshibot.config import load_settings
from meshibot.daemon import Daemon
from meshibot.database import Account, AccountState, Database, Picture, PictureState, Post, PostState, Slot
from meshibot.database.migrate import upgrade
from meshibot.errors import DatabaseFailure
from meshibot.outbox import Outbox, Policy, people
from meshibot.publishers.base import Publisher
from meshibot.publishers.folder import FolderPublisher
from meshibot.publishers.transport import Timeouts
from meshibot.publishers.x import XPublisher
from meshibot.slots import Schedule
from testbed.command import Command
from testbed.fakes.x import CREDENTIALS, FakeX
from testbed.homes import (
    ask,
    due,
    living_daemons,
    locked,
    posts,
    run_beside,
    stocked,
    wait_for,
    x_settings,
)
from testbed.ledger import (
    UTC_ZONE,
    Ledger,
    LedgerPublisher,
    MovableClock,
    channel,
    new_database,
    outbox,
    slot,
    stock,
)
from tests.checkpoints import make_checkpoint
from tests.disks import Disk, mounted


@pytest.fixture
def bot(tmp_path: Path) -> Command:
    """A bot that has never run."""
    return Command(tmp_path, {"SCHEDULE": "0 0 29 2 *"})


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of two megabytes."""
    with mounted(tmp_path / "disk") as disk:
        yield disk


def only_post(database: Database) -> Post:
    with database.read() as session:
        return session.scalars(select(Post)).one()


def said(bot: Command) -> dict[str, dict[str, str]]:
    """What `check` finds, by subject."""
    return {line["subject"]: line for line in json.loads(bot("check", "--json").stdout)}


def runs(database: Database) -> bool:
    """Whether a daemon has said hello."""
    with database.read() as session:
        return bool(living_daemons(session, datetime.now(UTC)))


# ---- the disk is full ---------------------------------------------------------------------------


def test_a_full_disk_under_the_database_is_told_and_nothing_is_lost(bot: Command, disk: Disk) -> None:
    bot = stocked(bot.having({"DATABASE_URL": f"sqlite:///{disk.folder / 'bot.sqlite3'}"}))
    disk.fill()
    for command in (["post-now"], ["run"]):
        sentence = bot.refused(*command, status=1)
        assert "bot.sqlite3" in sentence
        assert "room" in sentence
    assert not list(bot.home.glob("posts/*.json"))
    disk.make_room()
    assert bot.json("post-now")["serial"] == 1
    assert ask(bot, "SELECT state, count(*) FROM pictures GROUP BY state") == [("approved", 3), ("posted", 1)]


def test_a_disk_that_fills_up_while_a_request_is_under_way_makes_no_second_post(
    tmp_path: Path, disk: Disk
) -> None:
    clock = MovableClock()
    publisher = LedgerPublisher(Ledger(tmp_path / "ledger"), clock)
    with new_database(disk.folder) as database:
        stock(database, tmp_path, 2)
        slot(database, clock.now())
        box = outbox(database, tmp_path, publisher)
        publisher.during["send"] = disk.fill
        with pytest.raises(DatabaseFailure, match="the disk is full: make room"):
            box.step("main")
        assert len(publisher.ledger.posts()) == 1
        clock.move(minutes=6)
        with pytest.raises(DatabaseFailure):
            box.step("main")
        disk.make_room()
        box.step("main")
        assert only_post(database).state is PostState.POSTED
        assert box.step("main") is None
    assert publisher.calls == ["upload", "send", "find"]
    assert len(publisher.ledger.posts()) == 1


def test_a_full_disk_under_the_pictures_keeps_the_stock_as_it_was(tmp_path: Path, bot: Command) -> None:
    bot = bot.having({"CHECKPOINT": str(make_checkpoint(tmp_path / "tiny.safetensors")), "MIN_QUANTILE": "0"})
    with mounted(bot.home / "pictures") as disk:
        disk.fill()
        sentence = bot.refused("stock", "fill", "--target", "2", status=1)
        assert "No space left on device" in sentence
        assert list(disk.folder.iterdir()) == [disk.ballast]
        assert ask(bot, "SELECT count(*) FROM pictures") == [(0,)]


@pytest.mark.parametrize("place", ["posts", "media"])
def test_a_full_disk_under_the_posts_only_delays_them(
    bot: Command, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is rendered goes to `media`, what the folder publisher writes to `posts`."""
    with mounted(bot.home / place) as disk:
        bot = stocked(bot)
        due(bot, "main")
        for name, value in bot.environment().items():
            monkeypatch.setenv(name, value)
        settings = load_settings()
        clock = MovableClock(datetime.now(UTC))
        with open_bot(settings, settings.accounts) as opened:
            box = Outbox(
                opened.database, clock=clock, elapsed=lambda: clock.elapsed, channels=opened.channels
            )
            disk.fill()
            for _ in range(2):
                assert box.step("main") == 1
                post = only_post(opened.database)
                assert post.state is PostState.RETRY
                assert post.reason is not None
                assert "No space left on device" in post.reason
                clock.move(minutes=2)
            assert not list((bot.home / "posts").glob("*.json"))
            disk.make_room()
            assert box.step("main") == 1
            assert only_post(opened.database).state is PostState.POSTED
        assert sorted(path.suffix for path in (bot.home / "posts").iterdir()) == [
            ".jpg",
            ".json",
            ".txt",
            ".txt",
        ]


def test_a_disk_that_stays_full_costs_the_slot_and_says_why(tmp_path: Path) -> None:
    clock = MovableClock(datetime.now(UTC))
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 1)
        slot(database, clock.now())
        with mounted(tmp_path / "posts") as disk:
            disk.fill()
            box = Outbox(
                database,
                clock=clock,
                elapsed=lambda: clock.elapsed,
                channels=[channel(tmp_path, FolderPublisher(disk.folder))],
            )
            for _ in range(8):
                box.step("main")
                clock.move(minutes=30)
        post = only_post(database)
        assert post.state is PostState.MISSED
        assert post.reason is not None
        assert "make room" in post.reason
        with database.read() as session:
            assert session.scalars(select(Picture.state)).all() == [PictureState.APPROVED]


def test_a_log_that_can_not_be_written_does_not_stop_the_posts(bot: Command) -> None:
    with mounted(bot.home / "logs") as disk:
        bot = stocked(bot)
        due(bot, "main")
        disk.fill()
        with bot.start("run") as daemon:
            try:
                wait_for(lambda: posts(bot) == [("main", "posted")])
            finally:
                daemon.send_signal(signal.SIGTERM)
            _, stderr = daemon.communicate(timeout=60)
        assert daemon.returncode == 0
        assert "main" in stderr, "standard error has the log all the same"
        assert "Logging error" not in stderr


def test_a_limit_on_the_size_of_files_is_told_too(bot: Command) -> None:
    """A quota, where no disk can be mounted."""
    bot.home.mkdir()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [sys.executable, "-m", "meshibot", "db", "upgrade"],
        cwd=bot.here,
        # a measurement of coverage would run into the limit as well
        env={name: value for name, value in bot.environment().items() if not name.startswith("COV")},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "check the disk and its free room" in done.stderr
    assert bot("db", "upgrade").returncode == 0
    assert bot.json("status")["stock"]["waiting"] == 0


def test_a_limit_on_the_size_of_files_only_delays_a_post_to_a_folder(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from meshibot.publishers.base import RetryLater
from meshibot.publishers.folder import FolderPublisher
from tests.meshibot.publishers.test_contract import make_draft
folder = Path(sys.argv[1])
draft = make_draft(folder, 42)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    FolderPublisher(folder / "posts").upload(draft)
except RetryLater as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "is full (File too large): make room." in done.stdout
    assert list((tmp_path / "posts").iterdir()) == []


# ---- the database is locked ---------------------------------------------------------------------


def test_a_locked_database_is_waited_for(bot: Command) -> None:
    bot = stocked(bot)
    with locked(bot.database) as holder, bot.start("post-now", "--json") as process:
        time.sleep(2)
        assert process.poll() is None
        assert holder.stdin is not None
        holder.stdin.close()
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["state"] == "posted"


def test_a_database_that_stays_locked_is_told_and_nothing_is_lost(bot: Command) -> None:
    bot = stocked(bot)
    short = bot.having({"DATABASE_URL": f"sqlite:///{bot.database}?timeout=0.2"})
    with locked(bot.database):
        for command in ("post-now", "run"):
            sentence = short.refused(command, status=1)
            assert "is locked by another program: end that one, then try again." in sentence
        assert said(short)["database"]["level"] == "failed"
        assert short.json("status")["stock"]["waiting"] == 4
    assert short.json("post-now")["serial"] == 1


def test_a_lock_that_comes_while_a_request_is_under_way_makes_no_second_post(tmp_path: Path) -> None:
    clock = MovableClock()
    publisher = LedgerPublisher(Ledger(tmp_path / "ledger"), clock)
    file = tmp_path / "bot.sqlite"
    new_database(tmp_path).close()
    with Database.open(f"sqlite:///{file}?timeout=0.05") as database:
        stock(database, tmp_path, 2)
        slot(database, clock.now())
        box = outbox(database, tmp_path, publisher)
        with ExitStack() as held:

            def lock() -> None:
                held.enter_context(locked(file))

            publisher.during["send"] = lock
            with pytest.raises(DatabaseFailure, match="locked"):
                box.step("main")
        assert only_post(database).state is PostState.SENDING
        assert box.step("main") is None, "its lease still runs"
        clock.move(minutes=6)
        box.step("main")
        assert only_post(database).state is PostState.POSTED
    assert publisher.calls == ["upload", "send", "find"]


@pytest.mark.long
def test_a_daemon_outlives_a_locked_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daemon_module, "POLL", timedelta(seconds=0.3))
    caplog.set_level(logging.ERROR)
    file = tmp_path / "bot.sqlite"
    new_database(tmp_path).close()
    publisher = LedgerPublisher(Ledger(tmp_path / "ledger"), MovableClock())
    schedule = Schedule("0 0 29 2 *", UTC_ZONE)
    with Database.open(f"sqlite:///{file}?timeout=0.05") as database:
        stock(database, tmp_path, 1)
        daemon = Daemon(database, [channel(tmp_path, publisher, schedule=schedule)], lambda: None)

        def story() -> None:
            with Database.open(f"sqlite:///{file}") as mine:
                wait_for(lambda: runs(mine))  # planning would take a slot away that no schedule has
                slot(mine, datetime.now(UTC) + timedelta(seconds=1))
            with locked(file):
                wait_for(lambda: "posting for main: The database" in caplog.text)
            wait_for(lambda: len(publisher.ledger.posts()) == 1)

        run_beside(daemon, story)
        assert only_post(database).state is PostState.POSTED
    assert "is locked by another program" in caplog.text


@pytest.mark.postgres
def test_a_daemon_outlives_a_database_server_that_is_away(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daemon_module, "POLL", timedelta(seconds=0.3))
    caplog.set_level(logging.ERROR)
    publisher = LedgerPublisher(Ledger(tmp_path / "ledger"), MovableClock())
    schedule = Schedule("0 0 29 2 *", UTC_ZONE)
    upgrade(postgres_url)
    with Database.open(postgres_url) as database:
        stock(database, tmp_path, 1)
        daemon = Daemon(database, [channel(tmp_path, publisher, schedule=schedule)], lambda: None)

        def story() -> None:
            with Database.open(postgres_url) as mine:
                wait_for(lambda: runs(mine))
                slot(mine, datetime.now(UTC) + timedelta(seconds=1))
            with away(postgres_url):
                wait_for(lambda: "posting for main: The database" in caplog.text)
            wait_for(lambda: len(publisher.ledger.posts()) == 1)

        run_beside(daemon, story)
        assert only_post(database).state is PostState.POSTED
    assert "Traceback" not in caplog.text


@contextmanager
def away(url: str) -> Iterator[None]:
    """Cut every connection to a database, and let nobody in."""
    parsed = make_url(url)
    engine = create_engine(parsed.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {parsed.database} ALLOW_CONNECTIONS false"))
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
        connection.execute(text(cut), {"name": parsed.database})
        yield
        connection.execute(text(f"ALTER DATABASE {parsed.database} ALLOW_CONNECTIONS true"))
    engine.dispose()


@pytest.mark.long
def test_half_a_minute_of_a_locked_database_with_the_settings_as_they_come(bot: Command) -> None:
    bot = stocked(bot)
    due(bot, "main")
    with bot.start("run") as daemon:
        try:
            with locked(bot.database):
                time.sleep(30)
            wait_for(lambda: posts(bot) == [("main", "posted")])
        finally:
            daemon.send_signal(signal.SIGTERM)
        _, stderr = daemon.communicate(timeout=60)
    assert daemon.returncode == 0, stderr


# ---- what was there is gone ---------------------------------------------------------------------


def test_a_database_that_can_only_be_read_is_told_and_nothing_is_lost(bot: Command, disk: Disk) -> None:
    bot = stocked(bot.having({"DATABASE_URL": f"sqlite:///{disk.folder / 'bot.sqlite3'}"}))
    disk.read_only()
    for command in ("post-now", "run"):
        sentence = bot.refused(command, status=1)
        assert "bot.sqlite3" in sentence
        assert "writable" in sentence
    assert said(bot)["database"]["level"] == "failed"
    assert not list(bot.home.glob("posts/*.json"))
    disk.read_only(yes=False)
    assert bot.json("post-now")["serial"] == 1


def test_no_post_without_its_picture(bot: Command) -> None:
    """Those whose files are gone leave the stock; with no others, and nothing to sample by, none is made."""
    bot = stocked(bot)
    for picture in (bot.home / "pictures").iterdir():
        picture.unlink()
    due(bot, "main")
    done = bot("post-now")
    assert done.returncode == 2
    assert "taken out of the stock" in done.stderr
    assert "none.safetensors" in done.stderr
    with bot.start("run") as daemon:
        assert daemon.stderr is not None
        said_so = next((line for line in daemon.stderr if "none.safetensors" in line), "")
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=60)
    assert said_so
    assert not list(bot.home.glob("posts/*"))
    assert bot.json("history") == []
    assert bot.json("stock", "list") == []


def test_a_rendered_picture_that_vanishes_before_the_post_is_made_again(tmp_path: Path) -> None:
    clock = MovableClock()
    publisher = LedgerPublisher(Ledger(tmp_path / "ledger"), clock)
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 1)
        slot(database, clock.now())
        box = outbox(database, tmp_path, publisher)
        publisher.faults["upload"].append("later")
        box.step("main")
        (tmp_path / "main-1.jpg").unlink(missing_ok=True)
        clock.move(minutes=2)
        box.step("main")
        assert only_post(database).state is PostState.POSTED
    (line,) = publisher.ledger.posts()
    assert Path(line["file"]).is_file()


# ---- one account is broken ----------------------------------------------------------------------

TWO = '[accounts.tokyo]\npublisher = "x"\n[accounts.paris]\n'


def two_accounts(bot: Command, fake: FakeX) -> Command:
    """One that posts to the fake X, and one that posts to a folder."""
    settings = x_settings(fake, "tokyo")
    del settings["TOKYO_PUBLISHER"]
    bot = bot.having(settings)
    (bot.here / "meshibot.toml").write_text(TWO)
    return stocked(bot)


def run_until(bot: Command, *states: tuple[str, str]) -> str:
    """Run a daemon until the posts are so; what it wrote."""
    with bot.start("run") as daemon:
        try:
            wait_for(lambda: posts(bot) == list(states))
        finally:
            daemon.send_signal(signal.SIGTERM)
        _, stderr = daemon.communicate(timeout=60)
    assert daemon.returncode == 0, stderr
    return stderr


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("suspended", "suspended"),
        pytest.param("no_credits", "credits", marks=pytest.mark.long),
    ],
)
def test_an_account_that_is_refused_in_the_night_stops_and_no_other(
    bot: Command, fake_x: FakeX, fault: str, cause: str
) -> None:
    bot = two_accounts(bot, fake_x)
    due(bot, "tokyo", "paris")
    fake_x.set_fault("tweets", fault)
    stderr = run_until(bot, ("paris", "posted"), ("tokyo", "retry"))
    assert cause in stderr

    accounts = {account["name"]: account for account in bot.json("status")["accounts"]}
    assert (accounts["paris"]["state"], accounts["tokyo"]["state"]) == ("active", "stopped")
    assert cause in accounts["tokyo"]["stopped_reason"]
    assert "then run `meshibot resume`" in accounts["tokyo"]["stopped_reason"]
    assert fake_x.posts() == []

    assert "run `meshibot resume --account tokyo`" in said(bot)["account tokyo"]["says"]
    assert "may send again" in bot("resume").stderr
    run_until(bot, ("paris", "posted"), ("tokyo", "posted"))
    assert len(fake_x.posts()) == 1
    assert fake_x.requests("upload") == 1, "the picture that X has already is used"


def test_a_network_that_hangs_holds_up_no_other_account(bot: Command, fake_x: FakeX) -> None:
    bot = two_accounts(bot, fake_x)
    due(bot, "tokyo", "paris")
    fake_x.set_fault("upload", "hang", times=9)
    with bot.start("run") as daemon:
        try:
            wait_for(lambda: fake_x.requests("upload") == 1)
            due(bot, "paris")
            wait_for(lambda: ("paris", "posted") in posts(bot))
            assert posts(bot)[-1] == ("tokyo", "claimed")
        finally:
            daemon.kill()
        daemon.communicate(timeout=60)


def test_a_folder_that_can_not_be_written_stops_only_its_account(tmp_path: Path) -> None:
    clock = MovableClock()
    (tmp_path / "broken").write_text("no folder")
    publishers: dict[str, Publisher] = {
        "broken": FolderPublisher(tmp_path / "broken"),
        "sound": FolderPublisher(tmp_path / "sound"),
    }
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 2)
        channels = [channel(tmp_path, publisher, name) for name, publisher in publishers.items()]
        box = Outbox(database, channels=channels, clock=clock, elapsed=lambda: clock.elapsed)
        for name in publishers:
            slot(database, clock.now(), name)
            box.step(name)
        with database.read() as session:
            stopped = session.get_one(Account, "broken")
            assert stopped.state is AccountState.STOPPED
            assert stopped.stopped_reason is not None
            assert "run `meshibot resume`" in stopped.stopped_reason
            assert session.get_one(Account, "sound").state is AccountState.ACTIVE
        assert len(list((tmp_path / "sound").glob("*.json"))) == 1
        (tmp_path / "broken").unlink()
        assert people.resume(database, "broken")
        clock.move(minutes=2)  # until its network is asked again whose it is
        box.step("broken")
    assert len(list((tmp_path / "broken").glob("*.json"))) == 1


# ---- the network is gone, or nearly -------------------------------------------------------------


def steps(database: Database, folder: Path, publisher: Publisher, clock: MovableClock, count: int) -> Post:
    """Let a worker of its own do so many steps, half a minute apart."""
    box = Outbox(
        database,
        [channel(folder, publisher)],
        Policy(look_spread=timedelta(seconds=30)),
        clock,
        elapsed=lambda: clock.elapsed,
    )
    for _ in range(count):
        box.step("main")
        clock.move(seconds=50)
    publisher.close()
    return only_post(database)


def test_names_that_can_not_be_looked_up_only_delay_a_post(fake_x: FakeX, tmp_path: Path) -> None:
    clock = MovableClock(datetime.now(UTC))
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 1)
        slot(database, clock.now())
        lost = XPublisher(CREDENTIALS, api_base="http://no-such-host.invalid", timeouts=Timeouts(2, 2))
        with pytest.raises(NoResultFound):  # not even begun: whose the account is could not be asked
            steps(database, tmp_path, lost, clock, 2)
        post = steps(database, tmp_path, XPublisher(CREDENTIALS, api_base=fake_x.url), clock, 6)
        assert post.state is PostState.POSTED
    assert len(fake_x.posts()) == 1


@pytest.mark.parametrize(
    ("endpoint", "fault", "between"),
    [
        ("upload", "drip", PostState.RETRY),
        ("metadata", "drip", PostState.RETRY),
        ("tweets", "drip", PostState.UNKNOWN),
        ("tweets", "commit_then_drip", PostState.UNKNOWN),
    ],
)
def test_a_server_that_drips_a_byte_at_a_time(
    fake_x: FakeX, tmp_path: Path, endpoint: str, fault: str, between: PostState
) -> None:
    clock = MovableClock(datetime.now(UTC))
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 1)
        slot(database, clock.now())
        fake_x.set_fault(endpoint, fault, seconds=3600)

        def publisher() -> Publisher:
            return XPublisher(CREDENTIALS, api_base=fake_x.url, timeouts=Timeouts(5.0, 0.7))

        post = steps(database, tmp_path, publisher(), clock, 1)
        assert post.state is between
        assert post.reason is not None
        assert "took too long" in post.reason
        fake_x.set_fault("timeline", "drip", seconds=3600)
        post = steps(database, tmp_path, publisher(), clock, 8)
        assert post.state is PostState.POSTED
    assert len(fake_x.posts()) == 1


# ---- the clock ----------------------------------------------------------------------------------


@pytest.mark.parametrize("jumps", [(9000, -9000), (-9000, 9000), (30, -30, 30, -30), (-1, 1, 1, -1)])
def test_a_clock_that_jumps_there_and_back_costs_no_slot_to_come(
    tmp_path: Path, jumps: tuple[float, ...]
) -> None:
    clock = MovableClock()
    publisher = LedgerPublisher(Ledger(tmp_path / "ledger"), clock)
    schedule = Schedule("30 * * * *", UTC_ZONE)
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 20)
        daemon = Daemon(
            database, [channel(tmp_path, publisher, schedule=schedule)], lambda: None, clock=clock
        )
        box = daemon._outbox
        daemon.plan()
        for hours in jumps:
            clock.jump(hours=hours)
            daemon.plan()
            while box.step("main") is not None:
                pass
        before = len(publisher.ledger.posts())
        for minute in range(6 * 60):
            clock.move(minutes=1)
            if minute % 60 == 0:
                daemon.plan()
            while box.step("main") is not None:
                pass
        assert len(publisher.ledger.posts()) >= before + 5
        with database.read() as session:
            told = session.scalars(select(Slot.reason).where(Slot.state == "missed")).all()
            assert all(told)
            slots = session.scalars(select(Post.slot_id)).all()
            assert len(set(slots)) == len(slots) == len(publisher.ledger.posts())
            late = select(func.count(Slot.id)).where(Slot.state == "planned", Slot.due_at <= clock.now())
            assert session.scalar(late) == 0


# ---- two of everything --------------------------------------------------------------------------


def test_two_daemons_on_one_file_post_each_slot_once(bot: Command, fake_x: FakeX) -> None:
    names = ("a", "b", "c", "d")
    (bot.here / "meshibot.toml").write_text("".join(f"[accounts.{name}]\n" for name in names))
    settings = x_settings(fake_x, "a")
    bot = stocked(bot.having(settings), 12)
    due(bot, *names, ago=2)
    with bot.start("run") as first, bot.start("run") as second:
        try:
            wait_for(lambda: ask(bot, "SELECT count(*) FROM daemons WHERE stopped_at IS NULL") == [(2,)])
            due(bot, *names, ago=0)
            for daemon in (first, second):
                assert daemon.poll() is None
            wait_for(lambda: posts(bot)[:1] == [("a", "posted")] and len(posts(bot)) >= 4)
        finally:
            first.send_signal(signal.SIGTERM)
            second.send_signal(signal.SIGTERM)
        errors = [daemon.communicate(timeout=60)[1] for daemon in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], errors
    third = bot.start("run")
    with third:
        try:
            wait_for(lambda: posts(bot) == [(name, "posted") for name in names for _ in range(2)])
        finally:
            third.send_signal(signal.SIGTERM)
        third.communicate(timeout=60)
    assert len(fake_x.posts()) == 2
    assert len(list((bot.home / "posts").glob("*.json"))) == 6
    assert not any("Traceback" in error for error in errors)
