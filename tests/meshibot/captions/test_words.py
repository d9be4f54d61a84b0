"""Our own words: when each may be said."""

from datetime import datetime
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.captions.words import SEASONS, WEEKDAYS, Part, Season, is_in

NORTH, SOUTH = ZoneInfo("Asia/Tokyo"), ZoneInfo("Australia/Sydney")


@pytest.mark.parametrize(
    ("part", "hours"),
    [
        ("day", range(5, 17)),
        ("evening", (*range(17, 24), *range(5))),
        ("night", (*range(21, 24), *range(5))),
    ],
)
def test_a_part_of_the_day_has_its_hours(part: Part, hours: range | tuple[int, ...]) -> None:
    said = [hour for hour in range(24) if is_in(part, datetime(2026, 11, 24, hour, 59))]
    assert said == sorted(hours)


@pytest.mark.parametrize(
    ("season", "north", "south"),
    [
        ("spring", {3, 4, 5}, {9, 10, 11}),
        ("summer", {6, 7, 8}, {12, 1, 2}),
        ("autumn", {9, 10, 11}, {3, 4, 5}),
        ("winter", {12, 1, 2}, {6, 7, 8}),
    ],
)
def test_a_season_has_its_months_on_each_half_of_the_earth(
    season: Season, north: set[int], south: set[int]
) -> None:
    for zone, months in ((NORTH, north), (None, north), (SOUTH, south)):
        assert {
            month for month in range(1, 13) if is_in(season, datetime(2026, month, 1, tzinfo=zone))
        } == months


@given(st.datetimes(timezones=st.sampled_from([NORTH, SOUTH, ZoneInfo("UTC")])))
def test_at_every_moment_there_is_one_season_one_weekday_and_day_or_evening(at: datetime) -> None:
    assert [season for season in SEASONS if is_in(season, at)] != []
    for of_one_kind in (SEASONS, WEEKDAYS, ("day", "evening")):
        assert sum(is_in(occasion, at) for occasion in of_one_kind) == 1
    assert is_in("evening", at) or not is_in("night", at)
    assert set(get_args(Part)) == {"day", "evening", "night"}
