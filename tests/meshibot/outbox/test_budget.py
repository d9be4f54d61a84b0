"""A month's budget in dollars: never overspent, and what it stops is missed with that reason."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from meshibot.database import Database, Post, PostMetrics, PostState, Slot, SlotState
from meshibot.errors import NothingToDo
from meshibot.outbox import Outbox, people
from meshibot.publishers.base import Price
from meshibot.slots import Schedule
from testbed import ledger
from testbed.ledger import NOON, Ledger, LedgerPublisher, MovableClock, channel

TOKYO = ZoneInfo("Asia/Tokyo")


class DearLedger(LedgerPublisher):
    """A network that charges, and more for a link."""

    price: ClassVar[Price] = Price(post=0.25, link=2.0)

    @staticmethod
    def has_link(caption: str) -> bool:
        return "example.com" in caption


@pytest.fixture
def box(database: Database, tmp_path: Path) -> Outbox:
    clock = MovableClock()
    ledger.stock(database, tmp_path, 9)
    schedule = Schedule("0 * * * *", TOKYO, monthly_budget=1.0)
    publisher = DearLedger(Ledger(tmp_path / "ledger"), clock)
    return Outbox(database, clock=clock, channels=[channel(tmp_path, publisher, schedule=schedule)])


def work(box: Outbox) -> None:
    while box.step("main") is not None:
        pass


def test_what_would_cost_more_is_missed_until_the_month_is_over(
    box: Outbox, database: Database, tmp_path: Path
) -> None:
    clock = box.clock
    assert isinstance(clock, MovableClock)
    for hour in range(6):
        ledger.slot(database, NOON + timedelta(hours=hour))
    for _ in range(6):
        work(box)
        clock.move(hours=1)
    with database.read() as session:
        slots = session.scalars(select(Slot).order_by(Slot.due_at)).all()
    assert [slot.state for slot in slots] == [SlotState.TAKEN] * 4 + [SlotState.MISSED] * 2
    assert {slot.reason for slot in slots[4:]} == {"The monthly budget of $1.00 is used up."}
    with pytest.raises(NothingToDo, match=r"\$1.00 is used up. Wait until it begins anew, or raise"):
        people.post_now(box, "main")
    # December begins in Tokyo nine hours before it does in London
    clock.jump(days=6 - 6 / 24, hours=3, minutes=1)
    assert clock.now().day == 30
    assert people.post_now(box, "main").state is PostState.POSTED


def test_a_post_with_a_link_counts_as_what_it_cost(box: Outbox, database: Database) -> None:
    people.post_now(box, "main")
    with database.write() as session:
        session.scalars(select(Post)).one().caption = "example.com No.0001"
    with pytest.raises(NothingToDo, match="monthly budget"):
        people.post_now(box, "main")


def test_what_looking_at_reactions_cost_is_spent_as_well(
    box: Outbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dollar is four posts; with a look at one of them, three."""
    monkeypatch.setattr(DearLedger, "price", Price(post=0.25, read=0.01))
    clock = box.clock
    assert isinstance(clock, MovableClock)
    ledger.slot(database, NOON)
    work(box)
    with database.write() as session:
        (post,) = session.scalars(select(Post.id))
        session.add(PostMetrics(post_id=post, measured_at=clock.now(), likes=3))
        gone = NOON - timedelta(days=40)
        session.add(PostMetrics(post_id=post, measured_at=gone, likes=3))
    for hour in range(1, 5):
        ledger.slot(database, NOON + timedelta(hours=hour))
        clock.move(hours=1)
        work(box)
    with database.read() as session:
        slots = session.scalars(select(Slot).order_by(Slot.due_at)).all()
    assert [slot.state for slot in slots] == [SlotState.TAKEN] * 3 + [SlotState.MISSED] * 2
    assert slots[-1].reason == "The monthly budget of $1.00 is used up."
