"""A bar on a terminal, a plain line now and then anywhere else; both on standard error."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0


def say(line: str) -> None:
    """A word for a person: standard output belongs to results."""
    print(line, file=sys.stderr, flush=True)


def track(items: Iterable[T], total: int, what: str, shown: bool = True) -> Iterator[T]:
    """Hand `items` on, showing how many of `total` have come by."""
    if not shown:
        return iter(items)
    return _bar(items, total, what) if sys.stderr.isatty() else _lines(items, total, what)


def _bar(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    yield from rich_track(items, description=what, total=total, console=console, transient=True)


def _lines(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    started = said = time.monotonic()
    say(f"{what}: {total:,}")
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            say(f"{what}: {done:,} of {total:,}")
    say(f"{what}: done in {time.monotonic() - started:.1f} s")
