"""Which backups stay."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.backup.keep import Keep

START = datetime(2026, 1, 1, 4, tzinfo=UTC)


def test_a_year_of_daily_backups_leaves_days_weeks_and_months() -> None:
    keep = Keep.parse("7d 4w 3m")
    there: set[datetime] = set()
    for day in range(365):
        there.add(START + timedelta(days=day))
        there = keep.of(there)
    ages = sorted((max(there) - moment).days for moment in there)
    assert ages[:7] == [0, 1, 2, 3, 4, 5, 6]
    assert len(there) <= 7 + 4 + 3
    assert ages[-1] >= 40, "the last day of the month before last"


@given(
    st.sets(st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2030, 1, 1))),
    st.integers(0, 9), st.integers(0, 9), st.integers(1, 9),
)  # fmt: skip
def test_the_newest_always_stays_and_never_more_than_were_asked_for(
    moments: set[datetime], daily: int, weekly: int, monthly: int
) -> None:
    aware = {moment.replace(tzinfo=UTC) for moment in moments}
    kept = Keep(daily, weekly, monthly).of(aware)
    assert kept <= aware
    assert len(kept) <= daily + weekly + monthly
    assert not aware or max(aware) in kept
    assert Keep(daily, weekly, monthly).of(kept) == kept


@pytest.mark.parametrize("text", ["", "0d", "7", "7x", "d7", "7d 7d", "-1d", "7d,4w"])
def test_what_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"form|kept"):
        Keep.parse(text)
