"""The time, as something that a test can move."""

import time
from datetime import UTC, datetime
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
