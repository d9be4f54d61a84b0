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


def test_elapsed_time_only_grows() -> None:
    assert elapsed() <= elapsed()
