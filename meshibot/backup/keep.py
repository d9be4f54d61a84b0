"""Which of many backups stay: so many daily, weekly and monthly ones. Pure."""

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime

_PART = re.compile(r"(\d{1,4})([dwm])")


@dataclass(frozen=True)
class Keep:
    """How many days, weeks and months keep their newest backup; only those that have one count."""

    daily: int
    weekly: int
    monthly: int

    @classmethod
    def parse(cls, text: str) -> "Keep":
        """Read `7d 4w 3m`, in which parts may be missing. ValueError for anything else."""
        counts = dict.fromkeys("dwm", 0)
        parts = text.lower().split()
        for part in parts:
            found = _PART.fullmatch(part)
            if found is None or counts[found[2]]:
                raise ValueError("not of the form 7d 4w 3m")
            counts[found[2]] = int(found[1])
        if not any(counts.values()):
            raise ValueError("nothing would be kept")
        return cls(counts["d"], counts["w"], counts["m"])

    def __str__(self) -> str:
        return f"{self.daily}d {self.weekly}w {self.monthly}m"

    def of(self, moments: Iterable[datetime]) -> set[datetime]:
        """Those that stay; the newest of all always does."""
        newest_first = sorted(set(moments), reverse=True)
        kept = set(newest_first[:1])
        for count, bucket in ((self.daily, _day), (self.weekly, _week), (self.monthly, _month)):
            kept |= _newest_of_each(newest_first, count, bucket)
        return kept


def _newest_of_each(
    newest_first: list[datetime], count: int, bucket: Callable[[datetime], Hashable]
) -> set[datetime]:
    found: dict[Hashable, datetime] = {}
    for moment in newest_first:
        if bucket(moment) not in found and len(found) == count:
            break
        found.setdefault(bucket(moment), moment)
    return set(found.values())


def _day(moment: datetime) -> Hashable:
    return moment.date()


def _week(moment: datetime) -> Hashable:
    return moment.isocalendar()[:2]


def _month(moment: datetime) -> Hashable:
    return moment.year, moment.month
