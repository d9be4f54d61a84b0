"""What a schedule comes to."""

from datetime import UTC, datetime

from meshibot.costs import posts_in
from meshibot.quiet import QuietHours
from meshibot.slots import Schedule

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_month_counts_neither_quiet_hours_nor_what_is_over_the_budget() -> None:
    quiet = QuietHours.parse("01:00-06:30")
    assert posts_in(Schedule("0 * * * *", UTC), NOW, 30) == 720
    assert posts_in(Schedule("0 * * * *", UTC, quiet=quiet), NOW, 30) == 30 * 18
    # Thirty days from noon to noon touch thirty-one dates.
    assert posts_in(Schedule("0 * * * *", UTC, daily_budget=2), NOW, 30) == 31 * 2
