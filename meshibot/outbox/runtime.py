"""What every part of the outbox works with: database, policy, clocks, and its crash points."""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.orm import Session

from meshibot import outbox
from meshibot.clock import Clock, SystemClock, elapsed
from meshibot.database.session import Database
from meshibot.outbox.policy import Channel, Policy
from meshibot.publishers.base import PublishError


def _around(*steps: str) -> tuple[str, ...]:
    return tuple(f"{side}-{step}" for step in steps for side in ("before", "after"))


CRASH_POINTS = _around(
    *("claim", "upload-request", "uploaded", "sending", "send-request", "posted"),
    *("failed", "find-request", "reconciled"),
)
"""Every commit of the outbox and every request, before and after: where a test ends the process."""

CRASH_POINTS_OF_DELETION = _around("delete-request", "deleted")
"""The same for a post that is taken down."""


class Looks(NamedTuple):
    """How often this process looked for what was sent at `sent_at`, and when it first did."""

    sent_at: datetime | None
    first: float
    times: int


class Introduction(NamedTuple):
    """What came of asking a network whose account it is, and when (`Runtime.elapsed`) it is asked again."""

    again: float
    error: PublishError | None = None
    """Why that could not be told."""
    known: bool = True
    """Whether it is known from before, or by now."""

    @property
    def hindrance(self) -> PublishError | None:
        """Why no new post may be begun."""
        return None if self.known else self.error


@dataclass
class Runtime:
    """The parts that all steps share. Any number of processes may work on one database at once."""

    database: Database
    channels: Iterable[Channel] = ()
    """The accounts that it works for."""
    policy: Policy = field(default_factory=Policy)
    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.SystemRandom)
    stopping: Callable[[], bool] = lambda: False
    """Asked before each send: when True the claim is handed back."""
    elapsed: Callable[[], float] = elapsed
    """Seconds that really went by, whatever is done to the clock, while the machine was suspended as well."""
    looks: dict[int, Looks] = field(default_factory=dict, init=False, repr=False)
    """By the post's id. Another process counts for itself: it can't know how long ago this one looked."""

    introductions: dict[str, Introduction] = field(default_factory=dict, init=False, repr=False)
    """By the account's name."""

    @contextmanager
    def commit(self, step: str) -> Iterator[Session]:
        """A writing transaction between two crash points."""
        with self.database.write() as session:
            yield session
            session.flush()
            outbox.crash_point(f"before-{step}")
        outbox.crash_point(f"after-{step}")


@contextmanager
def request(name: str) -> Iterator[None]:
    """A request to a network between two crash points."""
    outbox.crash_point(f"before-{name}-request")
    yield
    outbox.crash_point(f"after-{name}-request")
