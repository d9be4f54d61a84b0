"""What may exist is looked for, never sent blind, and in the end a person is asked."""

from datetime import timedelta
from pathlib import Path

import pytest

from meshibot.database import (
    Database,
    Outcome,
    Phase,
    PostState,
)
from meshibot.outbox import Outbox, people
from tests.meshibot.ledger import (
    NOON,
    Killed,
    LedgerPublisher,
    MovableClock,
    outbox,
    slot,
    stock,
)
from tests.meshibot.outbox.asking import attempts, look_until_settled, only_post


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
