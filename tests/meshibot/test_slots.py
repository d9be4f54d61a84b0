"""Cron lines mean what they mean in Unix, and every slot is written once."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from meshibot.database import Account, Database, Slot, SlotState
from meshibot.errors import UsageError
from meshibot.quiet import QuietHours
from meshibot.slots import HORIZON, Schedule, cron_lines, plan, write_slots
from tests.meshibot.ledger import new_database

TOKYO = ZoneInfo("Asia/Tokyo")
NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")
SAMOA = ZoneInfo("Pacific/Apia")


def locals_of(cron: str, tz: ZoneInfo, start: datetime, days: float) -> list[str]:
    return [slot.local[:16] for slot in plan(cron, tz, start, days)]


def at(tz: ZoneInfo, *parts: int) -> datetime:
    return datetime(*parts, tzinfo=tz)  # type: ignore[misc, arg-type]


def test_sunday_is_0_and_7() -> None:
    start = at(TOKYO, 2026, 11, 23)  # a Monday
    for day in ("0", "7", "SUN", "sun"):
        assert locals_of(f"0 9 * * {day}", TOKYO, start, 7) == ["2026-11-29T09:00"]
    assert locals_of("0 9 * * 1", TOKYO, start, 7) == ["2026-11-23T09:00"]


def test_day_of_month_or_day_of_week() -> None:
    found = locals_of("0 9 13 * 5", TOKYO, at(TOKYO, 2026, 10, 1), 31)
    assert found == [f"2026-10-{day:02}T09:00" for day in (2, 9, 13, 16, 23, 30)]


def test_several_lines_give_each_minute_once() -> None:
    found = locals_of("0 23 * * *; 30 12 * * *;0 23 * * 1-5", TOKYO, at(TOKYO, 2026, 11, 23), 1)
    assert found == ["2026-11-23T12:30", "2026-11-23T23:00"]


def test_the_start_is_included_and_the_end_is_not() -> None:
    assert locals_of("0 12 * * *", TOKYO, at(TOKYO, 2026, 11, 23, 12), 1) == ["2026-11-23T12:00"]
    assert locals_of("0 12 * * *", TOKYO, at(TOKYO, 2026, 11, 23, 12, 0, 1), 0.5) == []
    assert locals_of("0 12 * * *", TOKYO, at(TOKYO, 2026, 11, 23), 0.5) == []


def test_nothing_twice_on_the_autumn_night() -> None:
    found = plan("30 1 * * *", NEW_YORK, at(NEW_YORK, 2026, 11, 1), 1)
    assert [slot.due_at for slot in found] == [datetime(2026, 11, 1, 5, 30, tzinfo=UTC)]
    half_hours = plan("*/30 * * * *", NEW_YORK, at(NEW_YORK, 2026, 11, 1), 1)
    assert len(half_hours) == 48 == len({slot.key("main") for slot in half_hours})


def test_nothing_lost_on_the_spring_night() -> None:
    found = plan("30 2 * * *", NEW_YORK, at(NEW_YORK, 2026, 3, 8), 1)
    assert [(slot.minute, slot.local) for slot in found] == [("2026-03-08T02:30", "2026-03-08T03:30-04:00")]
    assert locals_of("30 2 * * *; 30 3 * * *", NEW_YORK, at(NEW_YORK, 2026, 3, 8), 1) == [
        "2026-03-08T03:30",
        "2026-03-08T03:30",
    ]
    assert len(plan("0 * * * *", NEW_YORK, at(NEW_YORK, 2026, 3, 8), 1)) == 23
    assert len(plan("*/20 2 * * *", BERLIN, at(BERLIN, 2026, 3, 29), 1)) == 3


def test_a_start_within_the_gap_still_sees_what_was_moved() -> None:
    start = at(NEW_YORK, 2026, 3, 8, 3, 10)
    assert locals_of("30 2 * * *", NEW_YORK, start, 0.5) == ["2026-03-08T03:30"]


def test_a_day_that_a_place_left_out() -> None:
    found = plan("0 12 * * *", SAMOA, at(SAMOA, 2011, 12, 29), 3)
    assert [slot.minute for slot in found] == ["2011-12-29T12:00", "2011-12-30T12:00", "2011-12-31T12:00"]
    assert len({slot.due_at for slot in found}) == 2  # the day itself does not exist; nothing is lost


@given(
    start=st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),
    cut=st.floats(0.0, 6.0),
    cron=st.sampled_from(["30 2 * * *", "*/30 * * * *", "5 1-3 * * *", "0 0 1 * 0", "15 */6 * * *"]),
    tz=st.sampled_from([TOKYO, NEW_YORK, BERLIN]),
)
def test_a_later_start_gives_the_same_slots(start: datetime, cut: float, cron: str, tz: ZoneInfo) -> None:
    middle, end = start + timedelta(days=cut), start + timedelta(days=7)
    early = [slot for slot in plan(cron, tz, start, 8) if middle <= slot.due_at < end]
    late = [slot for slot in plan(cron, tz, middle, 8) if slot.due_at < end]
    assert late == early


@pytest.mark.parametrize(
    ("cron", "named"),
    [
        ("", "empty"),
        (" ; ", "empty"),
        ("0 23 * *", "five fields"),
        ("0 0 23 * * *", "five fields"),
        ("0 25 * * *", "hour"),
        ("61 * * * *", "minute"),
        ("0 9 * * 8", "day-of-week"),
        ("0 9 * * mo", "day-of-week"),
        ("0 9 30 2 *", "day-of-month"),
        ("0 9 * * *; soon * * * *", "minute"),
    ],
)
def test_a_bad_line_is_one_clear_sentence(cron: str, named: str) -> None:
    with pytest.raises(UsageError, match="SCHEDULE") as caught:
        cron_lines(cron)
    assert named in str(caught.value)
    assert str(caught.value).count(".") <= 1


def test_quiet_hours_span_midnight() -> None:
    quiet = QuietHours.parse("23:30-07:00")
    inside = [
        at(TOKYO, 2026, 1, 1, *clock) in quiet for clock in ((23, 29), (23, 30), (3, 0), (6, 59), (7, 0))
    ]
    assert inside == [False, True, True, True, False]
    assert at(TOKYO, 2026, 1, 1, 13) in QuietHours.parse("12:00-14:00")
    assert at(TOKYO, 2026, 1, 1, 14) not in QuietHours.parse("12:00-14:00")
    for text in ("", "23:30", "23:30-", "7-9", "09:00-09:00", "25:00-26:00", "1:00-2:00-3:00"):
        with pytest.raises(UsageError, match="QUIET_HOURS"):
            QuietHours.parse(text)


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
