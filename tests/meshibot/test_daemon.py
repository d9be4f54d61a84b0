"""The daemon, as a process of its own: it posts on time, is seen, and ends cleanly."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from sqlalchemy import select

from meshibot import daemon as daemon_module
from meshibot.clock import SystemClock
from meshibot.daemon import Daemon, ending_signals
from meshibot.database import Account, Database, Post, PostState, Slot, SlotState
from meshibot.database import Daemon as DaemonRow
from meshibot.errors import UsageError
from meshibot.slots import Schedule
from testbed.homes import living_daemons, run_beside, wait_for
from testbed.ledger import UTC_ZONE, Ledger, LedgerPublisher, channel, new_database, slot, stock

DAEMON = """
import logging, signal, sys
from datetime import timedelta
from pathlib import Path
from meshibot.daemon import Daemon
from meshibot.database import Database
from meshibot.errors import MeshibotError
from meshibot.slots import Schedule
from testbed.ledger import UTC_ZONE, Ledger, LedgerPublisher, ShiftedClock, channel, stock

folder, cron, clock = Path(sys.argv[1]), sys.argv[2], ShiftedClock(timedelta(seconds=float(sys.argv[3])))
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
logging.basicConfig(level=logging.INFO)
publisher = LedgerPublisher(Ledger(folder / "ledger"), clock)
with Database.open(f"sqlite:///{folder / 'bot.sqlite'}") as database:
    def fill():
        raise MeshibotError("The stock can't be filled in this test.")

    schedule = Schedule(cron, UTC_ZONE)
    Daemon(
        database,
        [channel(folder, publisher, name, schedule=schedule) for name in ("main", "two")],
        fill,
        clock=clock,
    ).run()
print("torch" in sys.modules, "tweepy" in sys.modules, "PIL" in sys.modules)
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with new_database(tmp_path) as database:
        yield database


def posted(database: Database) -> int:
    with database.read() as session:
        return len(session.scalars(select(Post).where(Post.state == PostState.POSTED)).all())


def lives(database: Database, now: datetime) -> bool:
    with database.read() as session:
        return bool(living_daemons(session, now))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_posts_when_a_slot_comes_due_and_ends_cleanly(
    database: Database, tmp_path: Path, end: signal.Signals
) -> None:
    stock(database, tmp_path, 2)
    now = datetime.now(UTC)
    due = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    shift = due - timedelta(seconds=4) - now
    with database.write() as session:
        for name in ("main", "two"):
            # A daemon that needs longer to start finds the slot all the same.
            session.add(Account(name=name, publisher="ledger", planned_until=due - timedelta(minutes=1)))
    arguments = [str(tmp_path), f"{due.minute} {due.hour} * * *", str(shift.total_seconds())]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", DAEMON, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_for(lambda: lives(database, datetime.now(UTC) + shift))
            wait_for(lambda: posted(database) == 2)
        finally:
            process.send_signal(end)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out.split() == ["False", "False", "False"]
    assert not lives(database, datetime.now(UTC) + shift)
    with database.read() as session:
        assert all(account.lease_owner is None for account in session.scalars(select(Account)))
        posts = session.scalars(select(Post)).all()
        assert all(post.sent_at is not None and post.sent_at >= due for post in posts)
        assert session.scalars(select(DaemonRow)).one().stopped_at is not None
    assert len(Ledger(tmp_path / "ledger").posts()) == 2


def test_under_nohup_it_goes_on_without_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in ending_signals()
    finally:
        signal.signal(signal.SIGHUP, before)


def in_process(database: Database, folder: Path, cron: str, fill: Callable[[], object]) -> Daemon:
    publisher = LedgerPublisher(Ledger(folder / "ledger"), SystemClock())
    return Daemon(database, [channel(folder, publisher, schedule=Schedule(cron, UTC_ZONE))], fill)


def test_planning_writes_slots_ahead(database: Database, tmp_path: Path) -> None:
    daemon = in_process(database, tmp_path, "0 * * * *", lambda: None)
    daemon.plan()
    daemon.plan()
    with database.read() as session:
        slots = session.scalars(select(Slot)).all()
    assert len(slots) in (48, 49)
    assert {row.state for row in slots} == {SlotState.PLANNED}


def test_a_bad_schedule_stops_the_start(database: Database, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SCHEDULE"):
        in_process(database, tmp_path, "nonsense", lambda: None).run()


def test_a_slot_that_waits_for_the_stock_is_posted_when_it_is_filled(
    database: Database, tmp_path: Path
) -> None:
    """And a filling that fails in whatever way does not end the daemon."""
    fillings = 0

    def fill() -> None:
        nonlocal fillings
        fillings += 1
        if fillings == 1:
            daemon._restocking.bell.set()
            raise ZeroDivisionError
        stock(database, tmp_path, 1)
        threading.Thread(target=end).start()

    def end() -> None:
        wait_for(lambda: posted(database) == 1)
        daemon.stop()

    daemon = in_process(database, tmp_path, "0 0 1 1 *", fill)
    slot(database, datetime.now(UTC))  # past already: the schedule's change does not touch it
    daemon.run()
    assert fillings == 2
    assert posted(database) == 1


class WallClock(datetime):
    """The machine's clock, which somebody sets."""

    set_by = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "WallClock":
        return super().now(tz) + cls.set_by


@pytest.mark.parametrize("by", [timedelta(days=-2), timedelta(days=365 * 30)])
def test_a_clock_that_is_set_right_does_not_stop_the_looks(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: timedelta
) -> None:
    """What wakes the daemon goes by that clock."""
    monkeypatch.setattr(daemon_module, "POLL", timedelta(seconds=0.2))
    monkeypatch.setattr("apscheduler.schedulers.base.datetime", WallClock)
    monkeypatch.setattr("meshibot.daemon.datetime", WallClock)
    stock(database, tmp_path, 2)
    daemon = in_process(database, tmp_path, "0 0 29 2 *", lambda: None)

    def story() -> None:
        wait_for(lambda: lives(database, datetime.now(UTC)))
        for number, shift in enumerate((timedelta(), by), start=1):
            monkeypatch.setattr(WallClock, "set_by", shift)
            slot(database, datetime.now(UTC))
            wait_for(lambda number=number: posted(database) == number)  # type: ignore[misc]

    run_beside(daemon, story)
    assert posted(database) == 2


class SignalledLock:
    """A lock that its process gets a signal with, each time that the main thread takes it.

    Whoever takes it again in the handler of that signal would wait for itself: here it is noted instead.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self.times = 0
        self.waits_for_itself = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if threading.current_thread() is not threading.main_thread():
            return self._lock.acquire(blocking, timeout)
        if self._depth > 0 and not blocking:
            return False
        if self._depth == 0 and not self._lock.acquire(blocking, timeout):
            return False
        self.waits_for_itself |= self._depth > 0
        self._depth += 1
        self.times += 1
        if self._depth == 1:
            signal.raise_signal(signal.SIGTERM)
        return True

    def release(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth -= 1
            if self._depth > 0:
                return
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def test_a_signal_may_come_at_any_moment_and_again(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also while the main thread holds a lock that whoever asks for the end needs."""
    caplog.set_level("INFO", "meshibot.daemon")

    def tell_twice() -> None:
        time.sleep(0.3)  # or the main thread would hear of it before it waits
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)

    daemon = in_process(database, tmp_path, "0 0 29 2 *", tell_twice)
    locks = []
    for event in (daemon._stop, *(task.bell for task in daemon._tasks)):
        locks.append(SignalledLock())
        event._cond = threading.Condition(locks[-1])  # type: ignore[attr-defined, arg-type]
    daemon.run()
    assert [(lock.times > 0, lock.waits_for_itself) for lock in locks] == [(True, False)] * len(locks)
    assert caplog.messages[-2:] == ["SIGTERM: finishing what is under way", "meshibot has stopped"]
    assert not lives(database, datetime.now(UTC))
