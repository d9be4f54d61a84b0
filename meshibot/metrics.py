"""How things stand as Prometheus' text format (version 0.0.4): timestamps rather than ages, few label values.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from meshibot import __version__
from meshibot.config import Account as AccountSettings
from meshibot.config import Settings
from meshibot.costs import cost_of_looks
from meshibot.database import (
    Account,
    Attempt,
    Daemon,
    Database,
    Picture,
    PictureState,
    Post,
    PostState,
    Slot,
    SlotState,
)
from meshibot.database.models import IS_FOR_A_PERSON
from meshibot.database.queries import next_slot
from meshibot.publishers import publisher_class

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_AT_ONCE = 5000
_EVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
_OVERDUE = timedelta(hours=1)
_MADE = (PostState.POSTED, PostState.DELETED)

Sample = tuple[Mapping[str, str], float]


@dataclass
class Metrics:
    """Figures of one bot. What is counted over attempts begins anew with each process, as counters may."""

    database: Database
    settings: Settings
    _paid: dict[str, tuple[int, float]] = field(default_factory=dict)
    """How many posts of an account there were, and what they have cost: reckoned anew when there are more."""
    _seconds: dict[str, float] = field(default_factory=dict)
    _requests: dict[str, int] = field(default_factory=dict)
    _attempt: int | None = None
    _lock: Lock = field(default_factory=Lock)

    def text(self, now: datetime) -> str:
        """The document."""
        with self.database.read() as session, self._lock:
            return "".join(self._families(session, now))

    def _families(self, session: Session, now: datetime) -> Iterator[str]:
        yield _family("info", "gauge", "The version that serves this.", [({"version": __version__}, 1)])
        accounts = list(session.scalars(select(Account)))
        counted = session.execute(
            select(Post.account, Post.publisher, Post.state, func.count())
            .where(Post.serial.is_not(None))
            .group_by(Post.account, Post.publisher, Post.state)
        )
        posts = [(name, publisher, state, count) for name, publisher, state, count in counted]
        yield _family(
            "posts_total",
            "counter",
            "Posts by what became of them.",
            [
                ({"account": name, "publisher": publisher, "state": state.value}, count)
                for name, publisher, state, count in posts
            ],
        )
        yield _of_accounts("slots_missed_total", "counter", "Slots that came to no post.", accounts,
                           lambda name: _missed(session, name))  # fmt: skip
        yield _of_accounts("needs_person", "gauge", "Posts that only a person can settle.", accounts,
                           lambda name: _for_a_person(session, name))  # fmt: skip
        yield _of_accounts("last_post_timestamp_seconds", "gauge", "When the last post was made.", accounts,
                           lambda name: _last_post(session, name))  # fmt: skip
        yield _of_accounts("next_slot_timestamp_seconds", "gauge", "When the next slot is due.", accounts,
                           lambda name: _next_slot(session, name, now))  # fmt: skip
        waiting = session.scalar(select(func.count()).where(Picture.state == PictureState.APPROVED)) or 0
        yield _family("pictures_in_stock", "gauge", "Pictures that wait.", [({}, waiting)])
        yield _family(
            "spent_dollars_total",
            "counter",
            "What posts, and looks at them, have cost.",
            self._spent(session, posts),
        )
        yield from self._requests_made(session, now)
        seen = session.scalar(select(func.max(Daemon.seen_at)))
        yield _family(
            "daemon_last_seen_timestamp_seconds",
            "gauge",
            "When a daemon was last seen.",
            [({}, seen.timestamp())] if seen else [],
        )

    def _spent(self, session: Session, posts: Iterable[tuple[str, str, PostState, int]]) -> list[Sample]:
        """`posts` are how many each account has, by network and state."""
        samples: list[Sample] = []
        for account in self.settings.accounts:
            made = sum(
                count
                for name, publisher, state, count in posts
                if (name, publisher) == (account.name, account.publisher) and state in _MADE
            )
            if self._paid.get(account.name, (None,))[0] != made:
                self._paid[account.name] = made, _cost_of_posts(session, account)
            dollars = self._paid[account.name][1] + cost_of_looks(session, account, _EVER)
            samples.append(({"account": account.name}, dollars))
        return samples

    def _requests_made(self, session: Session, now: datetime) -> Iterator[str]:
        if self._attempt is None:
            self._attempt = session.scalar(select(func.max(Attempt.id))) or 0
        new = select(Attempt).where(Attempt.id > self._attempt).order_by(Attempt.id).limit(_AT_ONCE)
        for attempt in session.scalars(new):
            if attempt.ended_at is None and attempt.started_at > now - _OVERDUE:
                break  # it is under way, and counted when it has ended
            self._attempt = attempt.id
            if attempt.ended_at is not None:
                phase, took = attempt.phase.value, (attempt.ended_at - attempt.started_at).total_seconds()
                self._seconds[phase] = self._seconds.get(phase, 0.0) + max(0.0, took)
                self._requests[phase] = self._requests.get(phase, 0) + 1
        yield _head("request_duration_seconds", "summary", "What requests to networks took.")
        for phase, count in sorted(self._requests.items()):
            yield _line("request_duration_seconds_sum", {"phase": phase}, self._seconds[phase])
            yield _line("request_duration_seconds_count", {"phase": phase}, count)


def _cost_of_posts(session: Session, account: AccountSettings) -> float:
    """Of all that were made where the account posts now: what a post says tells what it cost."""
    price, has_link = publisher_class(account.publisher).price, publisher_class(account.publisher).has_link
    if not price.of_post(with_link=True):
        return 0.0
    made = select(Post.caption).where(
        Post.account == account.name, Post.publisher == account.publisher, Post.state.in_(_MADE)
    )
    return sum(price.of_post(with_link=has_link(caption or "")) for caption in session.scalars(made))


def _missed(session: Session, account: str) -> float:
    query = select(func.count()).where(Slot.account == account, Slot.state == SlotState.MISSED)
    return session.scalar(query) or 0


def _for_a_person(session: Session, account: str) -> float:
    return session.scalar(select(func.count(Post.id)).where(IS_FOR_A_PERSON, Post.account == account)) or 0


def _last_post(session: Session, account: str) -> float | None:
    row = session.get(Account, account)
    return row.last_sent_at.timestamp() if row is not None and row.last_sent_at is not None else None


def _next_slot(session: Session, account: str, now: datetime) -> float | None:
    slot = next_slot(session, account, now)
    return slot.due_at.timestamp() if slot is not None else None


def _of_accounts(
    name: str, kind: str, says: str, accounts: Iterable[Account], value: Callable[[str], float | None]
) -> str:
    pairs = [({"account": account.name}, value(account.name)) for account in accounts]
    return _family(name, kind, says, [(labels, found) for labels, found in pairs if found is not None])


def _family(name: str, kind: str, says: str, samples: Iterable[Sample]) -> str:
    return _head(name, kind, says) + "".join(_line(name, labels, value) for labels, value in samples)


def _head(name: str, kind: str, says: str) -> str:
    return f"# HELP meshibot_{name} {says}\n# TYPE meshibot_{name} {kind}\n"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"meshibot_{name}{{{shown}}} {value:.15g}\n" if shown else f"meshibot_{name} {value:.15g}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
