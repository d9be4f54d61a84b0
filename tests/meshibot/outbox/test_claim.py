"""Leases, and the fence: who lost a claim changes nothing any more."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from meshibot.database import (
    Database,
    Post,
    PostState,
)
from meshibot.outbox import Order, Outbox, Words
from tests.meshibot.ledger import (
    NOON,
    Killed,
    LedgerPublisher,
    MovableClock,
    channel,
    outbox,
    slot,
    stock,
)
from tests.meshibot.outbox.asking import only_post, the_account


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
