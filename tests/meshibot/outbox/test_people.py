"""What a person does: post now, resolve, withdraw, take down, let an account go on."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from meshibot.database import Account, Database, Event, Outcome, Phase, Post, PostState, SlotState
from meshibot.errors import ChangedMeanwhile, Interrupted, NothingToDo, UsageError
from meshibot.kinds import Kind
from meshibot.outbox import Outbox, people
from meshibot.publishers.base import Publisher, Sent
from meshibot.publishers.folder import FolderPublisher
from testbed.ledger import (
    NOON,
    LedgerPublisher,
    MovableClock,
    channel,
    slot,
    stock,
)
from tests.meshibot.outbox.asking import attempts, look_until_settled, only_post, picture_states, the_slot


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


def test_failed_calls_leave_one_post_and_the_next_one_that_works_posts_one(
    box: Outbox,
    database: Database,
    publisher: LedgerPublisher,
    clock: MovableClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publisher.faults["upload"].extend(["later"] * 3)
    for _ in range(3):
        post = people.post_now(box, "main", patience=timedelta())
        assert (post.id, post.state) == (1, PostState.RETRY)
        clock.move(seconds=5)
    post = people.post_now(box, "main")
    assert (post.id, post.state) == (1, PostState.POSTED)
    assert [line["text"][-4:] for line in publisher.ledger.posts()] == ["0001"]
    assert "post 1 (No.0001, main) was asked for before and still waits" in caplog.text
    assert people.post_now(box, "main").id == 2


def test_post_now_sends_nothing_but_its_own_post(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """A slot's post that waits for its turn, and one of another kind that a person asked for before."""
    slot(database, NOON)
    publisher.faults["upload"].extend(["later", "later"])
    box.step("main")
    people.post_now(box, "main", Kind.GRID, patience=timedelta())
    clock.move(minutes=20)
    stock(database, publisher.ledger.path.parent, 1, seed=1)
    post = people.post_now(box, "main")
    assert (post.id, post.state) == (3, PostState.POSTED)
    assert [line["text"][-4:] for line in publisher.ledger.posts()] == ["0003"]


def test_posts_that_wait_are_sent_at_a_distance(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """Though a person asked for them: those that were asked for minutes ago make no burst."""
    publisher.faults["upload"].extend(["later", "later"])
    people.post_now(box, "main", patience=timedelta())
    people.post_now(box, "main", Kind.GRID, patience=timedelta())
    clock.move(minutes=20)
    sent = []
    for _ in range(40):
        if box.step("main") is not None:
            sent.append(clock.now())
        clock.move(seconds=15)
    assert len(publisher.ledger.posts()) == 2
    assert sent[1] - sent[0] >= timedelta(minutes=5)


def test_what_may_exist_is_looked_for_before_a_new_post_is_made(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    publisher.faults["send"].append("lost")
    first = people.post_now(box, "main", patience=timedelta())
    assert first.state is PostState.UNKNOWN
    assert people.post_now(box, "main").id == 2
    assert people.load_post(database, 1).state is PostState.POSTED
    assert len(publisher.ledger.posts()) == 2


@pytest.mark.parametrize(
    ("moment", "state", "says"),
    [
        ("upload", PostState.CLAIMED, "was not sent, and waits.*meshibot cancel 1"),
        ("fence", PostState.UNKNOWN, "may exist.*meshibot resolve 1 --posted ID"),
        ("send", PostState.UNKNOWN, "may exist.*meshibot resolve 1 --posted ID"),
        ("find", PostState.UNKNOWN, "may exist.*meshibot resolve 1 --posted ID"),
    ],
)
def test_a_person_who_ends_it_is_told_what_was_left(
    box: Outbox,
    database: Database,
    publisher: LedgerPublisher,
    clock: MovableClock,
    moment: str,
    state: PostState,
    says: str,
) -> None:
    """And it can be gone on with at once: the claim was given back."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    publisher.during[moment] = interrupt
    if moment == "find":
        publisher.faults["send"].append("lost")
    with pytest.raises(Interrupted, match=says) as interrupted:
        people.post_now(box, "main")
    assert interrupted.value.exit_status == 130
    post = only_post(database)
    assert (post.state, post.lease_owner) == (state, None)
    look_until_settled(box, clock)
    assert only_post(database).state is PostState.POSTED
    assert len(publisher.ledger.posts()) == 1


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


def events(database: Database) -> list[tuple[str, str, int | None, str | None]]:
    with database.read() as session:
        rows = session.scalars(select(Event).order_by(Event.id))
        return [(row.actor, row.action, row.post_id, row.note) for row in rows]


def test_a_post_that_waits_can_be_withdrawn_and_no_other(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    publisher.faults["send"].extend(["later", "lost"])
    slot(database, NOON)
    box.step("main")
    post = people.cancel(database, 1, clock=clock, by="Aki")
    assert (post.state, post.reason) == (PostState.CANCELLED, "A person withdrew it.")
    assert picture_states(database) == ["approved"] * 5
    clock.move(hours=1)
    assert box.step("main") is None
    slot(database, clock.now())
    box.step("main")
    with pytest.raises(UsageError, match="is unknown: only a post that waits can be withdrawn"):
        people.cancel(database, 2)
    assert events(database) == [("Aki", "cancel", 1, None)]


def test_who_did_what_is_recorded(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("duplicate")
    look_until_settled(box, clock)
    people.resolve(database, 1, posted=Sent("r7", ""), clock=clock)
    people.delete(database, 1, lambda row: publisher, clock=clock, by="Aki")
    publisher.faults["send"].append("stopped")
    people.post_now(box, "main")
    people.resume(database, "main", remote_user_id="u1")
    assert events(database) == [
        ("command line", "resolve", 1, "posted: r7"),
        ("Aki", "delete", 1, None),
        ("command line", "resume", None, "The credits are used up. Buy some."),
    ]
    with database.read() as session:
        assert session.get_one(Account, "main").remote_user_id == "u1"


def test_a_person_can_not_say_that_one_post_is_another(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    people.post_now(box, "main")
    slot(database, clock.now())
    publisher.faults["send"].append("duplicate")
    look_until_settled(box, clock)
    with pytest.raises(UsageError, match="That is post 1"):
        people.resolve(database, 2, posted=Sent("r1", ""))
    assert people.resolve(database, 2, posted=Sent("r9", "")).state is PostState.POSTED


def test_a_post_is_taken_down_from_where_it_was_made(
    box: Outbox, database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """The account posts elsewhere now."""
    people.post_now(box, "main")
    elsewhere = FolderPublisher(tmp_path / "posts")
    other = Outbox(database, clock=clock, channels=[channel(tmp_path, elsewhere)])
    people.post_now(other, "main")
    there: dict[str, Publisher] = {"ledger": publisher, "folder": elsewhere}
    for post_id in (1, 2):
        people.delete(database, post_id, lambda row: there[row.publisher])
    assert publisher.calls[-1] == "delete r1"
    assert list((tmp_path / "posts").iterdir()) == []


def test_who_edits_what_was_changed_meanwhile_is_told(box: Outbox, database: Database) -> None:
    people.post_now(box, "main")
    post = people.load_post(database, 1)
    with database.write() as session:
        session.get_one(Post, 1).reason = "Another's change."
    post.reason = "Mine."
    with pytest.raises(ChangedMeanwhile, match="look again"), database.write() as session:
        session.add(post)
    assert people.load_post(database, 1).reason == "Another's change."
