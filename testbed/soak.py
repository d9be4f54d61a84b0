"""At most once, for a long time: daemons that are killed, a network that fails, and every slot accounted for.

Real daemons, processes of their own, work on one database. Their accounts are on fakes of the networks by
turns, each a process with a ledger of its own, which spoil a share of all requests in every way they know and
would take the same post twice where the network would. Every few seconds a daemon is killed and another one
started at once; every few seconds one is suspended beyond its lease, wherever it is, and wakes when others
have taken over its work. A person starts accounts that were stopped, and does nothing else. The delays of the
outbox are shrunk, its rules are not.
"""

import logging
import multiprocessing
import os
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from meshibot.daemon import Daemon
from meshibot.database import Account, AccountState, Database, Post, PostState, Slot, SlotState
from meshibot.database.migrate import upgrade
from meshibot.database.models import OPEN_STATES
from meshibot.outbox import Group, Policy, people
from meshibot.publishers.bluesky import KeptSession
from meshibot.publishers.transport import Timeouts
from meshibot.slots import Schedule, plan
from meshibot.slots.planner import HORIZON
from testbed.fakes.network import Fake
from testbed.fakes.x import FakeX
from testbed.ledger import UTC_ZONE, channel, stock
from testbed.publishers import at

POLICY = Policy(
    backoff=timedelta(seconds=0.3),
    backoff_limit=timedelta(seconds=3),
    lease=timedelta(seconds=4),
    look_interval=timedelta(seconds=0.5),
    look_spread=timedelta(seconds=6),
    spacing=timedelta(),
)
TIMEOUTS = Timeouts(connect=1.0, answer=1.5)
SLOW = 3.0
"""Seconds that the fake hangs or drips: longer than any timeout."""
LATE = 2.0
"""Seconds that a timeline is behind: shorter than the looks are spread."""
EVERY = 0.12
"""Seconds between two slots of all accounts."""
KILLS = (2.0, 6.0)
"""Seconds between two kills of three daemons, at least and at most; fewer live as long each."""
SLEEPS = (1.0, 4.0)
"""Seconds between two suspensions, at least and at most."""
ASLEEP = (5.0, 9.0)
"""Seconds that one lasts: longer than a lease, and than the looks take for one whose answer was lost."""
NO_PROGRESS = 180.0
"""Seconds without a slot that ended, after which what is left counts as stuck."""

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["meshibot.daemon", "meshibot.publishers.x.client", "testbed.ledger"])


@dataclass(frozen=True)
class Trial:
    """What is put to the test."""

    slots: int = 1000
    workers: int = 3
    accounts: int = 5
    share: float = 0.3
    """Of all requests that go wrong."""
    seed: int = 1
    networks: tuple[str, ...] = ("x",)
    """Of the accounts by turns."""
    group: bool = False

    @property
    def names(self) -> list[str]:
        """The accounts."""
        return [f"account{number}" for number in range(1, self.accounts + 1)]

    def network(self, name: str) -> str:
        """That of an account."""
        return self.networks[self.names.index(name) % len(self.networks)]


@dataclass
class Result:
    """What came of it. `ends` counts the slots by state and reason."""

    seconds: float = 0.0
    kills: int = 0
    suspensions: int = 0
    deaths: int = 0
    """Daemons that ended by themselves."""
    restarts_by_person: int = 0
    requests: int = 0
    faults: int = 0
    unexpected: int = 0
    """Tracebacks in the daemons' logs."""
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    posted_twice: list[str] = field(default_factory=list)
    without_reason: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)
    """The database says posted and the network doesn't know it, or the other way round."""

    @property
    def sound(self) -> bool:
        """Whether the promise was kept."""
        broken = (self.posted_twice, self.without_reason, self.stuck, self.untrue)
        return not any(broken) and self.deaths == self.unexpected == 0

    def table(self, title: str) -> str:
        """As Markdown."""
        states = Counter[str]()
        for (state, _), count in self.ends.items():
            states[state] += count
        rows: list[tuple[str, object]] = [("slots", sum(self.ends.values()))]
        for state, total in states.most_common():
            rows.append((state, total))
            reasons = [(why, count) for (of, why), count in self.ends.most_common() if of == state and why]
            rows += [(f"· {why}", count) for why, count in reasons]
        rows += [
            ("**posted twice**", f"**{len(self.posted_twice)}**"),
            ("**lost without a reason**", f"**{len(self.without_reason)}**"),
            ("**stuck**", f"**{len(self.stuck)}**"),
            ("**posted, and not known or said so**", f"**{len(self.untrue)}**"),
            ("daemons killed", self.kills),
            ("daemons suspended beyond their lease", self.suspensions),
            ("daemons that ended by themselves", self.deaths),
            ("unexpected exceptions in their logs", self.unexpected),
            ("stopped accounts started by the person", self.restarts_by_person),
            ("requests", self.requests),
            ("requests that went wrong", f"{self.faults} ({self.faults / max(1, self.requests):.0%})"),
            ("time", f"{self.seconds:.0f} s"),
        ]
        return "\n".join([f"| {title} | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)])


# ---- the network --------------------------------------------------------------------------------


Faults = list[dict[str, Any]]


def named(*faults: str) -> Faults:
    """Faults without options."""
    return [{"fault": fault} for fault in faults]


def common(stopping: Faults) -> Faults:
    """What may happen everywhere: quick faults often, those that take time or a person less often."""
    quick: list[dict[str, Any]] = [
        {"fault": name} for name in ("drop", "reset", "status", "garbage", "list", "empty", "truncated")
    ]
    quick += [{"fault": f"commit_then_{name}"} for name in ("drop", "reset", "status")]
    quick += [{"fault": "redirect"}, {"fault": "rate_limited", "headers": {}}]
    slow = [
        {"fault": name, "seconds": SLOW} for name in ("hang", "drip", "commit_then_hang", "commit_then_drip")
    ]
    limited = [{"fault": "rate_limited", "headers": {"retry-after": "1"}}]
    return 5 * quick + slow + stopping + limited


def faults(network: str) -> dict[str, Faults]:
    """What may happen at each endpoint of a network."""
    late: Faults = 10 * [{"fault": "late", "seconds": LATE}]
    match network:
        case "x":
            usual = common(named("no_credits", "revoked", "suspended", "locked", "missing_scope"))
            listed = named("list_error")
            return {
                "upload": usual + listed,
                "metadata": usual + listed,
                "tweets": usual + listed + named("duplicate"),
                "me": usual,
                "timeline": usual + late,
            }
        case "mastodon":
            usual = common(named("revoked", "suspended", "missing_scope", "blocked")) + named("html")
            return {
                "upload": usual + named("validation", "thumbnail", "too_large"),
                "probe": usual,
                "status": usual + named("validation", "commit_then_html"),
                "me": usual,
                "instance": usual,
                "timeline": usual + late,
            }
        case "bluesky":
            usual = common(named("revoked", "suspended", "deactivated")) + named("html", "expired")
            return {
                "upload": usual,
                "put": usual + named("validation", "blob_gone", "too_large", "commit_then_html"),
                "get": usual,
                "whoami": usual,
                "refresh": usual,
                "records": usual,
            }
        case "misskey":
            usual = common(named("revoked", "suspended", "role")) + named("html")
            return {
                "upload": usual + named("inappropriate", "full"),
                "note": usual + named("prohibited", "file_gone", "processing", "commit_then_html"),
                "me": usual,
                "meta": usual,
                "timeline": usual + late,
            }
    raise ValueError(network)


OPTIONS: Mapping[str, Mapping[str, object]] = {
    # one that ignores keys: nothing but the bot prevents a second post
    "mastodon": {"software": "gotosocial", "version": "0.20.0"},
    "misskey": {"capacity": 10**9},
}


@contextmanager
def networks(trial: Trial, folder: Path) -> Iterator[dict[str, FakeX | Fake]]:
    """A fake for each account: a timeline in which a hundred posts a minute are found in few pages."""
    with ExitStack() as stack:
        fakes: dict[str, FakeX | Fake] = {}
        for number, name in enumerate(trial.names):
            network = trial.network(name)
            fake: FakeX | Fake
            if network == "x":
                fake = fakes[name] = FakeX.begin(folder / name, user_id=str(1000 + number))
                fake.set_window(10**9)
            else:
                options: dict[str, Any] = {"account": f"fake{number:012d}", **OPTIONS.get(network, {})}
                fake = fakes[name] = Fake.start(network, folder / name, **options)
            stack.callback(fake.stop)
            chaos: Any = faults(network)
            fake.set_chaos(trial.share, trial.seed * 1000 + number, chaos)
        yield fakes


# ---- the daemons --------------------------------------------------------------------------------


def schedule_for(slots: int) -> Schedule:
    """A schedule with at least so many slots within the horizon: the daemon's planner must agree to them."""
    step = max(step for step in (1, 2, 5, 10, 15, 20, 30) if HORIZON / timedelta(minutes=step) > slots + 2)
    return Schedule(f"*/{step} * * * *", UTC_ZONE)


def work(folder: Path, url: str, trial: Trial, addresses: Mapping[str, str], schedule: Schedule) -> None:
    """What a worker is: `meshibot run` with the delays of this benchmark."""
    logging.basicConfig(
        filename=folder / "daemons.log",
        level=logging.INFO,
        format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    group = Group("all", tuple(addresses)) if trial.group else None
    with Database.open(url) as database:
        channels = []
        for name, address in addresses.items():
            how: dict[str, Any] = {"timeouts": TIMEOUTS}
            if trial.network(name) == "bluesky":
                how["kept"] = KeptSession(folder / name / "servers" / "session", name)
            publisher = at(trial.network(name), address, **how)
            channels.append(replace(channel(folder, publisher, name, schedule=schedule), group=group))
        Daemon(database, channels, lambda: None, POLICY).run()


@dataclass
class Crew:
    """Keeps so many workers alive, and kills them."""

    arguments: tuple[object, ...]
    size: int
    rng: random.Random
    kills: int = 0
    suspensions: int = 0
    deaths: int = 0

    def __post_init__(self) -> None:
        self._workers = [self._start() for _ in range(self.size)]
        self._next = time.monotonic() + self.rng.uniform(*KILLS) * max(1.0, 3 / self.size)
        self._asleep: ForkServerProcess | None = None
        self._turn = time.monotonic() + self.rng.uniform(*SLEEPS)
        """When the one that is suspended wakes, or else when the next one is."""
        self._dismissed = threading.Event()
        self._thread = ThreadPoolExecutor(1)
        self._tending = self._thread.submit(self._tend)

    def _start(self) -> ForkServerProcess:
        worker = processes.Process(target=work, args=self.arguments)
        worker.start()
        return worker

    def _suspend_or_wake(self) -> None:
        if time.monotonic() < self._turn:
            return
        if self._asleep is not None:
            _signal(self._asleep, signal.SIGCONT)
            self._asleep = None
            self._turn = time.monotonic() + self.rng.uniform(*SLEEPS)
        else:
            self._asleep = self.rng.choice(self._workers)
            self.suspensions += _signal(self._asleep, signal.SIGSTOP)
            self._turn = time.monotonic() + self.rng.uniform(*ASLEEP)

    def _tend(self) -> None:
        # In a thread of its own: a worker may be suspended while it holds SQLite's lock, and the person's
        # thread, which waits for that lock, could not wake it.
        while not self._dismissed.wait(0.05):
            self._suspend_or_wake()
            self._replace()

    def _replace(self) -> None:
        """Kill one where it is time, and replace the dead."""
        if time.monotonic() >= self._next:
            victim = self.rng.randrange(self.size)
            self._workers[victim].kill()
            self._workers[victim].join()
            self._workers[victim] = self._start()
            self.kills += 1
            self._next = time.monotonic() + self.rng.uniform(*KILLS) * max(1.0, 3 / self.size)
        for place, worker in enumerate(self._workers):
            if not worker.is_alive():
                self.deaths += 1
                self._workers[place] = self._start()

    def dismiss(self) -> None:
        """End them as a person would; one that does not end well counts as a death.

        SIGTERM itself may end one that has only just been started: it has nothing under way.
        """
        self._dismissed.set()
        self._thread.shutdown()
        for worker in self._workers:
            _signal(worker, signal.SIGCONT)
            worker.terminate()
        for worker in self._workers:
            worker.join(60)
            if worker.exitcode not in (0, -signal.SIGTERM):
                self.deaths += 1
                worker.kill()
                worker.join()
        self._tending.result()


def _signal(worker: ForkServerProcess, number: signal.Signals) -> bool:
    """Whether it was there to get it."""
    if worker.pid is None or not worker.is_alive():
        return False
    try:
        os.kill(worker.pid, number)
    except ProcessLookupError:
        return False
    return True


# ---- the soak -----------------------------------------------------------------------------------


def soak(trial: Trial, url: str, folder: Path) -> Result:
    """Run it on an empty database at `url`; logs and ledgers are left in `folder`."""
    upgrade(url)
    per_account = -(-trial.slots // trial.accounts)
    schedule = schedule_for(per_account)
    with networks(trial, folder) as fakes, Database.open(url) as database:
        stock(database, folder, trial.slots + 100)
        last = plan_slots(database, trial, schedule)
        began = time.monotonic()
        addresses = {name: fake.url for name, fake in fakes.items()}
        crew = Crew((folder, url, trial, addresses, schedule), trial.workers, random.Random(trial.seed))
        result = Result()
        try:
            wait_for_the_end(database, crew, result, last)
        finally:
            crew.dismiss()
        result.seconds = time.monotonic() - began
        result.kills, result.deaths, result.suspensions = crew.kills, crew.deaths, crew.suspensions
        log = (folder / "daemons.log").read_text(encoding="utf-8")
        result.unexpected = log.count("Traceback (most recent call last)")
        account_for(database, fakes, result, last)
    return result


def plan_slots(database: Database, trial: Trial, schedule: Schedule) -> datetime:
    """The next slots of a real schedule, due one after the other from now on; when the last one is due."""
    now = datetime.now(UTC)
    moments = plan(schedule.cron, schedule.tz, now + timedelta(minutes=1), HORIZON / timedelta(days=1))
    with database.write() as session:
        for name in trial.names:
            session.add(Account(name=name, publisher=trial.network(name)))
        session.flush()
        for number in range(trial.slots):
            name = trial.names[number % trial.accounts]
            slot = moments[number // trial.accounts]
            due = now + timedelta(seconds=EVERY * number)
            session.add(Slot(account=name, key=slot.key(name), due_at=due, local=slot.local))
    return due


def wait_for_the_end(database: Database, crew: Crew, result: Result, last: datetime) -> None:
    """Until no slot is open any more, or nothing has moved for long. The person looks in every second."""
    left, since = -1, time.monotonic()
    while time.monotonic() - since < NO_PROGRESS:
        time.sleep(1)
        with database.read() as session:
            stopped = select(Account.name).where(Account.state == AccountState.STOPPED)
            for name in session.scalars(stopped).all():
                result.restarts_by_person += people.resume(database, name)
        now_left = count_open(database, last)
        if now_left == 0:
            return
        if now_left != left:
            left, since = now_left, time.monotonic()
            print(
                f"\r{left} slots are open, {crew.kills} kills, {crew.suspensions} suspensions ",
                end="",
                file=sys.stderr,
                flush=True,
            )


def count_open(database: Database, last: datetime) -> int:
    """Slots that have not come to an end."""
    with database.read() as session:
        planned = select(func.count()).where(Slot.state == SlotState.PLANNED, Slot.due_at <= last)
        unfinished = select(func.count()).where(Post.state.in_(OPEN_STATES))
        return (session.scalar(planned) or 0) + (session.scalar(unfinished) or 0)


# ---- accounting ---------------------------------------------------------------------------------


def account_for(
    database: Database, fakes: Mapping[str, FakeX | Fake], result: Result, last: datetime
) -> None:
    """Compare what the database says of every slot with what the networks have."""
    there = {name: {post["id"]: post["text"] for post in fake.posts()} for name, fake in fakes.items()}
    for name, posts in there.items():
        texts = Counter(posts.values())
        result.posted_twice += [f"{name}: {text} ×{count}" for text, count in texts.items() if count > 1]
    for fake in fakes.values():
        requests = fake.ledger("request")
        result.requests += len(requests)
        result.faults += sum(entry["fault"] is not None for entry in requests)
    with database.read() as session:
        rows = session.execute(
            select(Slot, Post).outerjoin(Post, Post.slot_id == Slot.id).where(Slot.due_at <= last)
        ).all()
    for slot, post in rows:
        _account_for_slot(slot, post, there[slot.account], result)


def _account_for_slot(slot: Slot, post: Post | None, there: Mapping[str, str], result: Result) -> None:
    state: str = slot.state if post is None else post.state
    reason = slot.reason if post is None else post.reason
    result.ends[state, "" if state == PostState.POSTED else _kind_of(reason or "")] += 1
    if (slot.state is SlotState.TAKEN) != (post is not None):
        result.without_reason.append(f"{slot.key}: {slot.state}, and {'no' if post is None else 'a'} post")
    elif state in (SlotState.PLANNED, *OPEN_STATES):
        result.stuck.append(f"{slot.key}: {state}, {reason}")
    elif state != PostState.POSTED and not reason:
        result.without_reason.append(f"{slot.key}: {state}")
    if post is None:
        return
    posted = post.state is PostState.POSTED
    if posted and there.get(post.remote_id or "") != post.caption:
        result.untrue.append(f"{slot.key}: said to be posted as {post.remote_id}")
    elif not posted and post.state is not PostState.NEEDS_PERSON and post.caption in there.values():
        result.untrue.append(f"{slot.key}: {post.state}, and yet it is posted")


def _kind_of(reason: str) -> str:
    """A reason without what differs from post to post."""
    given_up = re.search(r"(Given up after|given up after|Its grace|its grace).*", reason)
    if given_up is not None:
        return given_up[0][0].upper() + given_up[0][1:]
    return re.split(r" \(|[:;]|\.( |$)", reason)[0]
