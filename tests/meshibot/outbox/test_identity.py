"""Whose account it is: one count for one timeline, and an account that its network refuses for a while."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from meshibot.database import Account, AccountState, Database, Event, Post, PostState, SlotState
from meshibot.errors import NeedsPerson
from meshibot.outbox import Outbox, Policy, people
from meshibot.publishers.base import AccountStopped, Draft, Identity, PublishError, RetryLater, Sent
from testbed.ledger import (
    NOON,
    Ledger,
    LedgerPublisher,
    MovableClock,
    OneDue,
    channel,
    new_database,
    outbox,
    slot,
    stock,
)
from tests.meshibot.outbox.asking import look_until_settled, only_post, the_account, the_slot


class Doorkeeper(LedgerPublisher):
    """It says who the account is, unless it refuses to."""

    refusal: PublishError | None = None
    id: str = "1"

    def check(self) -> Identity:
        super().check()
        if self.refusal is not None:
            raise self.refusal
        return Identity(self.id, "ledger", "https://ledger.example")


@pytest.fixture
def doorkeeper(tmp_path: Path, clock: MovableClock) -> Doorkeeper:
    return Doorkeeper(Ledger(tmp_path / "ledger"), clock)


def an_earlier_home_posted(folder: Path, publisher: LedgerPublisher, serials: int) -> None:
    """The same account, from a home that is lost."""
    earlier = folder / "earlier"
    earlier.mkdir()
    with new_database(earlier) as database:
        stock(database, earlier, serials)
        box = outbox(database, earlier, publisher)
        for _ in range(serials):
            people.post_now(box, "main")


def test_a_home_begun_anew_goes_on_where_the_timeline_is(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """And never takes the lost home's post for one of its own that was not made."""
    an_earlier_home_posted(tmp_path, publisher, 3)
    stock(database, tmp_path, 1, seed=1)
    slot(database, clock.now())
    publisher.faults["send"].append("unclear")
    look_until_settled(outbox(database, tmp_path, publisher), clock)
    post = only_post(database)
    assert (post.state, post.serial, post.remote_id) == (PostState.POSTED, 4, "r4")
    assert len(publisher.ledger.posts()) == 4


def test_a_backup_that_was_put_back_counts_on_behind_what_it_does_not_know(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 2)
    people.post_now(outbox(database, tmp_path, publisher), "main")
    copy = (tmp_path / "bot.sqlite").read_bytes()
    people.post_now(outbox(database, tmp_path, publisher), "main")
    database.close()
    for rest in ("-wal", "-shm"):
        (tmp_path / f"bot.sqlite{rest}").unlink(missing_ok=True)
    (tmp_path / "bot.sqlite").write_bytes(copy)
    with Database.open(f"sqlite:///{tmp_path / 'bot.sqlite'}") as restored:
        stock(restored, tmp_path, 2, seed=1)
        assert people.post_now(outbox(restored, tmp_path, publisher), "main").serial == 3


def test_the_network_is_asked_once_in_a_process(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    assert box.step("main") is None
    assert publisher.asked == [], "nothing is due, so nothing is asked"
    for _ in range(3):
        slot(database, clock.now())
        box.step("main")
        clock.move(hours=1)
    assert publisher.asked == ["check", "latest"]
    account = the_account(database)
    assert (account.remote_user_id, account.next_serial) == ("1", 4)
    with database.read() as session:
        assert set(session.scalars(select(Post.remote_user_id))) == {"1"}


def test_a_slot_waits_until_it_is_known_whose_account_it_is(
    one_due: OneDue, database: Database, doorkeeper: Doorkeeper, clock: MovableClock
) -> None:
    box = one_due(doorkeeper)
    doorkeeper.refusal = RetryLater("The network is busy.")
    assert box.step("main") is None
    assert box.step("main") is None
    assert doorkeeper.asked == ["check"], "not again at once"
    assert the_slot(database).reason == "The network is busy."
    with pytest.raises(RetryLater, match="busy"):
        people.post_now(box, "main")
    doorkeeper.refusal = None
    clock.move(seconds=31)
    assert box.step("main") == 1
    assert only_post(database).state is PostState.POSTED


def test_a_network_that_names_a_time_is_not_asked_before(
    one_due: OneDue, doorkeeper: Doorkeeper, clock: MovableClock
) -> None:
    box = one_due(doorkeeper)
    doorkeeper.refusal = RetryLater("Its rate limit is used up.", NOON + timedelta(minutes=15))
    for _ in range(14):
        box.step("main")
        clock.move(minutes=1)
    assert doorkeeper.asked == ["check"]
    doorkeeper.refusal = None
    clock.move(minutes=2)
    assert box.step("main") == 1


def test_a_slot_that_waited_for_it_in_vain_is_missed_with_that_reason(
    one_due: OneDue, database: Database, doorkeeper: Doorkeeper, clock: MovableClock
) -> None:
    box = one_due(doorkeeper)
    doorkeeper.refusal = RetryLater("The network is busy.")
    box.step("main")
    clock.move(hours=3)
    box.step("main")
    missed = the_slot(database)
    assert (missed.state, missed.reason) == (SlotState.MISSED, "The network is busy.")


def test_an_account_that_is_known_goes_on_while_the_network_does_not_say_who_it_is(
    database: Database, tmp_path: Path, doorkeeper: Doorkeeper, clock: MovableClock
) -> None:
    stock(database, tmp_path, 2)
    people.post_now(outbox(database, tmp_path, doorkeeper), "main")
    doorkeeper.refusal = RetryLater("The network is busy.")
    assert people.post_now(outbox(database, tmp_path, doorkeeper), "main").state is PostState.POSTED


def test_credentials_of_another_account_are_told_and_counted_anew(
    database: Database, tmp_path: Path, doorkeeper: Doorkeeper, caplog: pytest.LogCaptureFixture
) -> None:
    stock(database, tmp_path, 2)
    people.post_now(outbox(database, tmp_path, doorkeeper), "main")
    doorkeeper.id = "2"
    assert people.post_now(outbox(database, tmp_path, doorkeeper), "main").remote_user_id == "2"
    assert "is another one on its network now" in caplog.text


def test_two_names_of_one_account_share_one_count(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """One's post that was never made is not taken for the other's of the same number."""
    stock(database, tmp_path, 4)
    box = Outbox(
        database,
        clock=clock,
        elapsed=lambda: clock.elapsed,
        channels=[channel(tmp_path, publisher, name) for name in ("night", "lunch")],
    )
    people.post_now(box, "night")
    slot(database, clock.now(), "lunch")
    publisher.faults["send"].append("unclear")
    for _ in range(8):
        box.step("lunch")
        clock.move(seconds=31)
    people.post_now(box, "night")
    with database.read() as session:
        rows = session.execute(select(Post.account, Post.serial, Post.remote_id).order_by(Post.id)).all()
    assert [tuple(row) for row in rows] == [("night", 1, "r1"), ("lunch", 2, "r2"), ("night", 3, "r3")]


class Remembering(LedgerPublisher):
    """Its timeline shows what somebody else posted there with the same number, hours ago by its own clock."""

    older: Sent

    def find(self, draft: Draft, since: object) -> tuple[Sent, ...]:
        self.calls.append("find")
        return (self.older,)


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (timedelta(hours=3), PostState.NEEDS_PERSON),
        (timedelta(minutes=2), PostState.POSTED),
        (None, PostState.POSTED),
    ],
)
def test_what_is_older_than_the_post_is_left_to_a_person(
    one_due: OneDue,
    database: Database,
    publisher: LedgerPublisher,
    clock: MovableClock,
    age: timedelta | None,
    state: PostState,
) -> None:
    """It is not believed; nor is the post sent again, for clocks may deceive."""
    remembering = Remembering(publisher.ledger, clock)
    remembering.older = Sent("r99", "https://ledger.example/r99", age)
    remembering.faults["send"].append("unclear")
    look_until_settled(one_due(remembering), clock)
    post = only_post(database)
    assert post.state is state
    if state is PostState.NEEDS_PERSON:
        assert "r99 has its number, and seems to be older than it." in str(post.reason)
    assert remembering.calls.count("send") == 1


def test_a_clock_that_was_set_back_makes_no_post_seem_older(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    remembering = Remembering(publisher.ledger, clock)
    remembering.older = Sent("r1", "https://ledger.example/r1", timedelta(minutes=2))
    remembering.faults["send"].append("lost")
    box = one_due(remembering)
    box.step("main")
    clock.jump(days=-2)
    look_until_settled(box, clock)
    assert only_post(database).state is PostState.POSTED


# ---- refused, for a while or for good -----------------------------------------------------------


def refused(*, may_mend: bool) -> AccountStopped:
    return AccountStopped("The credentials are refused.", "Get new ones.", http_status=401, may_mend=may_mend)


@pytest.mark.parametrize("may_mend", [True, False])
def test_an_account_that_is_refused_before_its_first_post_is_stopped(
    one_due: OneDue, database: Database, doorkeeper: Doorkeeper, clock: MovableClock, may_mend: bool
) -> None:
    """It is asked again each hour where that may mend itself, and only then."""
    doorkeeper.refusal = refused(may_mend=may_mend)
    box = one_due(doorkeeper)
    assert box.step("main") is None
    account = the_account(database)
    assert account.state is AccountState.STOPPED
    assert account.stopped_reason == "The credentials are refused. Get new ones."
    doorkeeper.refusal = None
    for _ in range(2):
        clock.move(minutes=31)
        box.step("main")
    resumed = AccountState.ACTIVE if may_mend else AccountState.STOPPED
    assert the_account(database).state is resumed
    box.step("main")
    assert len(doorkeeper.ledger.posts()) == may_mend


@pytest.mark.parametrize("known", [False, True])
def test_post_now_says_at_once_that_credentials_are_refused_and_queues_nothing(
    database: Database, tmp_path: Path, doorkeeper: Doorkeeper, known: bool
) -> None:
    """And asks again when it is called again."""
    stock(database, tmp_path, 2)
    if known:
        people.post_now(outbox(database, tmp_path, doorkeeper), "main")
    doorkeeper.refusal = refused(may_mend=True)
    for _ in range(2):
        with pytest.raises((AccountStopped, NeedsPerson), match="Get new ones"):
            people.post_now(outbox(database, tmp_path, doorkeeper), "main")
        assert the_account(database).state is AccountState.STOPPED
    doorkeeper.refusal = None
    post = people.post_now(outbox(database, tmp_path, doorkeeper), "main")
    assert (post.id, post.state) == (1 + known, PostState.POSTED)


class Refusing(Doorkeeper):
    """It refuses the credentials with each upload, so many times."""

    times: int = 0

    def upload(self, draft: Draft) -> tuple:  # type: ignore[type-arg]
        if self.times:
            self.times -= 1
            raise refused(may_mend=True)
        return super().upload(draft)


def test_one_refusal_of_credentials_costs_half_a_minute(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """There are hours in which a network refuses everybody."""
    refusing = Refusing(publisher.ledger, clock)
    refusing.times = 1
    box = one_due(refusing)
    box.step("main")
    assert the_account(database).state is AccountState.ACTIVE
    clock.move(minutes=1)
    box.step("main")
    assert only_post(database).state is PostState.POSTED


def test_an_account_that_is_refused_for_hours_goes_on_by_itself_when_it_is_accepted(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 2)
    slot(database, NOON)
    refusing = Refusing(publisher.ledger, clock)
    refusing.times = 99
    box = outbox(database, tmp_path, refusing)
    for _ in range(4):
        box.step("main")
        clock.move(minutes=3)
    assert 99 - refusing.times == Policy().refusals
    assert the_account(database).state is AccountState.STOPPED
    refusing.refusal = refused(may_mend=True)
    for _ in range(10):
        clock.move(minutes=30)
        box.step("main")
    assert the_account(database).state is AccountState.STOPPED
    assert refusing.asked.count("check") == 1 + 5, "once an hour"
    refusing.refusal, refusing.times = None, 0
    slot(database, clock.now())
    for _ in range(3):
        clock.move(minutes=31)
        box.step("main")
    assert the_account(database).state is AccountState.ACTIVE
    assert len(publisher.ledger.posts()) == 1
    with database.read() as session:
        event = session.scalars(select(Event)).one()
    assert (event.actor, event.action) == ("meshibot", "resume")


def test_an_account_that_only_a_person_can_mend_is_not_asked_about(
    one_due: OneDue, database: Database, doorkeeper: Doorkeeper, clock: MovableClock
) -> None:
    doorkeeper.faults["upload"].append("stopped")
    box = one_due(doorkeeper)
    box.step("main")
    asked = list(doorkeeper.asked)
    for _ in range(10):
        clock.move(minutes=31)
        box.step("main")
    assert doorkeeper.asked == asked
    with pytest.raises(NeedsPerson):
        people.post_now(box, "main")
    with database.read() as session:
        assert session.get_one(Account, "main").state is AccountState.STOPPED
