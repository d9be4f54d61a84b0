"""A bad year in an hour: faults, crashes, jumping clocks, several workers and a person, in every order.

The invariants are the promise: never two posts for a slot, none without its picture, and in the end no slot
without an end state and, if it was not posted, a reason.
"""

import random
import shutil
import tempfile
from collections import Counter, deque
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from meshibot import outbox
from meshibot.crashpoints import crash_point
from meshibot.database import Account, AccountState, Database, Post, PostState, Slot, SlotState
from meshibot.errors import NeedsPerson, NothingToDo
from meshibot.outbox import CRASH_POINTS, Outbox, Policy, people
from meshibot.outbox.claim import is_free
from meshibot.publishers.base import Sent
from meshibot.slots import Schedule
from testbed.ledger import (
    UTC_ZONE,
    Killed,
    Ledger,
    LedgerPublisher,
    MovableClock,
    RecordPublisher,
    channel,
    new_database,
    slot,
    stock,
)

FINAL = {PostState.POSTED, PostState.REJECTED, PostState.MISSED}
REFUSALS = ["later", "limited", "rejected", "stopped", "bug", "killed"]
UPLOAD_FAULTS = st.sampled_from(["fine"] * 8 + REFUSALS)
SEND_FAULTS = st.sampled_from(
    ["fine"] * 8
    + REFUSALS
    + ["unclear", "lost", "garbage", "killed-after", "lost", "killed-after", "duplicate"]
)
JUMPS = st.sampled_from([10.0, 400.0, 400.0, 90_000.0, -90_000.0])
FIND_FAULTS = st.sampled_from(["fine"] * 6 + ["later", "limited", "stopped", "bug", "killed"])


class OutboxMachine(RuleBasedStateMachine):
    """Three workers on one database, and one account."""

    publisher_class: ClassVar[type[LedgerPublisher]] = LedgerPublisher

    def open_database(self) -> Database:
        return new_database(self.folder)

    def open_ledger(self) -> Any:
        return Ledger(self.folder / "ledger")

    def open_publisher(self) -> Any:
        return self.publisher_class(self.ledger, self.clock)

    @initialize(budget=st.sampled_from([None, None, 3]))
    def start(self, budget: int | None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.clock = MovableClock()
        self.database = self.open_database()
        self.ledger = self.open_ledger()
        self.schedule = Schedule("* * * * *", UTC_ZONE, daily_budget=budget)
        self.crash_at = ""
        self.stocked = 0
        self.fault = Counter[str]()
        outbox.crash_point = self.crash_point
        self.publishers = [self.open_publisher() for _ in range(3)]
        self.workers = [self.worker(number) for number in range(3)]
        self.fill(3)

    def worker(self, number: int) -> Outbox:
        clock = self.clock
        return Outbox(
            self.database,
            [channel(self.folder, self.publishers[number], schedule=self.schedule)],
            Policy(),
            clock,
            random.Random(number),
            elapsed=lambda: clock.elapsed,
        )

    def crash_point(self, name: str) -> None:
        if name == self.crash_at:
            self.crash_at = ""
            raise Killed

    def teardown(self) -> None:
        if not hasattr(self, "workers"):
            return
        try:
            self.heal_and_check()
        finally:
            outbox.crash_point = crash_point
            self.database.close()
            shutil.rmtree(self.folder)

    # ---- what happens ---------------------------------------------------------------------------

    @rule(minutes=st.sampled_from([0, 0, 0, 0, -3, -60, -150, 2, 30]), seconds=st.integers(0, 59))
    def plan(self, minutes: int, seconds: int) -> None:
        due = self.clock.now() + timedelta(minutes=minutes, seconds=seconds)
        with self.database.read() as session:
            taken = session.scalar(select(Slot.id).where(Slot.due_at == due.replace(microsecond=0)))
        if taken is None:
            slot(self.database, due)

    def fill(self, count: int) -> None:
        self.stocked += 1
        stock(self.database, self.folder, count, seed=self.stocked)

    def lose_a_picture(self) -> None:
        file = next(iter(sorted(self.folder.glob("picture-*.png"))), None)
        if file is not None:
            file.unlink()

    @rule(
        number=st.integers(0, 2),
        upload=UPLOAD_FAULTS,
        send=SEND_FAULTS,
        find=FIND_FAULTS,
        lag=st.sampled_from([0.0, 0.0, 20.0, 70.0]),
        crash_at=st.sampled_from([""] * len(CRASH_POINTS) + list(CRASH_POINTS)),
        meanwhile=st.none() | st.tuples(st.sampled_from(["upload", "fence", "send", "find"]), JUMPS),
    )
    def step(
        self,
        number: int,
        upload: str,
        send: str,
        find: str,
        lag: float,
        crash_at: str,
        meanwhile: tuple[str, float] | None,
    ) -> None:
        publisher = self.publishers[number]
        publisher.faults = {"upload": deque([upload]), "send": deque([send]), "find": deque([find])}
        publisher.lag = lag
        self.crash_at = crash_at
        if meanwhile is not None:
            publisher.during[meanwhile[0]] = lambda: self.others(number, meanwhile[1])
        self.alive(number)

    @rule(number=st.integers(0, 2))
    def step_calmly(self, number: int) -> None:
        self.publishers[number].faults = {"upload": deque(), "send": deque(), "find": deque()}
        self.alive(number)

    @rule(
        number=st.integers(0, 2),
        fault=st.sampled_from(["lost", "killed-after"]),
        lag=st.sampled_from([0.0, 70.0]),
    )
    def step_and_lose_the_answer(self, number: int, fault: str, lag: float) -> None:
        self.publishers[number].faults = {"upload": deque(), "send": deque([fault]), "find": deque()}
        self.publishers[number].lag = lag
        self.alive(number)

    def others(self, number: int, jump: float) -> None:
        """Another process works, under another time, while a request is under way."""
        self.clock.jump(seconds=jump)
        self.clock.move(seconds=20)
        self.crash_at = ""
        self.alive((number + 1) % 3)

    def alive(self, number: int) -> None:
        """Let a worker do one step; if that kills it, a new one takes its place."""
        try:
            self.workers[number].step("main")
        except Killed:
            self.workers[number] = self.worker(number)
        finally:
            self.crash_at = ""

    @rule(seconds=st.sampled_from([1, 20, 31, 31, 31, 400]))
    def time_goes_by(self, seconds: int) -> None:
        self.clock.move(seconds=seconds)

    @rule(number=st.integers(0, 2))
    def minutes_of_work(self, number: int) -> None:
        for _ in range(6):
            self.clock.move(seconds=31)
            self.step_calmly(number)

    @rule(hours=st.sampled_from([0.1, -0.1, 1, -1, 2.5, -2.5, 24, -24, 9000, -9000]))
    def clock_jumps(self, hours: float) -> None:
        self.clock.jump(hours=hours)

    @rule(
        event=st.sampled_from(["fill", "lose", "post", "start", "resolve", "hours"]), number=st.integers(0, 2)
    )
    def something_else(self, event: str, number: int) -> None:
        match event:
            case "fill":
                self.fill(2)
            case "lose":
                self.lose_a_picture()
            case "post":
                self.post_now(number)
            case "start":
                self.person_starts_the_account()
            case "resolve":
                self.person_resolves()
            case "hours":
                self.clock.move(hours=2.2)

    def post_now(self, number: int) -> None:
        try:
            people.post_now(self.workers[number], "main", patience=timedelta())
        except (NothingToDo, NeedsPerson):
            pass
        except Killed:
            self.workers[number] = self.worker(number)

    def person_starts_the_account(self) -> None:
        people.resume(self.database, "main", clock=self.clock)

    def person_resolves(self) -> None:
        """A person looks, and sees what is there."""
        for post in self.of_state(PostState.NEEDS_PERSON):
            there = [line["id"] for line in self.ledger.posts() if line["text"] == post.caption]
            found = Sent(there[0], "") if there else None
            people.resolve(self.database, post.id, posted=found, clock=self.clock)

    # ---- what must hold -------------------------------------------------------------------------

    @invariant()
    def at_most_one_post_for_a_slot(self) -> None:
        texts = Counter(line["text"] for line in self.ledger.posts())
        assert all(count == 1 for count in texts.values()), texts

    @invariant()
    def what_is_said_to_be_posted_is(self) -> None:
        there = {line["id"]: line for line in self.ledger.posts()}
        for post in self.of_state(PostState.POSTED):
            assert post.remote_id is not None
            assert there[post.remote_id]["text"] == post.caption
            assert post.media_ids

    def of_state(self, state: PostState) -> list[Post]:
        with self.database.read() as session:
            return list(session.scalars(select(Post).where(Post.state == state)))

    def heal_and_check(self) -> None:
        """The faults end, time goes by, and a person helps: then everything has come to an end."""
        for publisher in self.publishers:
            publisher.faults = {"upload": deque(), "send": deque(), "find": deque()}
            publisher.during, publisher.lag = {}, 0.0
        self.crash_at = ""
        self.clock.move(seconds=200)
        for _ in range(60):
            self.person_starts_the_account()
            for _ in range(8):
                self.alive(0)
                self.clock.move(seconds=31)
            self.person_resolves()
            if not self.open_ends():
                break
            self.clock.move(minutes=50)  # up to 25 hours of a rate limit, after a jump back
        assert self.open_ends() == []
        self.at_most_one_post_for_a_slot()
        self.what_is_said_to_be_posted_is()
        posted = {post.remote_id for post in self.of_state(PostState.POSTED)}
        assert posted == {line["id"] for line in self.ledger.posts()}
        with self.database.read() as session:
            account = session.get_one(Account, "main")
            assert account.state is AccountState.ACTIVE
            # or over: of a process that died when another one had ended the last work for it
            assert is_free(account, self.clock.now(), Policy().lease)
            posts = {post.slot_id: post for post in session.scalars(select(Post))}
            for row in session.scalars(select(Slot)):
                assert (row.id in posts) == (row.state is SlotState.TAKEN)
                assert row.state is not SlotState.MISSED or row.reason
            assert all(post.reason or post.state is PostState.POSTED for post in posts.values())

    def open_ends(self) -> list[str]:
        now = self.clock.now().astimezone(UTC)
        with self.database.read() as session:
            planned = session.scalars(select(Slot).where(Slot.state == SlotState.PLANNED, Slot.due_at <= now))
            unfinished = session.scalars(select(Post).where(Post.state.not_in(FINAL)))
            return [f"slot {row.key}" for row in planned] + [
                f"post {row.id} {row.state}" for row in unfinished
            ]


class RecordMachine(OutboxMachine):
    """The same, where the network writes under a name that the caller chose."""

    publisher_class = RecordPublisher
