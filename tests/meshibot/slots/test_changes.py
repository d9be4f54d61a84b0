"""What a person does with slots, and how it is taken back."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from meshibot import agenda, undo
from meshibot.database import (
    Account,
    Database,
    Picture,
    PictureState,
    Post,
    PostPicture,
    PostState,
    Slot,
    SlotState,
    Verdict,
)
from meshibot.errors import ChangedMeanwhile, NothingToDo, UsageError
from meshibot.kinds import Kind
from meshibot.outbox import people
from meshibot.quiet import QuietHours
from meshibot.slots import Schedule, changes
from meshibot.slots.changes import Desk, Words
from meshibot.slots.planner import write_slots
from testbed.ledger import NOON, Ledger, LedgerPublisher, MovableClock, new_database, outbox, stock

TOKYO = ZoneInfo("Asia/Tokyo")
SCHEDULE = Schedule("0 23 * * *", TOKYO, quiet=QuietHours(time(2), time(7)))
TONIGHT = datetime(2026, 11, 24, 23)
"""NOON is 21:00 in Tokyo."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 5)
        yield database


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def desk(database: Database, clock: MovableClock) -> Desk:
    with database.write() as session:
        session.add(Account(name="main", publisher="ledger"))
        session.flush()
        import random

        write_slots(session, "main", SCHEDULE, NOON, random.Random(1))
    return Desk(database, "main", "ledger", SCHEDULE, "a test", clock.now)


def all_slots(database: Database) -> dict[str, tuple[str, str]]:
    """State and local time by key."""
    with database.read() as session:
        rows = session.scalars(select(Slot).order_by(Slot.due_at))
        return {row.key.partition("|")[2]: (row.state.value, row.local[:16]) for row in rows}


def pictures(database: Database) -> list[str]:
    with database.read() as session:
        return [row.state.value for row in session.scalars(select(Picture).order_by(Picture.id))]


def shown(desk: Desk) -> dict[str, int]:
    """Which picture was chosen for which slot."""
    with desk.database.read() as session:
        span = agenda.entries(session, "main", SCHEDULE, NOON, NOON + timedelta(days=9), NOON)
        return {entry.minute: entry.pictures[0].id for entry in span if entry.pictures}


def take_back(desk: Desk, event: int) -> None:
    undo.undo(desk.database, [event], lambda _: desk, now=desk.now(), by="a test")


def test_a_skipped_slot_stays_skipped_through_planning_and_can_be_planned_again(desk: Desk) -> None:
    done = changes.skip(desk, TONIGHT)
    plan_again(desk)
    assert all_slots(desk.database)["2026-11-24T23:00"] == ("skipped", "2026-11-24T23:00")
    changes.restore(desk, done.slot)
    assert all_slots(desk.database)["2026-11-24T23:00"] == ("planned", "2026-11-24T23:00")


def plan_again(desk: Desk) -> None:
    import random

    with desk.database.write() as session:
        write_slots(session, "main", SCHEDULE, desk.now(), random.Random(2))


def test_a_slot_that_nobody_wrote_yet_can_be_skipped(desk: Desk, clock: MovableClock) -> None:
    later = TONIGHT + timedelta(days=5)
    assert later.isoformat(timespec="minutes") not in all_slots(desk.database)
    changes.skip(desk, later)
    clock.move(days=4)
    plan_again(desk)
    assert all_slots(desk.database)["2026-11-29T23:00"][0] == "skipped"


def test_a_moved_slot_is_not_planned_twice(desk: Desk) -> None:
    changes.move(desk, TONIGHT, TONIGHT + timedelta(minutes=45))
    plan_again(desk)
    found = all_slots(desk.database)
    assert found["2026-11-24T23:00"] == ("planned", "2026-11-24T23:45")
    assert len([key for key in found if key.startswith("2026-11-24")]) == 1


def test_a_moved_slot_is_named_by_the_time_that_the_list_shows(desk: Desk) -> None:
    """By the one it had as well, until another slot is there."""
    early, late = TONIGHT - timedelta(hours=1), TONIGHT + timedelta(minutes=30)
    moved = changes.move(desk, TONIGHT, early).slot
    assert changes.skip(desk, early).slot == moved
    changes.restore(desk, early)
    assert changes.move(desk, TONIGHT, late).slot == moved
    added = changes.add(desk, TONIGHT).slot
    assert changes.skip(desk, TONIGHT).slot == added != moved


@pytest.mark.parametrize(
    ("to", "says"),
    [
        (datetime(2026, 11, 24, 20), "has passed"),
        (datetime(2026, 11, 25, 3), "quiet hours"),
        (datetime(2026, 11, 25, 23), "already"),
        (datetime(4000, 1, 1), "can't be planned"),
    ],
)
def test_a_slot_is_not_moved_where_no_post_can_be(desk: Desk, to: datetime, says: str) -> None:
    before = all_slots(desk.database)
    with pytest.raises(UsageError, match=says):
        changes.move(desk, TONIGHT, to)
    assert all_slots(desk.database) == before


def test_what_has_passed_can_not_be_changed(desk: Desk, clock: MovableClock) -> None:
    clock.move(hours=3)
    for change in (changes.skip, changes.put):
        with pytest.raises(UsageError, match="has passed"):
            change(desk, TONIGHT)


def test_a_slot_is_added_and_taken_back(desk: Desk) -> None:
    done = changes.add(desk, datetime(2026, 11, 25, 12, 30))
    assert all_slots(desk.database)["2026-11-25T12:30"] == ("planned", "2026-11-25T12:30")
    with pytest.raises(UsageError, match="already"):
        changes.add(desk, datetime(2026, 11, 25, 12, 30))
    take_back(desk, done.event)
    assert all_slots(desk.database)["2026-11-25T12:30"][0] == "skipped"
    changes.add(desk, datetime(2026, 11, 25, 12, 30))
    assert all_slots(desk.database)["2026-11-25T12:30+1"] == ("planned", "2026-11-25T12:30")


def test_a_time_that_the_clocks_leave_out_is_moved_on_as_the_planner_does(database: Database) -> None:
    berlin = Schedule("0 23 * * *", ZoneInfo("Europe/Berlin"))
    desk = Desk(database, "main", "ledger", berlin, "a test", lambda: datetime(2027, 3, 27, tzinfo=UTC))
    changes.add(desk, datetime(2027, 3, 28, 2, 30))
    assert all_slots(database) == {"2027-03-28T02:30": ("planned", "2027-03-28T03:30")}


def test_what_a_person_put_into_a_slot_is_posted_with_its_words(
    desk: Desk, tmp_path: Path, clock: MovableClock
) -> None:
    publisher = LedgerPublisher(Ledger(tmp_path / "ledger"), clock)
    box = outbox(desk.database, tmp_path, publisher)
    changes.put(desk, TONIGHT, 4, Words("By hand. {marker} (AI)"))
    changes.put(desk, TONIGHT + timedelta(days=1), 2, Words("Without its number", "Noodles"))
    assert pictures(desk.database) == ["approved", "reserved", "approved", "reserved", "approved"]
    for _ in range(2):
        clock.move(hours=2, minutes=1)
        assert box.step("main") is not None
        clock.move(hours=21, minutes=59)
    assert [(line["text"], line["alt"]) for line in publisher.ledger.posts()] == [
        ("By hand. No.0001 (AI)", "A generated picture."),
        ("Without its number\nNo.0002", "Noodles"),
    ]
    assert pictures(desk.database) == ["approved", "posted", "approved", "posted", "approved"]


def test_without_a_picture_the_next_of_the_stock_is_put_in(desk: Desk) -> None:
    changes.put(desk, TONIGHT, words=Words("Words only"))
    assert shown(desk) == {"2026-11-24T23:00": 1}
    changes.put(desk, TONIGHT, 3)  # the words stay
    with desk.database.read() as session:
        assert [post.caption for post in session.scalars(select(Post))] == ["Words only"]
    assert pictures(desk.database) == ["approved", "approved", "reserved", "approved", "approved"]


def test_the_next_picture_is_the_one_that_would_be_posted(desk: Desk) -> None:
    """Those of the present checkpoint first; and where a person has to approve, none that nobody did."""
    with desk.database.write() as session:
        session.get_one(Picture, 4).checkpoint = "new"
        session.get_one(Picture, 2).verdict = Verdict.APPROVED
    tomorrow = TONIGHT + timedelta(days=1)
    changes.put(replace(desk, preferred=lambda: "new"), TONIGHT, words=Words("Words only"))
    reviewing = replace(desk, reviewed=True)
    changes.put(reviewing, tomorrow)
    assert shown(desk) == {"2026-11-24T23:00": 4, "2026-11-25T23:00": 2}
    with pytest.raises(NothingToDo, match="No picture in stock was approved"):
        changes.put(reviewing, TONIGHT + timedelta(days=2))


def test_a_picture_that_does_not_wait_is_refused_and_nothing_is_changed(desk: Desk) -> None:
    changes.put(desk, TONIGHT, 3)
    with pytest.raises(UsageError, match="Picture 3 is reserved"):
        changes.put(desk, TONIGHT + timedelta(days=1), 3)
    with pytest.raises(UsageError, match="no picture 99"):
        changes.put(desk, TONIGHT, 99)
    assert shown(desk) == {"2026-11-24T23:00": 3}


@pytest.mark.parametrize(
    ("others", "stays"),
    [(PostState.POSTED, "posted"), (PostState.SENDING, "reserved"), (PostState.MISSED, "")],
)
def test_a_picture_that_another_of_the_group_shows_does_not_come_back_into_the_stock(
    desk: Desk, others: PostState, stays: str
) -> None:
    changes.put(desk, TONIGHT, 4)
    with desk.database.write() as session:
        session.add(Account(name="other", publisher="ledger"))
        session.flush()
        shown_there = [PostPicture(picture_id=4, position=0)]
        session.add(post_of("other", others, shown_there))
        if others is PostState.POSTED:
            session.get_one(Picture, 4).state = PictureState.POSTED
    changes.put(desk, TONIGHT, words=Words("Words only"))  # what it shows stays
    assert shown(desk) == {"2026-11-24T23:00": 4}
    changes.clear(desk, TONIGHT)
    assert pictures(desk.database)[3] == (stays or "approved")


def post_of(account: str, state: PostState, shown_there: list[PostPicture]) -> Post:
    return Post(
        account=account,
        publisher="ledger",
        kind=Kind.SINGLE,
        state=state,
        serial=1,
        created_at=NOON,
        due_at=NOON,
        not_before=NOON,
        deadline=NOON,
        pictures=shown_there,
    )


def test_two_slots_exchange_what_they_show(desk: Desk) -> None:
    tomorrow, later = TONIGHT + timedelta(days=1), TONIGHT + timedelta(days=3)
    changes.put(desk, TONIGHT, 2)
    changes.put(desk, tomorrow, 4)
    changes.swap(desk, TONIGHT, tomorrow)
    assert shown(desk) == {"2026-11-24T23:00": 4, "2026-11-25T23:00": 2}
    done = changes.swap(desk, tomorrow, later)
    assert shown(desk) == {"2026-11-24T23:00": 4, "2026-11-27T23:00": 2}
    take_back(desk, done.event)
    assert shown(desk) == {"2026-11-24T23:00": 4, "2026-11-25T23:00": 2}
    with pytest.raises(NothingToDo):
        changes.swap(desk, later, later + timedelta(days=1))
    with pytest.raises(UsageError, match="one slot"):
        changes.swap(desk, TONIGHT, TONIGHT)


def test_skipping_gives_the_picture_back_and_undo_takes_it_again(desk: Desk) -> None:
    changes.put(desk, TONIGHT, 2, Words("Mine"))
    done = changes.skip(desk, TONIGHT)
    assert pictures(desk.database) == ["approved"] * 5
    take_back(desk, done.event)
    assert shown(desk) == {"2026-11-24T23:00": 2}
    with desk.database.read() as session:
        assert [post.caption for post in session.scalars(select(Post))] == ["Mine"]


def test_who_looked_at_an_older_version_is_told_so(desk: Desk) -> None:
    with desk.database.read() as session:
        slot = session.scalars(select(Slot).order_by(Slot.due_at)).first()
        assert slot is not None
    changes.put(desk, slot.id, 2, version=slot.version)
    with pytest.raises(ChangedMeanwhile):
        changes.skip(desk, slot.id, slot.version)
    assert shown(desk) == {"2026-11-24T23:00": 2}


def test_nothing_is_taken_back_that_has_changed_since(desk: Desk) -> None:
    done = changes.put(desk, TONIGHT, 2)
    changes.put(desk, TONIGHT, 3)
    with pytest.raises(ChangedMeanwhile):
        take_back(desk, done.event)
    assert shown(desk) == {"2026-11-24T23:00": 3}


def test_a_slot_that_is_being_posted_is_not_taken_back(
    desk: Desk, tmp_path: Path, clock: MovableClock
) -> None:
    publisher = LedgerPublisher(Ledger(tmp_path / "ledger"), clock)
    done = changes.put(desk, TONIGHT, 2)
    clock.move(hours=2, minutes=1)
    assert outbox(desk.database, tmp_path, publisher).step("main") is not None
    with pytest.raises(ChangedMeanwhile):
        take_back(desk, done.event)
    with pytest.raises(UsageError, match="taken"):
        changes.skip(desk, done.slot)
    assert people.load_post(desk.database, 1).state is PostState.POSTED


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["skip", "restore", "move", "add", "put", "clear", "swap", "undo"]),
        st.integers(0, 3),
        st.integers(1, 5),
        st.integers(0, 40),
    ),
    max_size=12,
)


@settings(max_examples=15)
@given(ACTIONS)
def test_whatever_a_person_does_no_picture_is_in_two_places(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("slots")
    with new_database(folder) as database:
        stock(database, folder, 5)
        desk = Desk(database, "main", "ledger", SCHEDULE, "a test", lambda: NOON)
        events: list[int] = []
        for action, day, picture, hours in actions:
            try:
                events += _change(desk, action, TONIGHT + timedelta(days=day), picture, hours, events)
            except (UsageError, NothingToDo, ChangedMeanwhile):
                continue
        with database.read() as session:
            ahead = list(session.scalars(select(Post)))
            held = [link.picture_id for post in ahead for link in post.pictures]
            assert len(held) == len(set(held)) == len(ahead)
            assert all(post.state is PostState.APPROVED and post.serial is None for post in ahead)
            taken = session.scalars(select(Picture.id).where(Picture.state == PictureState.RESERVED))
            assert sorted(held) == sorted(taken)
            states = {slot.id: slot.state for slot in session.scalars(select(Slot))}
            assert all(states[post.slot_id or 0] is SlotState.PLANNED for post in ahead)


def _change(
    desk: Desk, action: str, slot: datetime, picture: int, hours: int, events: list[int]
) -> list[int]:
    match action:
        case "put":
            done = changes.put(desk, slot, picture)
        case "move":
            done = changes.move(desk, slot, slot + timedelta(hours=hours - 20))
        case "add":
            done = changes.add(desk, slot + timedelta(hours=hours))
        case "swap":
            done = changes.swap(desk, slot, slot + timedelta(days=1))
        case "undo":
            return undo.undo(desk.database, events[-1:], lambda _: desk, now=NOON, by="a test")
        case _:
            done = getattr(changes, action)(desk, slot)
    return [done.event]
