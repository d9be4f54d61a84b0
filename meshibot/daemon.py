"""`meshibot run`: writes slots ahead, posts what is due, keeps the stock full, until it is told to stop.

APScheduler is the wake-up clock and nothing more: its jobs live in memory, and what is due is in the
database. A job that comes late, twice or not at all changes nothing but the moment at which the database is
asked.
"""

import logging
import os
import random
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from types import FrameType

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from meshibot import __version__
from meshibot.clock import Clock, SystemClock
from meshibot.crashpoints import crash_point
from meshibot.database import queries
from meshibot.database.models import Daemon as DaemonRow
from meshibot.database.session import Database
from meshibot.errors import MeshibotError
from meshibot.outbox import Channel, Outbox, Policy
from meshibot.planner import write_slots

log = logging.getLogger(__name__)

POLL = timedelta(seconds=30)
"""The database is asked so often whatever the wake-up clock says: others write it too, and clocks jump."""
PLAN = timedelta(hours=1)
RESTOCK = timedelta(minutes=5)


class Every(BaseTrigger):  # type: ignore[misc]
    """Again, so long after the last time.

    APScheduler's own interval counts every time that went by: a clock that is set right by ten years would
    have it make a list of ten million.
    """

    def __init__(self, interval: timedelta) -> None:
        self.interval = interval

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """As APScheduler asks for it."""
        return now + self.interval


@dataclass
class Daemon:
    """The accounts of one process. `fill_stock` fills the stock up; it may raise MeshibotError."""

    database: Database
    channels: Sequence[Channel]
    fill_stock: Callable[[], object]
    policy: Policy = field(default_factory=Policy)
    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.SystemRandom)

    def __post_init__(self) -> None:
        self._id = uuid.uuid4().hex
        self._stop = threading.Event()
        self._outbox = Outbox(
            self.database, self.channels, self.policy, self.clock, self.rng, self._stop.is_set
        )
        self._locks = {channel.account: threading.Lock() for channel in self.channels}
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(2 * len(self.channels) + 3)},
            # An hour's sleep of the machine must not cost a job, and a queue of the same job helps nobody.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
            timezone="UTC",
        )

    def run(self) -> None:
        """Work until SIGTERM, SIGINT or `stop`; what is under way is finished or handed back.

        Raises MeshibotError for what makes a start impossible: a schedule that can't be read, a database that
        can't be written.
        """
        self.plan()
        self._say_hello()
        before = {
            number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            self._start_jobs()
            while not self._stop.wait(POLL.total_seconds()):
                self._bring_forward()
        finally:
            self._scheduler.shutdown(wait=True)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._say_goodbye()

    def stop(self) -> None:
        """End `run`; may be called from any thread."""
        self._stop.set()

    def stopping(self) -> bool:
        """Whether the end was asked for; a long job looks at it."""
        return self._stop.is_set()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        log.info("%s: finishing what is under way", signal.Signals(number).name)
        self.stop()

    def _start_jobs(self) -> None:
        add = self._scheduler.add_job
        self._scheduler.start()
        add(self._guarded(self.plan, "planning"), Every(PLAN))
        add(self._guarded(self._beat, "the heartbeat"), Every(POLL))
        add(self._guarded(self._restock, "filling the stock"), Every(RESTOCK))
        add(self._guarded(self._restock, "filling the stock"))
        for account in self._locks:
            work = self._guarded(partial(self._work, account), f"posting for {account}")
            add(work, Every(POLL))
            add(work)

    def _bring_forward(self) -> None:
        """Where the clock was set back, jobs would wait for as long as it was set back by."""
        now = datetime.now(UTC)
        for job in self._scheduler.get_jobs():
            if job.next_run_time > now + getattr(job.trigger, "interval", POLL):
                with suppress(JobLookupError):  # it has just run for the last time
                    job.modify(next_run_time=now)

    def _guarded(self, job: Callable[[], None], name: str) -> Callable[[], None]:
        """A job whose failure is logged; the next round tries again."""

        def guarded() -> None:
            if self._stop.is_set():
                return
            try:
                job()
            except MeshibotError as error:
                log.error("%s: %s", name, error)
            except Exception:
                log.exception("%s failed", name)

        return guarded

    def plan(self) -> None:
        """Write every account's slots up to the horizon."""
        for channel in self.channels:
            with self.database.write() as session:
                write_slots(session, channel.account, channel.schedule, self.clock.now(), self.rng)
                crash_point("before-plan")
            crash_point("after-plan")

    def _work(self, account: str) -> None:
        """Post what is due, then have the clock wake us for what comes due before the next round."""
        with self._locks[account]:
            while not self._stop.is_set() and self._outbox.step(account) is not None:
                pass
            at = self._outbox.next_moment(account)
            wait = POLL if at is None else at - self.clock.now()
        if wait < POLL and not self._stop.is_set():
            self._wake(account, wait)

    def _wake(self, account: str, wait: timedelta) -> None:
        self._scheduler.add_job(
            self._guarded(partial(self._work, account), f"posting for {account}"),
            "date",
            run_date=datetime.now(UTC) + wait,
            id=f"wake {account}",
            replace_existing=True,
            max_instances=3,  # it adds itself anew while it still counts as running
        )

    def _restock(self) -> None:
        self.fill_stock()
        for account in self._locks:
            self._work(account)  # a slot may have waited for it

    # ---- being seen -----------------------------------------------------------------------------

    def _say_hello(self) -> None:
        now = self.clock.now()
        with self.database.write() as session:
            queries.forget_daemons(session, now)
            session.add(
                DaemonRow(
                    id=self._id,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    version=__version__,
                    started_at=now,
                    seen_at=now,
                )
            )
        log.info("meshibot %s runs for %s", __version__, ", ".join(self._locks))

    def _beat(self) -> None:
        with self.database.write() as session:
            row = session.get(DaemonRow, self._id)
            if row is not None:
                row.seen_at = self.clock.now()

    def _say_goodbye(self) -> None:
        with self.database.write() as session:
            row = session.get(DaemonRow, self._id)
            if row is not None:
                row.seen_at = row.stopped_at = self.clock.now()
        log.info("meshibot has stopped")
