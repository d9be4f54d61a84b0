"""`meshibot run`: writes slots ahead, posts what is due, keeps the stock full, until it is told to stop.

Each account has a thread that waits for its bell, and looks again after a while in any case: what is due is
in the database, others write it too, and clocks jump. APScheduler is the wake-up clock: it rings an account's
bell at the moment of its next slot or try, and does nothing else.
"""

import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
from types import FrameType

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from meshibot import __version__, sdnotify
from meshibot.clock import Clock, SystemClock
from meshibot.crashpoints import crash_point
from meshibot.database.session import Database
from meshibot.errors import MeshibotError
from meshibot.outbox import Channel, Outbox, Policy
from meshibot.presence import Presence
from meshibot.slots.planner import write_slots

log = logging.getLogger(__name__)

POLL = timedelta(seconds=30)
"""The database is asked so often, whatever the wake-up clock says."""
PLAN = timedelta(hours=1)
RESTOCK = timedelta(minutes=5)
STUCK = timedelta(minutes=10)
"""An account whose thread did not come round for so long hangs: the requests of a post take half of it."""


def ending_signals() -> tuple[signal.Signals, ...]:
    """The signals that ask a daemon for its end: also that its terminal goes away, but under `nohup`."""
    told = (signal.SIGTERM, signal.SIGINT)
    return told if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (*told, signal.SIGHUP)


@dataclass(frozen=True)
class Task:
    """What is done at once, whenever its bell rings, and again after a while in any case."""

    name: str
    do: Callable[[], None]
    every: timedelta
    """By the monotonic clock."""
    bell: threading.Event = field(default_factory=threading.Event)


@dataclass
class Daemon:
    """The accounts of one process. `fill_stock` fills the stock up; it may raise MeshibotError."""

    database: Database
    channels: Sequence[Channel]
    fill_stock: Callable[[], object]
    policy: Policy = field(default_factory=Policy)
    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.SystemRandom)
    others: Sequence[Task] = ()
    """What else is done beside posting, each in a thread of its own."""

    def __post_init__(self) -> None:
        self._presence = Presence(self.database, self.clock)
        self._stop = threading.Event()
        # Its `put` is reentrant, which an event's `set` is not: a signal may come while the main thread waits
        # on it, or handles another, and what takes a lock there would wait for itself.
        self._end: SimpleQueue[int | None] = SimpleQueue()
        """The signals that ask for the end; None where `stop` does."""
        self._outbox = Outbox(
            self.database, self.channels, self.policy, self.clock, self.rng, self._stop.is_set
        )
        self._posting = {
            channel.account: Task(
                f"posting for {channel.account}", partial(self._work, channel.account), POLL
            )
            for channel in self.channels
        }
        self._restocking = Task("filling the stock", self._restock, RESTOCK)
        self._tasks = [*self._posting.values(), self._restocking, *self.others]
        self._rounds = dict.fromkeys((task.name for task in self._posting.values()), time.monotonic())
        """When each account's thread last began or ended a piece of work, by the monotonic clock."""
        self._alarm = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"misfire_grace_time": None},  # however late it is, it rings
            timezone="UTC",
        )

    def run(self) -> None:
        """Work until a signal of `ending_signals` or `stop`; what is under way is finished or handed back.

        Raises MeshibotError for what makes a start impossible: a schedule that can't be read, a database that
        can't be written.
        """
        self.plan()
        self._presence.begin()
        log.info("meshibot %s runs for %s", __version__, ", ".join(self._posting))
        for account in self._posting:
            at = self._outbox.next_slot(account)
            log.info("account %s: %s", account, f"the next slot is {at}" if at else "no slot is planned")
        before = {number: signal.signal(number, self._on_signal) for number in ending_signals()}
        threads = [threading.Thread(target=self._keep, args=(task,), name=task.name) for task in self._tasks]
        try:
            self._alarm.start()
            for thread in threads:
                thread.start()
            sdnotify.tell("READY=1", f"STATUS=Posting for {', '.join(self._posting)}")
            self._attend()
        finally:
            sdnotify.tell("STOPPING=1")
            self.stop()
            for thread in threads:
                thread.join()
            self._alarm.shutdown()
            self._presence.end()
            log.info("meshibot has stopped")
            # Last: some send a signal twice, and the second must not cut this short.
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """End `run`; may be called from any thread."""
        self._stop.set()
        for task in self._tasks:
            task.bell.set()
        self._end.put(None)

    def stopping(self) -> bool:
        """Whether the end was asked for; a long job looks at it."""
        return self._stop.is_set()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._end.put(number)

    def _attend(self) -> None:
        """What is short and regular, until the end."""
        planned = time.monotonic()
        while not self._is_over():
            self._try("the heartbeat", self._presence.beat)
            if self._comes_round():
                sdnotify.tell("WATCHDOG=1")
            if time.monotonic() >= planned + PLAN.total_seconds():
                planned = time.monotonic()
                self._try("planning", self.plan)

    def _is_over(self) -> bool:
        """Wait a while for somebody to ask for the end; whether one did."""
        try:
            number = self._end.get(timeout=POLL.total_seconds())
        except Empty:
            return False
        if number is not None:
            log.info("%s: finishing what is under way", signal.Signals(number).name)
        return True

    def _comes_round(self) -> bool:
        """Whether the thread of every account has worked lately; the watchdog hears of nothing else."""
        return all(time.monotonic() - at < STUCK.total_seconds() for at in self._rounds.values())

    def _keep(self, task: Task) -> None:
        """Do a task until the end."""
        while not self._stop.is_set():
            if task.name in self._rounds:
                self._rounds[task.name] = time.monotonic()
            task.bell.clear()  # before the work: who rings during it is heard after it
            self._try(task.name, task.do)
            if not self._stop.is_set():
                task.bell.wait(task.every.total_seconds())

    def _try(self, name: str, do: Callable[[], None]) -> None:
        """A failure is logged; the next round tries again."""
        try:
            do()
        except MeshibotError as error:
            log.error("%s: %s", name, error)
        except Exception:
            log.exception("%s failed", name)

    def plan(self) -> None:
        """Write every account's slots up to the horizon."""
        for channel in self.channels:
            with self.database.write() as session:
                write_slots(session, channel.account, channel.schedule, self.clock.now(), self.rng)
                crash_point("before-plan")
            crash_point("after-plan")

    def _work(self, account: str) -> None:
        """Post what is due, then have the clock ring for what comes due before the next round."""
        while not self._stop.is_set() and self._outbox.step(account) is not None:
            self._rounds[self._posting[account].name] = time.monotonic()
        at = self._outbox.next_moment(account)
        if at is not None and (wait := at - self.clock.now()) < POLL and not self._stop.is_set():
            self._alarm.add_job(
                self._posting[account].bell.set,
                "date",
                run_date=datetime.now(UTC) + wait,
                id=account,
                replace_existing=True,
            )

    def _restock(self) -> None:
        try:
            self.fill_stock()
        finally:
            for task in self._posting.values():
                task.bell.set()  # a slot may have waited for it
