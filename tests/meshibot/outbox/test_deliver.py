"""The main way, from its picture to the record: one worker at a time, and everything that may go wrong."""

import random
from collections.abc import Callable
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
    Outcome,
    Phase,
    Post,
    PostState,
    SlotState,
)
from meshibot.errors import MeshibotError, NeedsPerson, UsageError
from meshibot.outbox import Channel, Order, Outbox, Policy, Words, people
from meshibot.outbox.claim import Claim
from meshibot.outbox.deliver import may_repeat
from meshibot.publishers.base import Draft, Fence, MediaGone, MediaRef, RetryLater, Sent, unfenced
from meshibot.slots import Schedule
from testbed.ledger import (
    NOON,
    UTC_ZONE,
    Killed,
    Ledger,
    LedgerPublisher,
    MovableClock,
    OneDue,
    RecordPublisher,
    channel,
    outbox,
    slot,
    stock,
)
from tests.meshibot.outbox.asking import (
    attempts,
    look_until_settled,
    only_post,
    only_post_or_none,
    picture_states,
    the_account,
    the_slot,
)


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
        patch.setattr("meshibot.outbox.crash_point", crash)
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
    stretched = [wait / (30 * 2**number) for number, wait in enumerate(waits[:-1])]
    assert 0.5 <= min(stretched) < 1 < max(stretched) <= 1.5  # drawn, or all come back at one moment
    post = only_post(database)
    assert post.reason == "The network is busy. Given up after 6 tries."
    assert picture_states(database) == ["approved"] * 5
    assert publisher.ledger.posts() == []


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


def test_a_stop_that_only_a_person_ends_does_not_end_with_a_wait_from_before(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].extend(["limited", "stopped"])
    box.step("main")
    assert the_account(database).not_before is not None
    clock.move(minutes=16)
    box.step("main")
    assert the_account(database).not_before is None
    clock.move(hours=1)
    box.step("main")
    assert the_account(database).state is AccountState.STOPPED


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

    def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
        if self.calls.count("upload") == 1:
            raise MediaGone("It no longer knows the picture.")
        return super().send(draft, media, fence)


def test_media_that_the_network_lost_are_uploaded_again(
    one_due: OneDue, database: Database, tmp_path: Path, clock: MovableClock
) -> None:
    publisher = ForgetfulPublisher(Ledger(tmp_path / "ledger"), clock)
    box = one_due(publisher)
    box.step("main")
    box.step("main")
    assert publisher.calls == ["upload", "upload", "send"]
    assert only_post(database).state is PostState.POSTED


def test_a_claim_is_handed_back_when_the_daemon_stops(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stopping = replace(one_due(publisher), stopping=lambda: True)
    stopping.step("main")
    assert publisher.calls == ["upload"]
    assert the_account(database).lease_owner is None
    assert (only_post(database).state, only_post(database).lease_owner) == (PostState.UPLOADED, None)
    assert one_due(publisher).step("main") == 1  # at once, no lease to wait for
    assert publisher.calls == ["upload", "send"]


def slowly(good: Channel, meanwhile: Callable[[], None]) -> Channel:
    """An account whose picture takes long to make."""

    def prepare(order: Order, words: Words) -> Path:
        meanwhile()
        return good.prepare(order, words)

    return replace(good, prepare=prepare)


def stop(database: Database) -> None:
    """As a person does, or another process."""
    with database.write() as session:
        session.get_one(Account, "main").state = AccountState.STOPPED


@pytest.mark.parametrize(
    ("late", "stopped", "state", "reason"),
    [
        (0, False, PostState.POSTED, None),
        (0, True, PostState.RETRY, None),
        (1, False, PostState.MISSED, "The upload took too long. Its grace is over."),
        (1, True, PostState.MISSED, "The upload took too long. Its grace is over."),
    ],
)
def test_what_was_uploaded_is_sent_within_the_grace_and_by_an_account_that_sends(
    database: Database,
    tmp_path: Path,
    publisher: LedgerPublisher,
    clock: MovableClock,
    late: int,
    stopped: bool,
    state: PostState,
    reason: str | None,
) -> None:
    """The last moment of the grace is one of its moments."""
    stock(database, tmp_path, 1)
    slot(database, NOON - timedelta(hours=2))

    def meanwhile() -> None:
        clock.move(seconds=late)
        if stopped:
            stop(database)

    slow = slowly(channel(tmp_path, publisher), meanwhile)
    Outbox(database, channels=[slow], clock=clock, rng=random.Random(1)).step("main")
    post = only_post(database)
    assert (post.state, post.reason, post.lease_owner) == (state, reason, None)
    assert the_account(database).lease_owner is None
    assert publisher.calls == ["upload", *["send"] * (state is PostState.POSTED)]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_repetition_that_must_not_be_made_leaves_the_post_to_be_looked_for(
    one_due: OneDue, database: Database, tmp_path: Path, clock: MovableClock, stopped: bool
) -> None:
    publisher = RecordPublisher(Ledger(tmp_path / "ledger"), clock)
    publisher.faults["send"].append("lost")
    box = one_due(publisher)
    box.step("main")
    clock.move(minutes=1)
    unclear = only_post(database)
    (tmp_path / "main-1.jpg").unlink()  # it has to be made once more
    slow = slowly(box.channel("main"), lambda: stop(database) if stopped else clock.move(hours=3))
    Outbox(database, channels=[slow], clock=clock, elapsed=lambda: clock.elapsed).step("main")
    post = only_post(database)
    assert (post.state, post.reason, post.lease_owner) == (PostState.UNKNOWN, unclear.reason, None)
    assert the_account(database).lease_owner is None
    assert picture_states(database) == ["reserved"]
    assert publisher.calls == ["upload", "send"]
    people.resume(database, "main", clock=clock)
    look_until_settled(box, clock)
    assert only_post(database).state is PostState.POSTED
    assert len(publisher.ledger.posts()) == 1


@pytest.mark.parametrize(
    ("by_name", "duplicate", "late", "attempts", "may"),
    [
        (True, False, 0, 5, True),
        (True, False, 1, 5, False),
        (True, False, 0, 6, False),
        (True, True, 0, 1, False),
        (False, False, 0, 1, False),
        (False, True, 0, 1, False),
    ],
)
def test_an_unclear_post_is_sent_again_only_under_a_name_in_time_and_not_too_often(
    one_due: OneDue,
    database: Database,
    tmp_path: Path,
    clock: MovableClock,
    by_name: bool,
    duplicate: bool,
    late: int,
    attempts: int,
    may: bool,
) -> None:
    kind = RecordPublisher if by_name else LedgerPublisher
    publisher = kind(Ledger(tmp_path / "ledger"), clock)
    publisher.faults["send"].append("lost")
    box = one_due(publisher)
    box.step("main")
    with database.write() as session:
        post = session.get_one(Post, 1)
        post.duplicate, post.attempts = duplicate, attempts
        clock.time = post.deadline + timedelta(seconds=late)
    assert may_repeat(box, Claim(box.channel("main"), 1, "a worker", unclear=True)) is may


def test_that_it_is_being_sent_is_written_down_before_the_request(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """Whoever comes after a process that ended there knows what to look for, where and since when."""
    slot(database, NOON)
    known: list[object] = []

    def look() -> None:
        post, account = only_post(database), the_account(database)
        known.extend([post.state, post.publisher, post.sent_at, account.last_sent_at])
        known.extend(attempts(database))

    publisher.during["upload"] = lambda: clock.move(seconds=5)
    publisher.during["send"] = look
    box.step("main")
    sent_at = NOON + timedelta(seconds=5)
    assert known == [
        *(PostState.SENDING, "ledger", sent_at, sent_at),
        *((Phase.UPLOAD, Outcome.DONE), (Phase.SEND, None)),
    ]
    assert attempts(database) == [(Phase.UPLOAD, Outcome.DONE), (Phase.SEND, Outcome.DONE)]


def test_each_step_of_a_post_is_told(
    box: Outbox, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "meshibot.outbox")
    slot(database, NOON)
    box.step("main")
    assert caplog.messages == [
        "post 1 (No.0001, main): uploading main-1.jpg",
        "post 1 (No.0001, main): sending to ledger",
        "post 1 (No.0001, main): posted. https://ledger.example/r1",
    ]


def test_words_are_fixed_at_the_first_try(
    one_due: OneDue, database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    publisher.faults["send"].append("later")
    one_due(publisher).step("main")
    clock.move(minutes=1)
    other = replace(channel(tmp_path, publisher), describe=lambda order: Words("other", "other"))
    Outbox(database, channels=[other], clock=clock).step("main")
    assert publisher.ledger.posts()[0]["text"] == "A bowl. No.0001"


def test_rate_limits_of_the_past_do_not_make_a_hot_loop(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:

    class Confused(LedgerPublisher):
        def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
            self.calls.append("send")
            raise RetryLater("Too many.", self.clock.now() - timedelta(hours=1))

    confused = Confused(publisher.ledger, clock)
    box = one_due(confused)
    assert box.step("main") == 1
    assert box.step("main") is None
    assert only_post(database).not_before == NOON + timedelta(seconds=1)
