"""Which kind of post is made on which weekday. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from meshibot.errors import UsageError

KINDS = ("single", "grid", "grid9", "morph", "before-and-after")
"""Those that a schedule may have, as they are written."""
_WHOLE = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS = tuple(day[:3] for day in _WHOLE)
_USUAL = "usual"


@dataclass(frozen=True)
class Mix:
    """The usual kind, and the weekdays that have another one (Monday is 0)."""

    usual: str = "single"
    days: tuple[tuple[int, str], ...] = ()

    @classmethod
    def parse(cls, said: object) -> "Mix":
        """`single, sat grid, sun grid9`, or a table of the same. UsageError for anything else."""
        pairs = (
            list(said.items())
            if isinstance(said, Mapping)
            else [_pair(part) for part in str(said).split(",")]
        )
        found: dict[str, str] = {}
        for day, kind in pairs:
            name = _named(str(day).strip().lower())
            if name is None or kind not in KINDS or name in found:
                raise UsageError(
                    f"MESHIBOT_KINDS has {str(day)[:20]!r} and {str(kind)[:20]!r}: write it like 'single, "
                    f"sat grid, sun grid9', with {', '.join(KINDS)} and each weekday once."
                )
            found[name] = str(kind)
        days = tuple((number, found[day]) for number, day in enumerate(_DAYS) if day in found)
        return cls(found.get(_USUAL, cls.usual), days)

    def on(self, day: date) -> str:
        """The kind of that day's posts."""
        return dict(self.days).get(day.weekday(), self.usual)

    @property
    def kinds(self) -> frozenset[str]:
        """All that there are."""
        return frozenset((self.usual, *(kind for _, kind in self.days)))

    def __str__(self) -> str:
        return ", ".join((self.usual, *(f"{_DAYS[day]} {kind}" for day, kind in self.days)))


def _named(day: str) -> str | None:
    return day[:3] if day in _WHOLE else day if day in (*_DAYS, _USUAL) else None


def _pair(part: str) -> tuple[str, str]:
    words = part.split()
    return (_USUAL, words[0]) if len(words) == 1 else (" ".join(words[:-1]), words[-1] if words else "")
