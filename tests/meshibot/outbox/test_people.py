"""What a person does: post now, resolve, withdraw, take down, let an account go on."""

import pytest

from meshibot.database import (
    Database,
    Kind,
    Outcome,
    Phase,
    PostState,
    SlotState,
)
from meshibot.errors import NothingToDo, UsageError
from meshibot.outbox import Outbox, people
from meshibot.publishers.base import Sent
from tests.meshibot.ledger import (
    NOON,
    LedgerPublisher,
    MovableClock,
    slot,
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
