"""The kinds of posts, and which of them is made on which weekday. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from meshibot.errors import UsageError


class Kind(StrEnum):
    """What a post shows, by the word that settings and the command line have for it."""

    SINGLE = "single"
    GRID = "grid"
    GRID_OF_NINE = "grid9"
    MORPH = "morph"
    """A walk from one picture to another and back, as a GIF."""
    BEFORE_AND_AFTER = "before-and-after"
    """One picture as its checkpoint's run drew it earlier, and finished."""


PICTURES = {Kind.SINGLE: 1, Kind.GRID: 4, Kind.GRID_OF_NINE: 9, Kind.MORPH: 2, Kind.BEFORE_AND_AFTER: 1}
"""How many pictures of the stock a post of each kind takes."""

DRAWN_ANEW = frozenset({Kind.MORPH, Kind.BEFORE_AND_AFTER})
"""Kinds for which the generator draws once more: only pictures of the present checkpoint will do."""

_WHOLE = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS = tuple(day[:3] for day in _WHOLE)
_USUAL = "usual"


@dataclass(frozen=True)
class Mix:
    """The usual kind, and the weekdays that have another one (Monday is 0)."""

    usual: Kind = Kind.SINGLE
    days: tuple[tuple[int, Kind], ...] = ()

    @classmethod
    def parse(cls, said: object) -> "Mix":
        """`single, sat grid, sun grid9`, or a table of the same. UsageError for anything else."""
        pairs = (
            list(said.items())
            if isinstance(said, Mapping)
            else [_pair(part) for part in str(said).split(",")]
        )
        found: dict[str, Kind] = {}
        for day, kind in pairs:
            name = _named(str(day).strip().lower())
            if name is None or kind not in tuple(Kind) or name in found:
                raise UsageError(
                    f"MESHIBOT_KINDS has {str(day)[:20]!r} and {str(kind)[:20]!r}: write it like 'single, "
                    f"sat grid, sun grid9', with {', '.join(Kind)} and each weekday once."
                )
            found[name] = Kind(kind)
        days = tuple((number, found[day]) for number, day in enumerate(_DAYS) if day in found)
        return cls(found.get(_USUAL, cls.usual), days)

    def on(self, day: date) -> Kind:
        """The kind of that day's posts."""
        return dict(self.days).get(day.weekday(), self.usual)

    @property
    def kinds(self) -> frozenset[Kind]:
        """All that there are."""
        return frozenset((self.usual, *(kind for _, kind in self.days)))

    def __str__(self) -> str:
        return ", ".join((self.usual, *(f"{_DAYS[day]} {kind}" for day, kind in self.days)))


def _named(day: str) -> str | None:
    return day[:3] if day in _WHOLE else day if day in (*_DAYS, _USUAL) else None


def _pair(part: str) -> tuple[str, str]:
    words = part.split()
    return (_USUAL, words[0]) if len(words) == 1 else (" ".join(words[:-1]), words[-1] if words else "")
