"""The hours of a day in which nothing is posted."""

from dataclasses import dataclass
from datetime import datetime, time

from meshibot.errors import UsageError


@dataclass(frozen=True)
class QuietHours:
    """A part of each day in which nothing is posted, `begin` included and `end` not; it may span midnight."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> "QuietHours":
        """Read `23:30-07:00`. UsageError for anything else."""
        try:
            begin, end = (datetime.strptime(part.strip(), "%H:%M").time() for part in text.split("-"))
        except ValueError:
            raise UsageError(f"MESHIBOT_QUIET_HOURS is {text!r}: write it like 23:30-07:00.") from None
        if begin == end:
            raise UsageError(
                f"MESHIBOT_QUIET_HOURS is {text!r}: that is nothing or the whole day; leave it out."
            )
        return cls(begin, end)

    def __contains__(self, local: datetime) -> bool:
        now = local.time()
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"
