"""The time, as something that a test can move, and the local days and months that it lies in."""

import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol


class Clock(Protocol):
    """Where the bot reads the time and waits."""

    def now(self) -> datetime:
        """The present instant, aware and in UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


# Linux counts the time of a suspended machine here, and nowhere else but on the wall clock; macOS counts it
# under this name, and not in `time.monotonic`.
_WITH_SUSPEND: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Seconds since some moment, whatever is done to the clock, and with the time of a suspended machine."""
    return time.clock_gettime(_WITH_SUSPEND)


class SystemClock:
    """The machine's own."""

    def now(self) -> datetime:
        """The present instant, aware and in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(max(0.0, seconds))


def day_of(moment: datetime, tz: tzinfo) -> tuple[datetime, datetime]:
    """The local day that a moment lies in, from its beginning to that of the next (UTC)."""
    begin = _midnight(moment, tz)
    return begin.astimezone(UTC), (begin + timedelta(days=1)).astimezone(UTC)


def month_of(moment: datetime, tz: tzinfo) -> tuple[datetime, datetime]:
    """The local month that a moment lies in, from its beginning to that of the next (UTC)."""
    begin = _midnight(moment, tz).replace(day=1)
    return begin.astimezone(UTC), (begin + timedelta(days=32)).replace(day=1).astimezone(UTC)


def _midnight(moment: datetime, tz: tzinfo) -> datetime:
    """The local midnight before a moment: the first of two, where the clocks go back at that hour."""
    return moment.astimezone(tz).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
