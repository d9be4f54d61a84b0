"""Local days and months, as budgets count them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from meshibot.clock import day_of, elapsed, month_of

BERLIN = ZoneInfo("Europe/Berlin")


def test_a_day_of_the_clocks_change_has_an_hour_less_or_more() -> None:
    for noon, hours in (
        (datetime(2027, 3, 28, 10, tzinfo=UTC), 23),
        (datetime(2026, 10, 25, 11, tzinfo=UTC), 25),
    ):
        begin, end = day_of(noon, BERLIN)
        assert begin <= noon < end
        assert end - begin == timedelta(hours=hours)


def test_the_next_day_begins_where_one_ends() -> None:
    begin, end = day_of(datetime(2026, 11, 24, 23, 30, tzinfo=UTC), BERLIN)
    assert begin == datetime(2026, 11, 24, 23, tzinfo=UTC), "it is past midnight there"
    assert day_of(end, BERLIN)[0] == end


def test_a_month_ends_where_the_next_begins() -> None:
    begin, end = month_of(datetime(2026, 12, 31, 23, 30, tzinfo=UTC), BERLIN)
    assert (begin, end) == (datetime(2026, 12, 31, 23, tzinfo=UTC), datetime(2027, 1, 31, 23, tzinfo=UTC))


def test_both_midnights_of_a_night_lie_in_one_day() -> None:
    """In Havana the clocks go back from one o'clock to midnight: a budget began anew in the second hour."""
    havana = ZoneInfo("America/Havana")
    first = datetime(2026, 11, 1, 4, 30, tzinfo=UTC)
    begin, end = datetime(2026, 11, 1, 4, tzinfo=UTC), datetime(2026, 11, 2, 5, tzinfo=UTC)
    assert day_of(first, havana) == day_of(first + timedelta(hours=1), havana) == (begin, end)
    azores = ZoneInfo("Atlantic/Azores")
    late = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert month_of(late, azores)[0] == datetime(2026, 10, 1, tzinfo=UTC)
    assert day_of(late, azores)[0] == datetime(2026, 10, 25, tzinfo=UTC)


def test_elapsed_time_only_grows() -> None:
    assert elapsed() <= elapsed()
