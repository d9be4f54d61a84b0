"""What may exist is looked for, never sent blind, and in the end a person is asked."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from meshibot.database import (
    Account,
    AccountState,
    Database,
    Outcome,
    Phase,
    Post,
    PostState,
)
from meshibot.outbox import Outbox, Policy, people
from meshibot.publishers.base import Draft, Fence, MediaRef, Sent, unfenced
from meshibot.publishers.folder import FolderPublisher
from testbed.ledger import (
    NOON,
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
from tests.meshibot.outbox.asking import attempts, look_until_settled, only_post, only_post_or_none


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


def test_a_request_that_a_jump_of_the_clock_made_late_is_still_under_way(
    one_due: OneDue, database: Database, tmp_path: Path, clock: MovableClock
) -> None:
    """The look is the truth, and yet too early: another process's request has not ended."""
    publishers = [RecordPublisher(Ledger(tmp_path / "ledger"), clock) for _ in range(2)]
    first, second = (one_due(publisher) for publisher in publishers)
    publishers[0].faults["send"].append("lost")

    def another_process_works_a_day_later() -> None:
        clock.jump(days=1)
        second.step("main")

    publishers[0].during["send"] = another_process_works_a_day_later
    first.step("main")
    assert publishers[1].calls == ["find"]
    assert only_post(database).state is PostState.UNKNOWN
    look_until_settled(second, clock)
    assert only_post(database).remote_id == "r1"
    assert publishers[0].calls.count("send") == 1


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


@pytest.mark.parametrize(("spread", "finds"), [(timedelta(), 4), (timedelta(minutes=5), 11)])
def test_a_post_is_absent_after_so_many_looks_and_so_long_a_time(
    one_due: OneDue,
    database: Database,
    publisher: LedgerPublisher,
    clock: MovableClock,
    spread: timedelta,
    finds: int,
) -> None:
    """Looks are half a minute apart."""
    publisher.faults["send"].append("unclear")
    policy = Policy(looks=4, look_spread=spread)
    box = one_due(publisher, policy)
    while only_post_or_none(database) is None or only_post(database).state is not PostState.POSTED:
        assert clock.now() < NOON + timedelta(minutes=9)
        if box.step("main") is None:
            clock.move(seconds=1)
    assert publisher.calls.count("find") == finds


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


def test_what_is_found_and_is_another_post_of_ours_is_not_believed(
    box: Outbox,
    database: Database,
    publisher: LedgerPublisher,
    clock: MovableClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A home that was begun anew finds the old posts of the same numbers; here the first is found twice."""
    people.post_now(box, "main")
    publisher.faults["send"].append("unclear")
    slot(database, NOON)
    box.step("main")

    class Confused(LedgerPublisher):
        def find(self, draft: Draft, since: datetime) -> tuple[Sent, ...]:
            super().find(draft, since)
            return (Sent("r1", "https://ledger.example/r1"),)

    confused = Confused(publisher.ledger, clock)
    look_until_settled(outbox(database, publisher.ledger.path.parent, confused), clock)
    with database.read() as session:
        assert set(session.scalars(select(Post.remote_id))) == {"r1", "r2"}
    assert confused.calls.count("find") >= 4
    assert "post 2 (No.0002, main): what was found (r1) is post 1" in caplog.messages


def test_an_answer_that_names_another_post_of_ours_is_unclear(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    people.post_now(box, "main")

    class Confused(LedgerPublisher):
        def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
            super().send(draft, media, fence)
            return Sent("r1", "https://ledger.example/r1")

    slot(database, NOON)
    confused = outbox(database, publisher.ledger.path.parent, Confused(publisher.ledger, clock))
    assert confused.step("main") == 2
    post = people.load_post(database, 2)
    assert (post.state, post.reason) == (PostState.UNKNOWN, "The network answered with the id of post 1.")
    look_until_settled(confused, clock)
    assert people.load_post(database, 2).remote_id == "r2"
    assert len(publisher.ledger.posts()) == 2


def test_one_that_may_exist_where_its_account_no_longer_posts_needs_a_person(
    box: Outbox, database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("lost")
    box.step("main")
    folder = FolderPublisher(tmp_path / "posts")
    elsewhere = Outbox(database, clock=clock, channels=[channel(tmp_path, folder)])
    elsewhere.step("main")
    post = only_post(database)
    assert (post.state, post.publisher) == (PostState.NEEDS_PERSON, "ledger")
    assert "may have been posted to ledger" in str(post.reason)
    assert not list(folder.folder.glob("*"))
    people.resolve(database, post.id, clock=clock)
    elsewhere.step("main")
    assert (only_post(database).state, only_post(database).publisher) == (PostState.POSTED, "folder")


class Watched(LedgerPublisher):
    """It keeps from when on it was asked to look."""

    since: list[datetime]

    def find(self, draft: Draft, since: datetime) -> tuple[Sent, ...]:
        self.since.append(since)
        return super().find(draft, since)


def test_a_look_begins_a_day_before_the_post(
    one_due: OneDue, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """The clock may have been wrong when it was made."""
    watched = Watched(publisher.ledger, clock)
    watched.since = []
    watched.faults["send"].append("lost")
    look_until_settled(one_due(watched), clock)
    assert watched.since == [NOON - timedelta(days=1)]


def test_of_several_with_its_number_the_one_that_was_made_first_is_ours(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """A person may have said it again."""
    publisher.faults["send"].append("lost")
    box = one_due(publisher)
    box.step("main")
    (line,) = publisher.ledger.posts()
    again = json.dumps({**line, "id": "r2", "text": f"Look: {line['text']}", "key": "another"})
    with publisher.ledger.path.open("a") as file:
        file.write(f"{again}\n")
    box.step("main")
    assert only_post(database).remote_id == "r1"


class Dated(LedgerPublisher):
    """Its timeline says how old the post with the number is."""

    age: timedelta

    def find(self, draft: Draft, since: datetime) -> tuple[Sent, ...]:
        return tuple(Sent(sent.remote_id, sent.url, self.age) for sent in super().find(draft, since))


@pytest.mark.parametrize("ago", [timedelta(), timedelta(minutes=5)])
@pytest.mark.parametrize("beyond", [timedelta(seconds=-1), timedelta(), timedelta(seconds=1)])
def test_what_is_an_hour_older_than_the_post_is_not_taken_for_it(
    one_due: OneDue,
    database: Database,
    publisher: LedgerPublisher,
    clock: MovableClock,
    ago: timedelta,
    beyond: timedelta,
) -> None:
    """The clock here may have been set right since the post was begun, by less than that."""
    dated = Dated(publisher.ledger, clock)
    dated.age = ago + timedelta(hours=1) + beyond
    dated.faults["send"].append("lost")
    box = one_due(dated)
    box.step("main")
    clock.move(seconds=ago.total_seconds())
    box.step("main")
    assert only_post(database).state is (PostState.UNKNOWN if beyond > timedelta() else PostState.POSTED)


def test_a_look_needs_no_picture(
    one_due: OneDue, database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """It can't be made where the stock is away, and what exists is to be found all the same."""
    publisher.faults["send"].append("lost")
    box = one_due(publisher)
    box.step("main")
    (tmp_path / "main-1.jpg").unlink()
    (tmp_path / "picture-0-0.png").unlink()
    box.step("main")
    assert only_post(database).state is PostState.POSTED


def test_a_look_is_told_and_its_repetition_is_not(
    box: Outbox,
    database: Database,
    publisher: LedgerPublisher,
    clock: MovableClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """That it is looked for is of use to whoever debugs; that it is unclear is told once."""
    slot(database, NOON)
    publisher.faults["send"].append("lost")
    publisher.lag = 70
    caplog.set_level("DEBUG", "meshibot.outbox")
    look_until_settled(box, clock, 4)
    looking = ("INFO", "post 1 (No.0001, main): looking for it on ledger")
    unclear = "post 1 (No.0001, main): unknown. The answer was lost."
    assert [(record.levelname, record.getMessage()) for record in caplog.records][2:] == [
        *(("WARNING", unclear), looking, ("DEBUG", unclear), looking, ("DEBUG", unclear), looking),
        ("INFO", "post 1 (No.0001, main): posted. https://ledger.example/r1"),
    ]


def test_looks_for_an_earlier_send_do_not_count_for_a_later_one(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    publisher.faults["send"].extend(["unclear", "lost"])
    publisher.lag = 70
    box = one_due(publisher)
    look_until_settled(box, clock, 4)
    assert publisher.calls.count("find") == 3
    people.resolve(database, 1, clock=clock)
    look_until_settled(box, clock)
    assert only_post(database).state is PostState.POSTED
    assert publisher.calls.count("send") == 2
    assert len(publisher.ledger.posts()) == 1


def test_an_account_that_is_stopped_during_the_upload_sends_nothing(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:

    def stop() -> None:
        with database.write() as session:
            account = session.get_one(Account, "main")
            account.state, account.stopped_reason = AccountState.STOPPED, "No credits."

    publisher.during["upload"] = stop
    box = one_due(publisher)
    box.step("main")
    assert publisher.calls == ["upload"]
    assert only_post(database).state is PostState.RETRY
    people.resume(database, "main", clock=clock)
    box.step("main")
    assert publisher.calls == ["upload", "send"]
