"""What is written in a setting, and what is meant by it."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from meshibot.config.values import parse_duration


@given(st.integers(0, 365), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.booleans())
def test_durations(days: int, hours: int, minutes: int, seconds: int, parted: bool) -> None:
    expected = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    whole = int(expected.total_seconds())
    text = f"{days}d{hours}h{minutes}m{seconds}s" if parted else str(whole)
    assert parse_duration(text) == expected
