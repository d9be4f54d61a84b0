"""Leases, and the fence: who lost a claim changes nothing any more."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import select

from meshibot.database import (
    Account,
    Database,
    Event,
    Outcome,
    Phase,
    Post,
    PostState,
)
from meshibot.errors import DatabaseFailure
from meshibot.outbox import Order, Outbox, Policy, Words, people
from meshibot.outbox.claim import is_free
from meshibot.publishers.base import Draft, Fence, MediaRef, Sent, unfenced
from testbed.ledger import (
    NOON,
    Killed,
    Ledger,
    LedgerPublisher,
    MovableClock,
    OneDue,
    channel,
    outbox,
    slot,
    stock,
)
from tests.meshibot.outbox.asking import attempts, look_until_settled, only_post, picture_states, the_account


def test_an_answer_that_comes_after_a_takeover_still_counts(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    first, second = (one_due(publisher) for _ in range(2))

    def meanwhile() -> None:
        clock.move(minutes=6)
        second.step("main")
        assert only_post(database).state is PostState.UNKNOWN

    publisher.during["send"] = meanwhile
    first.step("main")
    assert only_post(database).state is PostState.POSTED
    assert second.step("main") is None
    assert len(publisher.ledger.posts()) == 1


def test_a_claim_that_was_taken_over_changes_nothing(
    one_due: OneDue, database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """The first worker comes back from its upload after the second has posted: it must not send."""
    second = one_due(publisher)
    good = channel(tmp_path, publisher)

    def slow(order: Order, words: Words) -> Path:
        clock.move(minutes=6)
        second.step("main")
        return good.prepare(order, words)

    Outbox(database, channels=[replace(good, prepare=slow)], clock=clock).step("main")
    assert publisher.calls.count("send") == 1
    assert only_post(database).state is PostState.POSTED


def test_clocks_that_differ_a_little_break_no_lease(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 1)
    slot(database, NOON - timedelta(minutes=5))
    second = outbox(database, tmp_path, publisher)
    good = channel(tmp_path, publisher)

    def meanwhile(order: Order, words: Words) -> Path:
        for seconds in (-90, 180):
            clock.jump(seconds=seconds)
            assert second.step("main") is None
        return good.prepare(order, words)

    Outbox(database, channels=[replace(good, prepare=meanwhile)], clock=clock).step("main")
    assert only_post(database).state is PostState.POSTED


@pytest.mark.parametrize(
    ("owner", "ends_in", "free"),
    [
        (None, timedelta(minutes=1), True),
        ("a worker", timedelta(seconds=1), False),
        ("a worker", timedelta(), True),
        ("a worker", 2 * Policy().lease, False),
        ("a worker", 2 * Policy().lease + timedelta(seconds=1), True),
        ("a worker", None, True),
    ],
)
def test_a_lease_ends_by_itself_and_none_is_longer_than_two(
    owner: str | None, ends_in: timedelta | None, free: bool
) -> None:
    """One that seems to be was taken under a clock that had run ahead."""
    ends = None if ends_in is None else NOON + ends_in
    account = Account(name="main", publisher="ledger", lease_owner=owner, lease_expires_at=ends)
    assert is_free(account, NOON, Policy().lease) is free


def test_a_lease_is_as_long_again_after_each_commit_under_it(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """Or a slow upload would leave the request no time."""
    lease = Policy().lease
    ends = []

    def upload_slowly() -> None:
        ends.append(the_account(database).lease_expires_at)
        clock.move(minutes=4)

    publisher.during["upload"] = upload_slowly
    publisher.during["send"] = lambda: ends.append(the_account(database).lease_expires_at)
    one_due(publisher).step("main")
    assert ends == [NOON + lease, NOON + timedelta(minutes=4) + lease]


def test_who_lost_a_post_gives_the_account_back(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """The first answer comes late, while another process looks for the post."""
    first, second = (one_due(publisher) for _ in range(2))

    def land() -> None:
        with database.write() as session:
            post = session.scalars(select(Post)).one()
            post.state, post.remote_id, post.lease_owner = PostState.POSTED, "r1", None
            post.version += 1

    publisher.faults["send"].append("lost")
    first.step("main")
    publisher.during["find"] = land
    second.step("main")
    assert the_account(database).lease_owner is None
    assert only_post(database).state is PostState.POSTED


@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(days=-400)])
def test_waits_and_leases_survive_a_clock_that_was_wrong(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock, jump: timedelta
) -> None:
    stock(database, tmp_path, 2)
    clock.time = NOON + jump
    publisher.faults["upload"].append("killed")
    slot(database, clock.now())
    with pytest.raises(Killed):
        outbox(database, tmp_path, publisher).step("main")
    clock.time = NOON
    slot(database, NOON)
    box = outbox(database, tmp_path, publisher)
    while box.step("main") is not None:
        clock.move(minutes=6)
    with database.read() as session:
        states = {post.state for post in session.scalars(select(Post))}
    assert states <= {PostState.POSTED, PostState.MISSED}
    assert len(publisher.ledger.posts()) >= 1


@pytest.mark.parametrize("woken", ["by a lease that is over", "by another's work"])
def test_a_worker_that_was_suspended_before_its_request_sends_nothing(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock, woken: str
) -> None:
    """A paused machine, a closed lid: it wakes between the commit of `sending` and the request's bytes."""
    asleep, awake = (one_due(LedgerPublisher(publisher.ledger, clock)) for _ in range(2))

    def suspend() -> None:
        clock.move(minutes=6)
        if woken == "by another's work":
            look_until_settled(awake, clock)
            assert only_post(database).state is PostState.POSTED

    sleeper = asleep.channel("main").publisher
    assert isinstance(sleeper, LedgerPublisher)
    sleeper.during["fence"] = suspend
    asleep.step("main")
    if woken != "by another's work":
        assert publisher.ledger.posts() == []
        assert only_post(database).state is PostState.RETRY
        clock.move(minutes=1)
        asleep.step("main")
    assert only_post(database).state is PostState.POSTED
    assert len(publisher.ledger.posts()) == 1


@pytest.mark.parametrize(
    ("real", "shown"),
    [
        (timedelta(minutes=6), timedelta()),
        (timedelta(), timedelta(minutes=6)),
        (timedelta(), -timedelta(hours=1)),
    ],
    ids=["the clock stood still", "the clock was set ahead", "the clock was set back"],
)
def test_either_clock_closes_the_fence(
    one_due: OneDue,
    database: Database,
    publisher: LedgerPublisher,
    clock: MovableClock,
    real: timedelta,
    shown: timedelta,
) -> None:
    """The wall clock, as anybody else would judge the lease; the other one where that was set wrong."""

    def suspend() -> None:
        clock.elapsed += real.total_seconds()
        clock.time += shown

    publisher.during["fence"] = suspend
    one_due(publisher).step("main")
    assert publisher.ledger.posts() == []
    assert "suspended" in str(only_post(database).reason)


def test_a_request_has_less_time_than_its_lease(
    one_due: OneDue, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    given: list[float] = []

    class Asking(LedgerPublisher):
        def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
            clock.move(seconds=30)
            given.append(fence())
            return super().send(draft, media, fence)

    one_due(Asking(publisher.ledger, clock)).step("main")
    lease = Policy().lease.total_seconds()
    assert 60 <= given[0] <= lease - 30 - 30


@pytest.mark.parametrize("left", [0.5, 0.0])
def test_a_request_leaves_while_any_of_its_time_is_left(
    one_due: OneDue, publisher: LedgerPublisher, clock: MovableClock, left: float
) -> None:
    within = Policy().request_within.total_seconds()
    publisher.during["fence"] = lambda: clock.move(seconds=within - left)
    one_due(publisher).step("main")
    assert len(publisher.ledger.posts()) == (left > 0)


def test_a_post_and_its_account_have_one_owner_while_it_is_worked_on(
    box: Outbox, database: Database, publisher: LedgerPublisher
) -> None:
    slot(database, NOON)
    seen = []

    def look() -> None:
        post = only_post(database)
        assert post.lease_owner == the_account(database).lease_owner is not None
        seen.append(post.state)

    for call in ("upload", "send", "find"):
        publisher.during[call] = look
    publisher.faults["send"].append("lost")
    box.step("main")
    box.step("main")
    assert seen == [PostState.CLAIMED, PostState.SENDING, PostState.UNKNOWN]
    assert (only_post(database).lease_owner, the_account(database).lease_owner) == (None, None)


class ElsewherePublisher(LedgerPublisher):
    """Another network."""

    name: ClassVar[str] = "elsewhere"


def test_what_was_not_sent_yet_goes_where_its_account_posts_now(
    one_due: OneDue, database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """The picture that the other network has is of no use there."""
    publisher.faults["send"].extend(["later", "later"])
    for expected in (["upload", "send"], ["upload", "send", "send"]):
        one_due(publisher).step("main")
        assert publisher.calls == expected
        clock.move(minutes=2)
    elsewhere = ElsewherePublisher(Ledger(tmp_path / "elsewhere"), clock)
    one_due(elsewhere).step("main")
    assert elsewhere.calls == ["upload", "send"]
    assert (only_post(database).state, only_post(database).publisher) == (PostState.POSTED, "elsewhere")


@pytest.mark.parametrize(
    ("moment", "state", "left"),
    [
        ("upload", PostState.CLAIMED, []),
        ("send", PostState.UNKNOWN, [(Phase.UPLOAD, Outcome.DONE), (Phase.SEND, Outcome.INTERRUPTED)]),
    ],
)
def test_who_is_interrupted_gives_all_back_and_says_how_far_it_came(
    box: Outbox,
    database: Database,
    publisher: LedgerPublisher,
    moment: str,
    state: PostState,
    left: list[tuple[Phase, Outcome | None]],
) -> None:
    slot(database, NOON)

    def interrupt() -> None:
        raise KeyboardInterrupt

    publisher.during[moment] = interrupt
    with pytest.raises(KeyboardInterrupt):
        box.step("main")
    post = only_post(database)
    assert (post.state, post.lease_owner, the_account(database).lease_owner) == (state, None, None)
    assert attempts(database) == left


def test_a_database_that_is_away_at_the_last_look_sends_nothing(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = one_due(publisher)

    def away() -> None:
        def fail() -> None:
            monkeypatch.undo()
            raise DatabaseFailure("The server is away.")

        monkeypatch.setattr(database, "read", fail)

    publisher.during["fence"] = away
    box.step("main")
    assert publisher.ledger.posts() == []
    assert only_post(database).state is PostState.RETRY


def answering_late(
    publisher: LedgerPublisher, clock: MovableClock, answer: Sent, meanwhile: Callable[[], None]
) -> LedgerPublisher:
    """A network whose answer comes when another worker has done what it had to."""

    class Late(LedgerPublisher):
        def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
            fence()
            meanwhile()
            return answer

    return Late(publisher.ledger, clock)


def test_a_late_answer_takes_its_picture_out_of_the_stock_again(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """It was given up meanwhile, for no look saw it."""

    def give_up() -> None:
        clock.move(hours=3)
        look_until_settled(one_due(publisher), clock)
        assert only_post(database).state is PostState.MISSED
        assert picture_states(database) == ["approved"]

    late = answering_late(publisher, clock, Sent("r9", "https://ledger.example/r9"), give_up)
    one_due(late).step("main")
    post = only_post(database)
    assert (post.state, post.remote_id) == (PostState.POSTED, "r9")
    assert picture_states(database) == ["posted"]
    assert (Phase.SEND, Outcome.DONE) in attempts(database)


def test_a_late_answer_that_names_another_post_of_ours_says_nothing(
    box: Outbox, database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    people.post_now(box, "main")
    slot(database, NOON)

    def look() -> None:
        clock.move(minutes=6)
        assert outbox(database, tmp_path, publisher).step("main") == 2

    late = answering_late(publisher, clock, Sent("r1", "https://ledger.example/r1"), look)
    outbox(database, tmp_path, late).step("main")
    post = people.load_post(database, 2)
    assert (post.state, post.remote_id, post.attempts) == (PostState.UNKNOWN, None, 1)
    assert post.reason == "The process that sent it ended before the answer came."
    assert (Phase.SEND, Outcome.INTERRUPTED) in attempts(database)


def test_a_late_answer_leaves_a_picture_that_another_post_has_taken(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:

    def give_up_and_use_it_again() -> None:
        clock.move(hours=3)
        other = one_due(publisher)
        look_until_settled(other, clock)
        slot(database, clock.now())
        publisher.faults["send"].append("later")
        other.step("main")
        assert picture_states(database) == ["reserved"]

    late = answering_late(publisher, clock, Sent("r9", ""), give_up_and_use_it_again)
    one_due(late).step("main")
    assert picture_states(database) == ["reserved"]


def test_a_second_post_that_a_late_answer_names_is_told_and_kept(
    one_due: OneDue,
    database: Database,
    publisher: LedgerPublisher,
    clock: MovableClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It overwrites nothing: a person must see both."""

    def send_again() -> None:
        clock.move(minutes=6)
        look_until_settled(one_due(publisher), clock)
        assert only_post(database).remote_id == "r1"

    late = answering_late(publisher, clock, Sent("r9", "https://ledger.example/r9"), send_again)
    one_due(late).step("main")
    post = only_post(database)
    assert (post.state, post.remote_id) == (PostState.POSTED, "r1")
    assert post.reason == (
        "It was posted twice: https://ledger.example/r9 is the same post. Take that one down by hand."
    )
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        f"post 1 (No.0001, main): {post.reason}"
    ]
    with database.read() as session:
        event = session.scalars(select(Event)).one()
    assert (event.action, event.post_id, event.note) == ("second post", 1, "https://ledger.example/r9")


def test_a_late_answer_that_names_the_same_post_changes_nothing(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:

    def send_again() -> None:
        clock.move(minutes=6)
        look_until_settled(one_due(publisher), clock)

    late = answering_late(publisher, clock, Sent("r1", "https://elsewhere.example"), send_again)
    one_due(late).step("main")
    post = only_post(database)
    assert (post.url, post.reason) == ("https://ledger.example/r1", None)


def test_a_machine_that_was_paused_with_its_clocks_sends_nothing(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """As a virtual one is: none of its clocks knows, but the database does that another looks for it."""
    elsewhere = MovableClock(NOON + timedelta(minutes=5, seconds=10), 310.0)
    awake = LedgerPublisher(publisher.ledger, elsewhere)
    awake.faults["find"].append("killed")

    def pause() -> None:
        clock.move(seconds=30)
        with pytest.raises(Killed):
            one_due(awake).step("main")

    publisher.during["fence"] = pause
    one_due(publisher).step("main")
    assert publisher.ledger.posts() == []
    owner = the_account(database).lease_owner
    assert owner is not None, "the other's lease is not given back"
    assert (only_post(database).state, only_post(database).lease_owner) == (PostState.UNKNOWN, owner)
    elsewhere.move(minutes=6)
    look_until_settled(one_due(awake), elsewhere)
    assert len(publisher.ledger.posts()) == 1
