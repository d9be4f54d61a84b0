"""Every slot is written once, ahead of time, and follows a schedule that changes."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from meshibot.database import Account, Database, Post, PostMetrics, PostState, Slot, SlotState
from meshibot.kinds import Kind
from meshibot.quiet import QuietHours
from meshibot.slots import Auto, Schedule, at_hours
from meshibot.slots.planner import HORIZON, heard_of, write_slots
from testbed.ledger import new_database

TOKYO = ZoneInfo("Asia/Tokyo")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with new_database(tmp_path) as database:
        with database.write() as session:
            session.add(Account(name="main", publisher="folder"))
        yield database


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def write(database: Database, schedule: Schedule, now: datetime, seed: int = 0) -> int:
    with database.write() as session:
        return write_slots(session, "main", schedule, now, random.Random(seed))


def slots(database: Database) -> list[Slot]:
    with database.read() as session:
        return list(session.scalars(select(Slot).order_by(Slot.due_at)))


def test_slots_are_written_ahead_and_once(database: Database) -> None:
    schedule = Schedule("0 * * * *", TOKYO)
    assert write(database, schedule, NOON) == 48
    assert write(database, schedule, NOON) == 0
    assert write(database, schedule, NOON + timedelta(hours=3)) == 3
    assert all(slot.state is SlotState.PLANNED for slot in slots(database))
    first = slots(database)[0]
    assert (first.key, first.local) == ("main|2026-11-24T21:00", "2026-11-24T21:00+09:00")


def test_jitter_is_drawn_once_and_stays_out_of_the_quiet_hours(database: Database) -> None:
    schedule = Schedule("0,59 * * * *", TOKYO, timedelta(minutes=20), quiet=QuietHours.parse("00:00-07:00"))
    write(database, schedule, NOON)
    drawn = {slot.key: slot.due_at for slot in slots(database)}
    late = [slot for slot in slots(database) if slot.due_at.second]
    assert len(late) > 20
    write(database, schedule, NOON + timedelta(minutes=10), seed=1)
    assert {key: drawn[key] for key in drawn} == {s.key: s.due_at for s in slots(database) if s.key in drawn}
    assert schedule.quiet is not None
    for slot in slots(database):
        if slot.state is SlotState.PLANNED:
            assert slot.due_at.astimezone(TOKYO) not in schedule.quiet
            nominal = datetime.fromisoformat(slot.local)
            assert nominal <= slot.due_at < nominal + timedelta(minutes=20)
        else:
            assert slot.reason == "It lies in the quiet hours 00:00-07:00."


class Latest(random.Random):
    """It draws the longest jitter."""

    def random(self) -> float:
        return 1 - 2**-53


@pytest.mark.parametrize("jitter", [20, 0], ids=["as it was", "taken away since"])
def test_what_its_jitter_has_put_off_is_in_the_schedule_still(database: Database, jitter: int) -> None:
    with database.write() as session:
        schedule = Schedule("0 * * * *", TOKYO, timedelta(minutes=20))
        write_slots(session, "main", schedule, NOON, Latest())
    first = slots(database)[0]
    assert NOON + timedelta(minutes=19, seconds=59) < first.due_at <= NOON + timedelta(minutes=20)
    later = NOON + timedelta(minutes=19, seconds=30)
    write(database, Schedule("0 * * * *", TOKYO, timedelta(minutes=jitter)), later)
    kept = slots(database)[0]
    assert (kept.key, kept.due_at, kept.state) == (first.key, first.due_at, SlotState.PLANNED)
    write(database, Schedule("30 * * * *", TOKYO, timedelta(minutes=20)), later)
    assert slots(database)[0].state is SlotState.MISSED, "another schedule has it no more"


def test_a_schedule_may_have_nothing_in_sight(database: Database) -> None:
    assert write(database, Schedule("0 0 1 1 *", TOKYO), NOON) == 0
    assert slots(database) == []


def test_what_is_due_now_and_what_was_written_for_stay_whatever_is_changed(database: Database) -> None:
    write(database, Schedule("0 * * * *", TOKYO), NOON)
    with database.write() as session:
        row = session.scalars(select(Slot).order_by(Slot.due_at).offset(5).limit(1)).one()
        ahead = Post(
            account="main", publisher="folder", kind=Kind.SINGLE, state=PostState.APPROVED, slot_id=row.id,
            not_before=row.due_at, due_at=row.due_at, deadline=row.due_at, created_at=NOON,
        )  # fmt: skip
        session.add(ahead)
        session.add(Slot(account="main", key="main|x", due_at=NOON + timedelta(hours=1), local="then"))
    write(database, Schedule("30 * * * *", TOKYO), NOON)
    rows = [slot for slot in slots(database) if slot.key.endswith(":00")]
    assert [place for place, slot in enumerate(rows) if slot.state is SlotState.PLANNED] == [0, 5]
    assert [slot.state for slot in slots(database) if slot.local == "then"] == [SlotState.MISSED]


def test_a_changed_schedule_leaves_a_record_and_can_come_back(database: Database) -> None:
    hourly = Schedule("0 * * * *", TOKYO)
    write(database, hourly, NOON)
    write(database, Schedule("0 21 * * *", TOKYO), NOON)
    states = [slot.state for slot in slots(database)]
    assert (states.count(SlotState.PLANNED), states.count(SlotState.MISSED)) == (2, 46)
    assert all(slot.reason for slot in slots(database) if slot.state is SlotState.MISSED)
    write(database, hourly, NOON)
    assert all(slot.state is SlotState.PLANNED and slot.reason is None for slot in slots(database))
    quiet = Schedule("0 * * * *", TOKYO, quiet=QuietHours.parse("00:00-06:00"))
    write(database, quiet, NOON)
    assert sum(slot.state is SlotState.MISSED for slot in slots(database)) == 12


def test_another_time_zone_moves_the_slots_ahead(database: Database) -> None:
    """Their keys are local times, and stay."""
    write(database, Schedule("0 8,23 * * *", TOKYO), NOON)
    before = {slot.key for slot in slots(database)}
    berlin = Schedule("0 8,23 * * *", BERLIN, timedelta(minutes=20))
    write(database, berlin, NOON)
    moved = [slot for slot in slots(database) if slot.state is SlotState.PLANNED]
    assert {slot.key for slot in moved} & before
    for row in moved:
        local = row.due_at.astimezone(BERLIN)
        assert row.key == f"main|{local:%Y-%m-%dT%H}:00"
        assert row.local == f"{local:%Y-%m-%dT%H}:00+01:00"
    drawn = [slot.due_at for slot in slots(database)]
    write(database, berlin, NOON, seed=1)
    assert [slot.due_at for slot in slots(database)] == drawn


def test_after_downtime_the_time_between_is_written_too(database: Database) -> None:
    schedule = Schedule("0 12 * * *", ZoneInfo("UTC"))
    write(database, schedule, NOON)
    assert write(database, schedule, NOON + timedelta(days=10)) == 10
    assert write(database, schedule, NOON + timedelta(days=400)) == 33


def test_a_clock_that_jumps_writes_nothing_twice(database: Database) -> None:
    schedule = Schedule("0 * * * *", TOKYO)
    write(database, schedule, NOON)
    write(database, schedule, NOON + timedelta(days=20))
    before = len(slots(database))
    with database.write() as session:
        for slot in session.scalars(select(Slot).where(Slot.due_at < NOON + timedelta(days=20))):
            slot.state, slot.reason = SlotState.MISSED, "late"
    assert write(database, schedule, NOON) == 0  # back again
    assert len(slots(database)) == before
    ahead = [slot for slot in slots(database) if NOON < slot.due_at < NOON + HORIZON]
    assert len(ahead) == 47
    assert all(slot.state is SlotState.PLANNED for slot in ahead)


def test_what_a_person_did_to_a_slot_stays(database: Database) -> None:
    """One is moved, one skipped, and one added that no schedule has."""
    hourly = Schedule("0 * * * *", TOKYO)
    write(database, hourly, NOON)
    added = NOON + timedelta(hours=5, minutes=7)
    with database.write() as session:
        moved, skipped = session.scalars(select(Slot).order_by(Slot.due_at).offset(3).limit(2))
        moved.due_at += timedelta(minutes=17)
        moved.pinned = skipped.pinned = True
        skipped.state = SlotState.SKIPPED
        session.add(Slot(account="main", key="main|by hand", due_at=added, local="", pinned=True))
    before = {slot.key: (slot.due_at, slot.state) for slot in slots(database) if slot.pinned}
    assert len(before) == 3
    for schedule in (hourly, Schedule("0 21 * * *", BERLIN), hourly):
        assert write(database, schedule, NOON) in (0, 1)
        assert {slot.key: (slot.due_at, slot.state) for slot in slots(database) if slot.pinned} == before


# ---- hours that are drawn ------------------------------------------------------------------------


def auto(posts: int = 2, hours: tuple[int, ...] = tuple(range(7, 24)), **said: Any) -> Schedule:
    return Schedule(at_hours(hours[:posts]), TOKYO, auto=Auto(hours, posts), **said)


def by_day(database: Database, *states: SlotState) -> Counter[str]:
    return Counter(slot.key[5:15] for slot in slots(database) if slot.state in states)


def test_drawn_days_are_whole_and_stay_as_they_were_drawn(database: Database) -> None:
    """Every hour of a month the planner looks: each day has what was asked for, at allowed hours."""
    for hour in range(24 * 12):
        write(database, auto(), NOON + timedelta(hours=hour), seed=hour)
    days = by_day(database, SlotState.PLANNED)
    assert set(days.values()) == {2}
    assert 12 <= len(days) <= 14
    assert {slot.due_at.astimezone(TOKYO).hour for slot in slots(database)} <= set(range(7, 24))
    assert len({slot.key[-5:] for slot in slots(database)}) > 6, "they are drawn, not fixed"


def test_of_the_present_day_only_the_hours_to_come_are_drawn_from(database: Database) -> None:
    """NOON is 21:00 in Tokyo; the day on which the horizon lies is not whole."""
    write(database, auto(3), NOON)
    assert [slot.key[5:] for slot in slots(database)][:2] == ["2026-11-24T22:00", "2026-11-24T23:00"]
    assert by_day(database, SlotState.PLANNED) == {"2026-11-24": 2, "2026-11-25": 3}


@pytest.mark.parametrize(("change", "more"), [("none", 1), ("taken", 0), ("by hand", 0)])
def test_what_the_settings_do_not_explain_counts_where_it_stays(
    database: Database, change: str, more: int
) -> None:
    """Posted under hours from before, or a person's; what was only planned gives way."""
    noon = NOON + timedelta(hours=15)  # of the next day
    write(database, auto(1, (12,)), NOON)
    with database.write() as session:
        row = session.scalars(select(Slot)).one()
        if change == "taken":
            row.state = SlotState.TAKEN
        if change == "by hand":
            row.key, row.due_at, row.local, row.pinned = "main|a name", noon + timedelta(hours=3), "", True
    write(database, auto(1, (13,)), NOON)
    drawn = [slot for slot in slots(database) if slot.key == "main|2026-11-25T13:00"]
    assert len(drawn) == more


def test_never_more_than_asked_whatever_was_done(database: Database) -> None:
    write(database, auto(), NOON)
    with database.write() as session:
        rows = session.scalars(select(Slot).order_by(Slot.due_at)).all()
        rows[0].state = SlotState.TAKEN
        rows[1].state, rows[1].pinned = SlotState.SKIPPED, True
        rows[2].due_at += timedelta(days=1)
        rows[2].pinned = True
    before = {slot.key: slot.state for slot in slots(database)}
    for seed in range(5):
        write(database, auto(), NOON + timedelta(minutes=seed), seed=seed)
    assert {slot.key: slot.state for slot in slots(database)} == before


def test_fewer_posts_a_day_and_other_hours_take_effect(database: Database) -> None:
    write(database, auto(3), NOON)
    write(database, auto(1), NOON)
    assert set(by_day(database, SlotState.PLANNED).values()) == {1}
    write(database, auto(2, (9, 10)), NOON)
    ahead = [slot for slot in slots(database) if slot.state is SlotState.PLANNED]
    assert {slot.key[-5:] for slot in ahead} <= {"09:00", "10:00"}
    assert by_day(database, SlotState.PLANNED)["2026-11-25"] == 2
    write(database, Schedule("0 12 * * *", TOKYO), NOON)
    assert {slot.key[-5:] for slot in slots(database) if slot.state is SlotState.PLANNED} == {"12:00"}
    write(database, auto(), NOON)
    assert by_day(database, SlotState.PLANNED)["2026-11-25"] == 2


def test_days_without_a_daemon_are_written_to_be_missed(database: Database) -> None:
    write(database, auto(), NOON)
    write(database, auto(), NOON + timedelta(days=10))
    days = by_day(database, SlotState.PLANNED)
    assert set(days.values()) <= {1, 2}
    assert len(days) == 12


def test_the_hour_that_people_answer_to_is_drawn_most(database: Database) -> None:
    with database.write() as session:
        for number in range(120):
            at = NOON - timedelta(days=2 + number // 4, hours=-(number % 4))
            post = Post(
                account="main", publisher="toy", serial=number + 1, kind=Kind.SINGLE, state=PostState.POSTED,
                not_before=at, due_at=at, deadline=at, created_at=at, sent_at=at, posted_at=at,
            )  # fmt: skip
            session.add(post)
            session.flush()
            likes = 30 if at.astimezone(TOKYO).hour == 22 else 5
            for days in (0.5, 1.1, 2.0):
                when = at + timedelta(days=days)
                session.add(PostMetrics(post_id=post.id, measured_at=when, likes=likes))
    with database.read() as session:
        heard = heard_of(session, "main", TOKYO, NOON)
    ages = [2 + number // 4 - number % 4 / 24 for number in range(120)]
    assert sorted(each.age for each in heard) == pytest.approx(sorted(ages))  # in days
    assert {(each.hour, each.reactions) for each in heard} == {(21, 5), (22, 30), (23, 5), (0, 5)}
    with database.read() as session:  # for three years
        assert len(heard_of(session, "main", TOKYO, NOON + timedelta(days=3 * 365 - 31))) == 120
        assert len(heard_of(session, "main", TOKYO, NOON + timedelta(days=3 * 365 - 5))) == 16
    schedule = auto(1, (21, 22, 23))
    drawn: Counter[str] = Counter()
    for day in range(30):
        write(database, schedule, NOON + timedelta(days=day), seed=day)
    drawn.update(slot.key[-5:] for slot in slots(database))
    assert drawn["22:00"] >= 28
