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


class SystemClock:
    """The machine's own."""

    def now(self) -> datetime:
        """The present instant, aware and in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(max(0.0, seconds))
