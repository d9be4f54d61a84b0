"""Looks what is wrong, writes it down, and tells it: a task of the daemon's, and `meshibot notify`."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from meshibot.clock import Clock, SystemClock
from meshibot.config import Settings
from meshibot.database import Database
from meshibot.database.queries import last_posted_at
from meshibot.logs import Redactor
from meshibot.notices.book import Book, Message, mark, untold
from meshibot.notices.conditions import conditions
from meshibot.notices.digest import DIGEST, zone_of
from meshibot.notices.ways import NotTold, Ping, Way, ways

log = logging.getLogger(__name__)

_BACKOFF = 60.0
_LONGEST_BACKOFF = 3600.0
"""Seconds, by the monotonic clock."""
LIVES_EVERY = timedelta(hours=24)


@dataclass
class _Patience:
    """When a way that failed is tried again."""

    failures: int = 0
    until: float = 0.0

    def failed(self) -> None:
        self.failures += 1
        self.until = time.monotonic() + min(_BACKOFF * 2.0 ** (self.failures - 1), _LONGEST_BACKOFF)


@dataclass
class Notifier:
    """One look, and what follows from it, whenever it is called. Raises nothing of what a way does wrong."""

    database: Database
    settings: Settings
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self._book = Book()
        self._ways = ways(self.settings)
        self._patience = {way.name: _Patience() for way in self._ways}
        self._redact = Redactor(self.settings.secrets)
        self._begun = self.clock.now()
        self._lived: datetime | None = None

    def __call__(self) -> None:
        """Look, write down, and tell what can be told now. Raises DatabaseFailure."""
        now = self.look()
        for way in self._ways:
            if time.monotonic() >= self._patience[way.name].until and not self.is_quiet(way, now):
                self.tell(way, now)

    def is_quiet(self, way: Way, now: datetime) -> bool:
        """Whether people sleep: then it is told afterwards, all at once. A monitor never does."""
        hours = self.settings.notify_quiet_hours
        return (
            hours is not None
            and not isinstance(way, Ping)
            and now.astimezone(zone_of(self.settings)) in hours
        )

    def look(self, *, patient: bool = True) -> datetime:
        """Write down what is wrong, and what no longer is; not `patient`, what has only begun as well."""
        now = self.clock.now()
        with self.database.read() as session:
            due = self._book.due(conditions(session, self.settings, now), now, patient=patient)
            differs = self._book.differs(session, due)
        if differs:  # posting wants SQLite's one lock for writing
            with self.database.write() as session:
                self._book.keep(session, due, now)
        return now

    def tell(self, way: Way, now: datetime) -> NotTold | None:
        """Tell by one way what it was not told yet; what went wrong."""
        with self.database.read() as session:
            messages = [
                self._clean(message)
                for message in untold(session, way.name, now)
                if not (isinstance(way, Ping) and message.kind == DIGEST)
            ]
            posted = last_posted_at(session, now - LIVES_EVERY) if isinstance(way, Ping) else None
        try:
            if messages:
                way.tell(messages)
            elif isinstance(way, Ping):
                self._live(way, posted, now)
        except NotTold as error:
            self._patience[way.name].failed()
            log.warning("notices: %s", error)
            return error
        self._patience[way.name] = _Patience()
        if messages:
            with self.database.write() as session:
                mark(session, way.name, messages)
        return None

    def _clean(self, message: Message) -> Message:
        return Message(
            message.id, message.kind, message.account, message.state, self._redact(message.text), message.at
        )

    def _live(self, way: Ping, posted: datetime | None, now: datetime) -> None:
        """After each post that was made since this process began, and once a day: not at its start."""
        last = self._lived or self._begun
        if posted is not None and posted > last:
            way.live(f"Posted at {posted:%Y-%m-%d %H:%M:%S} UTC.")
            self._lived = posted
        elif now - last >= LIVES_EVERY:
            way.live("Nothing was to be posted.")
            self._lived = now


def try_out(settings: Settings, now: datetime) -> list[tuple[str, NotTold | None]]:
    """A message by every way there is, and how each went."""
    message = Message(0, "a trial", None, "over", "This is a trial of meshibot's notices: they arrive.", now)
    return [(way.name, _tried(way, [message])) for way in ways(settings)]


def _tried(way: Way, messages: Sequence[Message]) -> NotTold | None:
    try:
        way.tell(messages)
    except NotTold as error:
        return error
    return None
