"""The state machine of a post, one worker at a time. Several at once: test_workers.py, test_machine.py."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from meshibot.database import (
    Account,
    AccountState,
    Attempt,
    Database,
    Kind,
    Outcome,
    Phase,
    Picture,
    Post,
    PostState,
    Slot,
    SlotState,
)
from meshibot.errors import MeshibotError, NeedsPerson, NothingToDo, UsageError
from meshibot.outbox import Channel, Order, Outbox, Policy, Words, people
from meshibot.publishers.base import Draft, MediaGone, MediaRef, RetryLater, Sent
from meshibot.schedule import QuietHours, Schedule
from tests.meshibot.ledger import (
    NOON,
    UTC_ZONE,
    Killed,
    Ledger,
    LedgerPublisher,
    MovableClock,
    RecordPublisher,
    channel,
    new_database,
    outbox,
    slot,
    stock,
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with new_database(tmp_path) as database:
        yield database


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def publisher(tmp_path: Path, clock: MovableClock) -> LedgerPublisher:
    return LedgerPublisher(Ledger(tmp_path / "ledger"), clock)


@pytest.fixture
def box(database: Database, tmp_path: Path, publisher: LedgerPublisher) -> Outbox:
    stock(database, tmp_path, 5)
    return outbox(database, tmp_path, publisher)


def only_post(database: Database) -> Post:
    with database.read() as session:
        return session.scalars(select(Post)).one()


def attempts(database: Database) -> list[tuple[Phase, Outcome | None]]:
    with database.read() as session:
        return [(row.phase, row.outcome) for row in session.scalars(select(Attempt).order_by(Attempt.id))]


def picture_states(database: Database) -> list[str]:
    with database.read() as session:
        return [str(row.state) for row in session.scalars(select(Picture).order_by(Picture.id))]


def the_slot(database: Database) -> Slot:
    with database.read() as session:
        return session.scalars(select(Slot)).one()


def the_account(database: Database) -> Account:
    with database.read() as session:
        return session.get_one(Account, "main")


def look_until_settled(box: Outbox, clock: MovableClock, steps: int = 12) -> None:
    for _ in range(steps):
        box.step("main")
        clock.move(seconds=31)


def test_a_due_slot_is_published_once(box: Outbox, database: Database, publisher: LedgerPublisher) -> None:
    slot(database, NOON)
    assert box.step("main") is not None
    assert box.step("main") is None
    post = only_post(database)
    assert (post.state, post.remote_id, post.serial, post.slot_id) == (PostState.POSTED, "r1", 1, 1)
    assert (post.caption, post.lease_owner, post.reason) == ("A bowl. No.0001", None, None)
    assert the_slot(database).state is SlotState.TAKEN
    assert attempts(database) == [(Phase.UPLOAD, Outcome.DONE), (Phase.SEND, Outcome.DONE)]
    assert picture_states(database) == ["posted", *["approved"] * 4]
    assert [line["text"] for line in publisher.ledger.posts()] == ["A bowl. No.0001"]


def test_nothing_is_sent_before_its_time(box: Outbox, database: Database, clock: MovableClock) -> None:
    slot(database, NOON + timedelta(minutes=1))
    assert box.step("main") is None
    assert box.next_moment("main") == NOON + timedelta(minutes=1)
    clock.move(minutes=1)
    assert box.step("main") is not None
    assert box.next_moment("main") is None


@pytest.mark.parametrize("fault", ["lost", "garbage"])
def test_an_unclear_send_that_landed_is_found(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock, fault: str
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append(fault)
    publisher.lag = 40  # the timeline shows it late
    look_until_settled(box, clock)
    assert only_post(database).state is PostState.POSTED
    assert only_post(database).remote_id == "r1"
    assert publisher.calls.count("send") == 1
    assert (Phase.RECONCILE, Outcome.ABSENT) in attempts(database)
    assert attempts(database)[-1] == (Phase.RECONCILE, Outcome.FOUND)


def test_an_unclear_send_is_repeated_only_after_several_looks_spread_over_a_minute(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("unclear")
    box.step("main")
    while publisher.calls.count("send") == 1:
        assert clock.now() < NOON + timedelta(minutes=5)
        box.step("main")
        clock.move(seconds=1)
    assert publisher.calls.count("find") >= 4
    assert clock.now() - NOON > timedelta(seconds=75)
    assert only_post(database).state is PostState.POSTED
    assert len(publisher.ledger.posts()) == 1
    assert publisher.calls.count("upload") == 1  # the network still has the picture


def test_a_clock_that_jumps_does_not_shorten_the_looks(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("lost")
    publisher.lag = 70
    box.step("main")
    for _ in range(8):
        box.step("main")
        clock.jump(seconds=31)
        clock.move(seconds=1)
    assert only_post(database).state is PostState.UNKNOWN
    look_until_settled(box, clock)
    assert only_post(database).state is PostState.POSTED
    assert publisher.calls.count("send") == 1


@pytest.mark.parametrize("moment", ["killed", "killed-after"])
def test_a_send_whose_process_ended_is_reconciled_and_never_sent_blind(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock, moment: str
) -> None:
    stock(database, tmp_path, 3)
    slot(database, NOON)
    publisher.faults["send"].append(moment)
    with pytest.raises(Killed):
        outbox(database, tmp_path, publisher).step("main")
    assert only_post(database).state is PostState.SENDING
    other = outbox(database, tmp_path, publisher)
    assert other.step("main") is None  # the lease still holds
    clock.move(minutes=6)
    other.step("main")
    assert publisher.calls[-1] == "find"
    look_until_settled(other, clock)
    assert only_post(database).state is PostState.POSTED
    assert len(publisher.ledger.posts()) == 1
    assert (Phase.SEND, Outcome.INTERRUPTED) in attempts(database)


def test_where_the_network_writes_under_a_name_the_send_is_repeated_under_it(
    database: Database, tmp_path: Path, clock: MovableClock
) -> None:
    publisher = RecordPublisher(Ledger(tmp_path / "ledger"), clock)
    stock(database, tmp_path, 3)
    slot(database, NOON)
    publisher.faults["send"].append("lost")
    box = outbox(database, tmp_path, publisher)
    look_until_settled(box, clock, 2)
    assert only_post(database).state is PostState.POSTED
    assert publisher.calls == ["upload", "send", "send"]
    assert len(publisher.ledger.posts()) == 1


@pytest.mark.parametrize("end", ["stopping", "before-uploaded", "after-uploaded", "before-sending"])
def test_a_repetition_under_a_name_that_was_cut_off_leaves_the_post_unclear(
    database: Database,
    tmp_path: Path,
    clock: MovableClock,
    end: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publisher = RecordPublisher(Ledger(tmp_path / "ledger"), clock)
    stock(database, tmp_path, 3)
    slot(database, NOON)
    publisher.faults["send"].append("lost")
    box = outbox(database, tmp_path, publisher)
    box.step("main")

    def crash(name: str) -> None:
        if name == end:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("meshibot.crashpoints.crash_point", crash)
        if end == "stopping":
            box.stopping = lambda: True
            box.step("main")
        else:
            with pytest.raises(Killed):
                box.step("main")
    assert only_post(database).state is PostState.UNKNOWN
    clock.move(hours=3)  # the grace is over
    look_until_settled(outbox(database, tmp_path, publisher), clock)
    assert only_post(database).state is PostState.POSTED
    assert len(publisher.ledger.posts()) == 1
    assert picture_states(database)[0] == "posted"


def test_a_refused_duplicate_that_is_not_there_needs_a_person(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("duplicate")
    look_until_settled(box, clock)
    post = only_post(database)
    assert post.state is PostState.NEEDS_PERSON
    assert "meshibot resolve 1" in str(post.reason)
    assert "No.0001" in str(post.reason)
    assert publisher.calls.count("send") == 1
    for number in (99, 0, 1 << 63):
        with pytest.raises(UsageError, match=f"no post {number}"):
            people.resolve(box.database, number)
    assert people.resolve(box.database, 1, posted=Sent("r7", "")).state is PostState.POSTED
    assert picture_states(database)[0] == "posted"
    with pytest.raises(UsageError, match="needs no person"):
        people.resolve(box.database, 1, clock=clock)


def test_a_person_may_say_that_it_is_absent(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("duplicate")
    look_until_settled(box, clock)
    assert people.resolve(box.database, 1, clock=clock).state is PostState.RETRY
    box.step("main")
    assert only_post(database).state is PostState.POSTED


def test_absent_after_its_grace_is_missed(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("duplicate")
    look_until_settled(box, clock)
    clock.move(hours=3)
    post = people.resolve(box.database, 1, clock=clock)
    assert post.state is PostState.MISSED
    assert "grace" in str(post.reason)
    assert picture_states(database)[0] == "approved"


def test_a_timeline_that_cannot_be_read_ends_with_a_person(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("lost")
    publisher.faults["find"].extend(["unclear", "later", "limited", "bug", "rejected"] * 40)
    for _ in range(60):
        box.step("main")
        clock.move(minutes=16)
        if only_post(database).state is PostState.NEEDS_PERSON:
            break
    assert "can't be told" in str(only_post(database).reason)
    assert publisher.calls.count("send") == 1


def test_retries_are_bounded_and_back_off(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["upload"].extend(["later", "bug", "unclear"])
    publisher.faults["send"].extend(["later"] * 10)
    waits = []
    while only_post_or_none(database) is None or only_post(database).state is not PostState.MISSED:
        box.step("main")
        post = only_post(database)
        waits.append((post.not_before - clock.now()).total_seconds())
        clock.time = max(post.not_before, clock.now() + timedelta(seconds=1))
    assert len(waits) == Policy().max_attempts
    for number, wait in enumerate(waits[:-1]):
        assert 15 * 2**number <= wait <= 45 * 2**number
    post = only_post(database)
    assert post.reason == "The network is busy. Given up after 6 tries."
    assert picture_states(database) == ["approved"] * 5
    assert publisher.ledger.posts() == []


def only_post_or_none(database: Database) -> Post | None:
    with database.read() as session:
        return session.scalars(select(Post)).one_or_none()


def test_a_rate_limit_is_honoured_for_the_whole_account(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    slot(database, NOON + timedelta(minutes=5))
    publisher.faults["send"].append("limited")
    box.step("main")
    clock.move(minutes=6)
    assert box.step("main") is None
    assert box.next_moment("main") == NOON + timedelta(minutes=15)
    clock.move(minutes=9)
    assert box.step("main") == 1
    assert publisher.calls.count("send") == 2
    clock.move(minutes=5)  # the second one is late now, and keeps its distance
    assert box.step("main") == 2
    assert [line["text"][-4:] for line in publisher.ledger.posts()] == ["0001", "0002"]


def test_a_rate_limit_beyond_the_grace_is_a_missed_post(
    box: Outbox, database: Database, publisher: LedgerPublisher
) -> None:
    slot(database, NOON - timedelta(minutes=110))
    publisher.faults["send"].append("limited")
    box.step("main")
    assert only_post(database).state is PostState.MISSED
    assert "grace ends before" in str(only_post(database).reason)


def test_slots_in_a_rate_limit_of_a_day_are_missed_with_that_reason(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 2)
    slot(database, NOON)
    box = outbox(database, tmp_path, publisher)
    with database.write() as session:
        session.get_one(Account, "main").not_before = NOON + timedelta(hours=24)
    for _ in range(5):
        assert box.step("main") is None
        clock.move(minutes=31)
    assert the_slot(database).state is SlotState.MISSED
    assert the_slot(database).reason == (
        "The network takes nothing from the account until 2026-11-25 12:00 UTC (its rate limit)."
    )


def test_what_is_rejected_is_final(box: Outbox, database: Database, publisher: LedgerPublisher) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("rejected")
    box.step("main")
    post = only_post(database)
    assert (post.state, post.reason) == (PostState.REJECTED, "The network does not want it.")
    assert picture_states(database)[0] == "rejected"
    with database.read() as session:
        attempt = session.scalars(select(Attempt).where(Attempt.phase == Phase.SEND)).one()
        assert (attempt.outcome, attempt.http_status) == (Outcome.REJECTED, 400)
        assert attempt.error == "The network does not want it."
    assert box.step("main") is None


@pytest.mark.parametrize("call", ["upload", "send"])
def test_a_stopped_account_sends_nothing_until_a_person_starts_it(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock, call: str
) -> None:
    slot(database, NOON)
    publisher.faults[call].append("stopped")
    box.step("main")
    account = the_account(database)
    assert account.state is AccountState.STOPPED
    assert account.stopped_reason == "The credits are used up. Buy some."
    before = list(publisher.calls)
    slot(database, NOON + timedelta(minutes=1))
    clock.move(minutes=10)
    assert box.step("main") is None
    assert publisher.calls == before
    with pytest.raises(NeedsPerson, match="Buy some"):
        people.post_now(box, "main")
    assert people.resume(box.database, "main")
    assert not people.resume(box.database, "main")
    with pytest.raises(UsageError):
        people.resume(box.database, "nobody")
    box.step("main")
    assert len(publisher.ledger.posts()) == 1


def test_slots_of_a_stopped_account_are_missed_with_the_reason(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    slot(database, NOON + timedelta(minutes=30))
    publisher.faults["send"].append("stopped")
    box.step("main")
    clock.move(hours=3)
    box.step("main")
    with database.read() as session:
        post = session.scalars(select(Post)).one()
        late = session.scalars(select(Slot).where(Slot.state == SlotState.MISSED)).one()
    assert post.state is PostState.MISSED
    assert post.reason == "The credits are used up. Its grace is over."
    assert late.reason == "The account is stopped: The credits are used up. Buy some."


def test_an_account_that_is_stopped_while_looking_goes_on_looking_afterwards(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("lost")
    publisher.faults["find"].append("stopped")
    look_until_settled(box, clock, 4)
    assert only_post(database).state is PostState.UNKNOWN
    people.resume(box.database, "main")
    box.step("main")
    assert only_post(database).state is PostState.POSTED


def test_downtime_is_caught_up_within_the_grace_one_at_a_time(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    for minutes in (-180, -100, -60, -20):
        slot(database, NOON + timedelta(minutes=minutes))
    assert box.step("main") is not None
    assert box.step("main") is None  # not in a burst
    clock.move(minutes=4)
    assert box.step("main") is None
    slot(database, clock.now())  # what is on time does not wait for what is late
    assert box.step("main") is not None
    for _ in range(3):
        clock.move(minutes=5)
        box.step("main")
    with database.read() as session:
        missed = session.scalars(select(Slot).where(Slot.state == SlotState.MISSED)).all()
        serials = session.scalars(select(Slot.due_at).join(Post).order_by(Post.serial)).all()
    assert [slot.due_at for slot in missed] == [NOON - timedelta(minutes=180)]
    assert "grace of 2:00:00" in str(missed[0].reason)
    assert [(due - NOON) / timedelta(minutes=1) for due in serials] == [-100, 4, -60, -20]
    assert len(publisher.ledger.posts()) == 4


def test_an_empty_stock_is_waited_for_until_the_grace_ends(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    box = outbox(database, tmp_path, publisher)
    slot(database, NOON)
    assert box.step("main") is None
    assert the_slot(database).state is SlotState.PLANNED
    clock.move(hours=1)
    stock(database, tmp_path, 1)
    assert box.step("main") is not None
    slot(database, clock.now())
    clock.move(hours=3)
    assert box.step("main") is None
    with database.read() as session:
        missed = session.scalars(select(Slot).where(Slot.state == SlotState.MISSED)).one()
    assert "grace" in str(missed.reason)


def test_the_reason_of_a_slot_without_a_picture_is_the_stock(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    box = outbox(database, tmp_path, publisher)
    slot(database, NOON)
    box.step("main")
    clock.move(hours=3)
    box.step("main")
    assert the_slot(database).reason == "The stock was empty."


def test_no_post_without_its_picture(
    box: Outbox, database: Database, tmp_path: Path, publisher: LedgerPublisher
) -> None:
    (tmp_path / "picture-0-0.png").unlink()
    slot(database, NOON)
    box.step("main")
    post = only_post(database)
    assert post.state is PostState.REJECTED
    assert "picture-0-0.png" in str(post.reason)
    assert publisher.calls == []
    assert picture_states(database)[0] == "rejected"
    slot(database, NOON + timedelta(seconds=1))
    assert box.next_moment("main") is not None


def test_a_rendered_file_that_vanished_is_made_again(
    box: Outbox, database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("later")
    box.step("main")
    (tmp_path / "main-1.jpg").unlink()
    clock.move(minutes=1)
    box.step("main")
    assert only_post(database).state is PostState.POSTED
    assert (tmp_path / "main-1.jpg").is_file()


def failing_channel(box: Channel, error: Exception) -> Channel:
    def prepare(order: Order, words: Words) -> Path:
        raise error

    return replace(box, prepare=prepare)


def test_a_full_disk_is_tried_again_and_a_broken_picture_is_not(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 2)
    full = MeshibotError("The picture can't be written: No space left on device.")
    full.__cause__ = OSError(28, "No space left on device")
    broken = MeshibotError("The picture can't be read: not an image.")
    good = channel(tmp_path, publisher)
    for error, state in ((full, PostState.RETRY), (broken, PostState.REJECTED)):
        clock.move(seconds=1)
        due = slot(database, clock.now())
        Outbox(database, channels=[failing_channel(good, error)], clock=clock).step("main")
        with database.read() as session:
            post = session.scalars(select(Post).where(Post.slot_id == due)).one()
            assert post.state is state
            assert str(error)[:-1] in str(post.reason)
    assert publisher.calls == []


def test_media_that_expired_are_uploaded_again(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 1)
    schedule = Schedule("0 * * * *", UTC_ZONE, grace=timedelta(days=3))
    box = Outbox(database, channels=[channel(tmp_path, publisher, schedule=schedule)], clock=clock)
    slot(database, NOON)
    publisher.faults["send"].append("later")
    box.step("main")
    clock.move(hours=23, minutes=55)
    box.step("main")
    assert publisher.calls == ["upload", "send", "upload", "send"]


class ForgetfulPublisher(LedgerPublisher):
    """It loses the picture between the upload and the send, once."""

    def send(self, draft: Draft, media: tuple[MediaRef, ...]) -> Sent:
        if self.calls.count("upload") == 1:
            raise MediaGone("It no longer knows the picture.")
        return super().send(draft, media)


def test_media_that_the_network_lost_are_uploaded_again(
    database: Database, tmp_path: Path, clock: MovableClock
) -> None:
    publisher = ForgetfulPublisher(Ledger(tmp_path / "ledger"), clock)
    stock(database, tmp_path, 1)
    box = outbox(database, tmp_path, publisher)
    slot(database, NOON)
    box.step("main")
    box.step("main")
    assert publisher.calls == ["upload", "upload", "send"]
    assert only_post(database).state is PostState.POSTED


def test_quiet_hours_and_daily_budget(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 9)
    schedule = Schedule("0 * * * *", UTC_ZONE, quiet=QuietHours.parse("13:00-13:30"), daily_budget=2)
    box = Outbox(database, channels=[channel(tmp_path, publisher, schedule=schedule)], clock=clock)
    slot(database, NOON + timedelta(minutes=59))
    clock.move(minutes=61)
    assert box.step("main") is None  # a late one waits for the quiet hours to end
    clock.move(minutes=30)
    assert box.step("main") is not None
    slot(database, clock.now())
    assert box.step("main") is not None
    slot(database, clock.now() + timedelta(seconds=1))
    clock.move(seconds=1)
    assert box.step("main") is None
    with database.read() as session:
        missed = session.scalars(select(Slot).where(Slot.state == SlotState.MISSED)).one()
    assert missed.reason == "The daily budget of 2 posts was used up."
    with pytest.raises(NothingToDo, match="daily budget of 2"):
        people.post_now(box, "main")
    clock.move(hours=11)
    assert people.post_now(box, "main").state is PostState.POSTED


def test_a_post_that_is_tried_again_later_counts_in_the_budget(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 9)
    schedule = Schedule("0 * * * *", UTC_ZONE, daily_budget=1)
    box = Outbox(database, channels=[channel(tmp_path, publisher, schedule=schedule)], clock=clock)
    slot(database, NOON)
    publisher.faults["send"].append("later")
    box.step("main")
    slot(database, NOON + timedelta(seconds=1))
    clock.move(seconds=1)
    assert box.step("main") is None
    with pytest.raises(NothingToDo, match="daily budget of 1"):
        people.post_now(box, "main")
    clock.move(minutes=1)
    assert box.step("main") == 1
    assert [line["text"][-4:] for line in publisher.ledger.posts()] == ["0001"]


def test_post_now_follows_its_post_to_the_end(
    box: Outbox, database: Database, publisher: LedgerPublisher
) -> None:
    slot(database, NOON)  # is the daemon's, not ours
    publisher.faults["upload"].append("later")
    publisher.faults["send"].append("lost")
    post = people.post_now(box, "main")
    assert (post.state, post.slot_id, post.serial) == (PostState.POSTED, None, 1)
    assert the_slot(database).state is SlotState.PLANNED
    assert people.post_now(box, "main", Kind.GRID).kind is Kind.GRID
    assert picture_states(database) == ["posted"] * 5
    with pytest.raises(NothingToDo, match="stock"):
        people.post_now(box, "main")


def test_post_now_gives_back_an_open_post_that_must_wait_for_long(
    box: Outbox, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    publisher.faults["send"].append("limited")
    post = people.post_now(box, "main")
    assert post.state is PostState.RETRY
    assert post.reason == "Too many posts."
    assert clock.now() == NOON  # a quarter of an hour is not waited for
    with pytest.raises(NothingToDo, match="until 2026-11-24 12:15 UTC"):
        people.post_now(box, "main")


def test_a_picture_that_looks_like_a_recent_post_is_not_taken(
    box: Outbox, database: Database, publisher: LedgerPublisher
) -> None:
    slot(database, NOON)
    box.step("main")
    with database.write() as session:
        pictures = session.scalars(select(Picture).order_by(Picture.id)).all()
        pictures[1].phash = pictures[0].phash ^ 0b111
        pictures[2].phash = pictures[3].phash ^ 0b11
    post = people.post_now(box, "main")
    assert post.state is PostState.POSTED
    assert picture_states(database) == ["posted", "rejected", "posted", "approved", "approved"]
    with pytest.raises(NothingToDo):
        people.post_now(box, "main", Kind.GRID)


def test_delete_takes_a_post_down(box: Outbox, publisher: LedgerPublisher, database: Database) -> None:
    post = people.post_now(box, "main")
    assert people.delete(database, post.id, lambda row: publisher).state is PostState.DELETED
    assert people.delete(database, post.id, lambda row: publisher).state is PostState.DELETED
    assert publisher.calls[-1] == "delete r1"
    assert publisher.calls.count("delete r1") == 1
    assert attempts(database)[-1] == (Phase.DELETE, Outcome.DONE)
    publisher.faults["send"].append("rejected")
    refused = people.post_now(box, "main")
    with pytest.raises(UsageError, match="nothing to take down"):
        people.delete(database, refused.id, lambda row: publisher)


def test_a_claim_is_handed_back_when_the_daemon_stops(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 1)
    slot(database, NOON)
    stopping = replace(outbox(database, tmp_path, publisher), stopping=lambda: True)
    stopping.step("main")
    assert publisher.calls == ["upload"]
    assert the_account(database).lease_owner is None
    assert outbox(database, tmp_path, publisher).step("main") == 1  # at once, no lease to wait for
    assert publisher.calls == ["upload", "send"]


def test_an_answer_that_comes_after_a_takeover_still_counts(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 1)
    slot(database, NOON)
    first, second = (outbox(database, tmp_path, publisher) for _ in range(2))

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
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """The first worker comes back from its upload after the second has posted: it must not send."""
    stock(database, tmp_path, 1)
    slot(database, NOON)
    second = outbox(database, tmp_path, publisher)
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


def test_who_lost_a_post_gives_the_account_back(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """The first answer comes late, while another process looks for the post."""
    stock(database, tmp_path, 1)
    slot(database, NOON)
    first, second = (outbox(database, tmp_path, publisher) for _ in range(2))

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


def test_late_retries_are_missed_not_sent(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("later")
    box.step("main")
    clock.move(hours=3)
    box.step("main")
    assert only_post(database).state is PostState.MISSED
    assert only_post(database).reason == "The network is busy. Its grace is over."
    assert publisher.calls.count("send") == 1


def test_an_upload_that_outlasts_the_grace_is_not_sent(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 1)
    slot(database, NOON - timedelta(hours=2))
    good = channel(tmp_path, publisher)

    def slow(order: Order, words: Words) -> Path:
        clock.move(minutes=1)
        return good.prepare(order, words)

    Outbox(database, channels=[replace(good, prepare=slow)], clock=clock, rng=random.Random(1)).step("main")
    assert publisher.calls == ["upload"]
    assert only_post(database).state is PostState.MISSED


def test_words_are_fixed_at_the_first_try(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 1)
    slot(database, NOON)
    publisher.faults["send"].append("later")
    outbox(database, tmp_path, publisher).step("main")
    clock.move(minutes=1)
    other = replace(channel(tmp_path, publisher), describe=lambda order: Words("other", "other"))
    Outbox(database, channels=[other], clock=clock).step("main")
    assert publisher.ledger.posts()[0]["text"] == "A bowl. No.0001"


def test_rate_limits_of_the_past_do_not_make_a_hot_loop(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 1)
    slot(database, NOON)

    class Confused(LedgerPublisher):
        def send(self, draft: Draft, media: tuple[MediaRef, ...]) -> Sent:
            self.calls.append("send")
            raise RetryLater("Too many.", self.clock.now() - timedelta(hours=1))

    confused = Confused(publisher.ledger, clock)
    box = outbox(database, tmp_path, confused)
    assert box.step("main") == 1
    assert box.step("main") is None
    assert only_post(database).not_before == NOON + timedelta(seconds=1)
