"""Cron lines mean what they mean in Unix, also where clocks change."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.config.models import account_model
from meshibot.errors import UsageError
from meshibot.quiet import QuietHours
from meshibot.slots import Auto, Schedule, cron_lines, plan, schedule_of
from meshibot.slots.schedule import spread

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
    hourly = plan("0 * * * *", NEW_YORK, at(NEW_YORK, 2026, 3, 8), 1)
    assert [slot.minute[11:] for slot in hourly] == [f"{hour:02}:00" for hour in range(24) if hour != 2]
    assert len(plan("*/20 2 * * *", BERLIN, at(BERLIN, 2026, 3, 29), 1)) == 3


def test_each_hour_of_a_list_is_its_own_in_the_gap_and_those_of_a_star_run_on() -> None:
    both = locals_of("30 2,3 * * *", NEW_YORK, at(NEW_YORK, 2026, 3, 8), 1)
    assert both == ["2026-03-08T03:30", "2026-03-08T03:30"]
    even = locals_of("30 */2 * * *", NEW_YORK, at(NEW_YORK, 2026, 3, 8), 0.25)
    assert even == ["2026-03-08T00:30", "2026-03-08T03:30", "2026-03-08T04:30"]


def test_slots_in_the_quiet_hours_say_so() -> None:
    found = plan("0 * * * *", TOKYO, at(TOKYO, 2026, 11, 24), 1, QuietHours.parse("22:00-07:00"))
    assert [slot.due_at.astimezone(TOKYO).hour for slot in found if slot.quiet] == [*range(7), 22, 23]
    assert not any(slot.quiet for slot in plan("0 * * * *", TOKYO, at(TOKYO, 2026, 11, 24), 1))


def test_a_start_within_the_gap_still_sees_what_was_moved() -> None:
    start = at(NEW_YORK, 2026, 3, 8, 3, 10)
    assert locals_of("30 2 * * *", NEW_YORK, start, 0.5) == ["2026-03-08T03:30"]


def test_a_day_that_a_place_left_out() -> None:
    found = plan("0 12 * * *", SAMOA, at(SAMOA, 2011, 12, 29), 3)
    assert [slot.minute for slot in found] == ["2011-12-29T12:00", "2011-12-30T12:00", "2011-12-31T12:00"]
    assert len({slot.due_at for slot in found}) == 2  # the day itself does not exist; nothing is lost
    found = plan("0 0 * * *", SAMOA, at(SAMOA, 2011, 12, 31), 1)
    assert [slot.minute for slot in found] == ["2011-12-30T00:00", "2011-12-31T00:00"], (
        "also its first minute"
    )


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
        ("0 9 32 * *", "its day-of-month can't be understood"),
        ("0 9 30 2 *", "no month that it names has such a day"),
        ("0 9 31 4,6 *", "no month that it names has such a day"),
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


def drawn(**said: object) -> Schedule:
    return schedule_of(account_model().model_validate({"name": "main", "schedule": "auto"} | said))


def test_auto_allows_hours_outside_the_quiet_ones_and_stands_for_as_many_slots() -> None:
    schedule = drawn(auto_hours="7, 12, 22-2", auto_posts=2, quiet_hours="23:30-07:00")
    assert schedule.auto == Auto((7, 12, 22, 23), 2)
    slots = plan(schedule.cron, schedule.tz, datetime(2026, 11, 24, tzinfo=schedule.tz), 10)
    assert len(slots) == 20
    assert {int(slot.minute[11:13]) for slot in slots} <= {7, 12, 22, 23}
    assert drawn().auto == Auto(tuple(range(24)), 1)


def test_a_schedule_is_what_the_settings_of_its_account_say() -> None:
    said = {"schedule": "0 23 * * *;  30 0 * * 6", "timezone": "Asia/Tokyo", "jitter": "5m", "grace": "3h"}
    more = {"quiet_hours": "02:00-07:00", "daily_budget": 4, "monthly_budget": 1.5}
    assert drawn(**said, **more) == Schedule(
        "0 23 * * *; 30 0 * * 6",
        TOKYO,
        jitter=timedelta(minutes=5),
        grace=timedelta(hours=3),
        quiet=QuietHours.parse("02:00-07:00"),
        daily_budget=4,
        monthly_budget=1.5,
    )


@pytest.mark.parametrize(
    ("hours", "posts", "spread_out"),
    [
        (range(24), 1, (12,)),
        (range(24), 2, (6, 18)),
        (range(24), 4, (3, 9, 15, 21)),
        (range(24), 24, tuple(range(24))),
        ((7, 12, 22), 2, (7, 22)),
        ((7, 12), 2, (7, 12)),
    ],
)
def test_hours_that_are_not_drawn_yet_lie_far_apart(
    hours: Iterable[int], posts: int, spread_out: tuple[int, ...]
) -> None:
    assert spread(Auto(tuple(hours), posts)) == spread_out
    schedule = drawn(auto_hours=",".join(map(str, hours)), auto_posts=posts)
    assert schedule.cron == f"0 {','.join(map(str, spread_out))} * * *"


def test_what_auto_can_not_be_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="AUTO_POSTS is 3, and only 2 hours"):
        drawn(auto_hours="7,12", auto_posts=3)
    with pytest.raises(UsageError, match="no hour outside the quiet hours 00:00-08:00"):
        drawn(auto_hours="1-7", quiet_hours="00:00-08:00")
    for wrong in ("", "24", "7;8", "noon", "7-"):
        with pytest.raises(ValueError, match="auto_hours"):
            drawn(auto_hours=wrong)
