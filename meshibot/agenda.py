"""An account's slots over a span of time: those that are written, those that the schedule will give, and what
each shows. The calendar, and what comes next. Reads only."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from meshibot.database import Account, Picture, PictureState, Post, PostPicture, Slot, SlotState, Verdict
from meshibot.database.queries import RECENT_POSTS, by_id, recent_hashes
from meshibot.slots import Schedule, plan
from meshibot.slots.planner import QUIET
from meshibot.stock.selection import nearest
from meshibot.thresholds import LOOK_ALIKE

_AT_ONCE = 500
"""Rows that one question names, or that are read at a time."""

State = Literal["planned", "expected", "taken", "missed", "skipped", "quiet"]
"""As stored; `expected` is one that the schedule gives and nobody wrote yet, `quiet` one it leaves out."""


@dataclass(frozen=True)
class Entry:
    """A slot as the calendar shows it."""

    account: str
    state: State
    due_at: datetime
    local: datetime
    """`due_at` on the clocks of the account."""
    minute: str
    """The local time that the schedule names: another one where a clock change or a person moved it."""
    id: int | None = None
    version: int | None = None
    reason: str | None = None
    pinned: bool = False
    post: Post | None = None
    pictures: tuple[Picture, ...] = ()

    @property
    def moved(self) -> bool:
        """Whether it is at another time than its schedule names."""
        return self.minute[:16] != self.local.strftime("%Y-%m-%dT%H:%M")

    @property
    def reference(self) -> str:
        """How a command and the page name it."""
        return str(self.id) if self.id is not None else self.minute


@dataclass(frozen=True)
class Taking:
    """How many pictures of the stock a post takes, and whether only those of the preferred checkpoint."""

    pictures: int = 1
    preferred_alone: bool = False


@dataclass(frozen=True)
class ClockChange:
    """A night on which the clocks of a zone are changed."""

    day: date
    forward: bool
    by: timedelta


_ANY_STATE = Slot.state.in_(list(SlotState))
"""Every state, named for the index's sake."""


def entries(
    session: Session,
    account: str,
    schedule: Schedule,
    begin: datetime,
    end: datetime,
    now: datetime,
    *,
    most: int | None = None,
) -> list[Entry]:
    """The slots of an account from `begin` until `end`, nearest first.

    `most` leaves out those of a local day that come after so many; `per_day` says how many there are.
    """
    found = list(_written(session, account, schedule, begin, end, most))
    row = session.get(Account, account)
    until = row.planned_until if row is not None else None
    start = max(begin, now, until or now)
    if start < end:
        days = (end - start) / timedelta(days=1) + 1
        ahead = select(Slot.key).where(Slot.account == account, _ANY_STATE, Slot.due_at > now)
        known = set(session.scalars(ahead))
        for planned in plan(schedule.cron, schedule.tz, start, days, schedule.quiet):
            if planned.key(account) not in known and planned.due_at < end:
                state: State = "quiet" if planned.quiet else "expected"
                local = planned.due_at.astimezone(schedule.tz)
                found.append(Entry(account, state, planned.due_at, local, planned.minute))
        found = list(_at_most(found, most)) if most is not None else found
    return sorted(found, key=lambda entry: (entry.due_at, entry.minute))


def per_day(
    session: Session, account: str, schedule: Schedule, begin: datetime, end: datetime
) -> Counter[date]:
    """How many slots are written for each local day."""
    dues = select(Slot.due_at).where(
        Slot.account == account, _ANY_STATE, Slot.due_at >= begin, Slot.due_at < end
    )
    found = session.scalars(dues.execution_options(yield_per=_AT_ONCE))
    return Counter(due.astimezone(schedule.tz).date() for due in found)


def _at_most(found: Sequence[Entry], most: int) -> Iterator[Entry]:
    days: Counter[date] = Counter()
    for entry in sorted(found, key=lambda entry: entry.due_at):
        days[entry.local.date()] += 1
        if days[entry.local.date()] <= most:
            yield entry


def entry_of(session: Session, slot_id: int, schedule: Schedule) -> Entry | None:
    """One slot that is written."""
    slot = by_id(session, Slot, slot_id)
    if slot is None:
        return None
    return _entry(slot, _posts(session, [slot.id]).get(slot.id), schedule)


def upcoming(
    session: Session,
    account: str,
    schedule: Schedule,
    now: datetime,
    count: int,
    *,
    reviewed: bool,
    preferred: str = "",
    takes: Callable[[date], Taking] = lambda _: Taking(),
) -> list[Entry]:
    """The next slots, each with what will fill it, as far as that can be told today.

    Pictures of the checkpoint with the SHA-256 `preferred` come first, as they do for the outbox. `takes`
    says what a post of a local day has; none are shown where there are fewer.
    """
    found: list[Entry] = []
    for days in (2, 40, 366):
        span = entries(session, account, schedule, now, now + timedelta(days=days), now)
        found = [entry for entry in span if entry.state in ("planned", "expected")][:count]
        if len(found) == count:
            break
    empty = [(place, takes(entry.local.date())) for place, entry in enumerate(found) if not entry.pictures]
    if not any(taking.pictures for _, taking in empty):
        return found
    looks = recent_hashes(session, account, RECENT_POSTS)
    stock = _stock(session, preferred, reviewed=reviewed)
    for place, taking in empty:
        of_it = [picture for picture in stock if picture.checkpoint == preferred]
        pictures = _next_pictures(of_it if taking.preferred_alone else stock, looks, taking.pictures)
        looks += [picture.phash for picture in pictures]
        found[place] = replace(found[place], pictures=pictures)
    return found


def clock_changes(schedule: Schedule, begin: date, end: date) -> Iterator[ClockChange]:
    """The days from `begin` until `end` whose clocks are changed, in the zone of the schedule."""
    day = begin
    while day < end:
        midnight = datetime(day.year, day.month, day.day, tzinfo=schedule.tz)
        after = (midnight + timedelta(days=1)).replace(tzinfo=schedule.tz)
        before, then = midnight.utcoffset() or timedelta(0), after.utcoffset() or timedelta(0)
        if before != then:
            yield ClockChange(day, then > before, abs(then - before))
        day += timedelta(days=1)


def _written(
    session: Session, account: str, schedule: Schedule, begin: datetime, end: datetime, most: int | None
) -> Iterator[Entry]:
    query = (
        select(Slot.id, Slot.due_at)
        .where(Slot.account == account, _ANY_STATE, Slot.due_at >= begin, Slot.due_at < end)
        .order_by(Slot.due_at)
        .execution_options(yield_per=_AT_ONCE)
    )
    days: Counter[date] = Counter()
    chosen: list[int] = []
    for number, due in session.execute(query):
        day = due.astimezone(schedule.tz).date()
        days[day] += 1
        if most is None or days[day] <= most:
            chosen.append(number)
    posts = _posts(session, chosen)
    for at in range(0, len(chosen), _AT_ONCE):
        slots = select(Slot).where(Slot.id.in_(chosen[at : at + _AT_ONCE]))
        yield from (_entry(slot, posts.get(slot.id), schedule) for slot in session.scalars(slots))


def _posts(session: Session, slot_ids: Sequence[int]) -> dict[int, Post]:
    found: dict[int, Post] = {}
    for at in range(0, len(slot_ids), _AT_ONCE):
        query = select(Post).where(Post.slot_id.in_(slot_ids[at : at + _AT_ONCE]))
        loaded = query.options(selectinload(Post.pictures).selectinload(PostPicture.picture))
        found |= {post.slot_id: post for post in session.scalars(loaded) if post.slot_id is not None}
    return found


def _entry(slot: Slot, post: Post | None, schedule: Schedule) -> Entry:
    state: State = slot.state.value
    if slot.state is SlotState.MISSED and (slot.reason or "").startswith(QUIET):
        state = "quiet"
    return Entry(
        slot.account,
        state,
        slot.due_at,
        slot.due_at.astimezone(schedule.tz),
        slot.key.partition("|")[2],
        slot.id,
        slot.version,
        slot.reason,
        slot.pinned,
        post,
        tuple(link.picture for link in post.pictures) if post is not None else (),
    )


def _stock(session: Session, preferred: str, *, reviewed: bool) -> Sequence[Picture]:
    """The pictures that wait, in the order in which the outbox tries them, without locking any."""
    waits = select(Picture).where(Picture.state == PictureState.APPROVED)
    waits = waits.order_by(Picture.checkpoint != preferred, Picture.id)
    if reviewed:
        waits = waits.where(Picture.verdict == Verdict.APPROVED)
    return session.scalars(waits.limit(200)).all()


def _next_pictures(stock: Iterable[Picture], looks: Sequence[int], count: int) -> tuple[Picture, ...]:
    """The first that look like none of `looks` and none of each other; none at all where there are fewer."""
    chosen: list[Picture] = []
    for picture in stock:
        if len(chosen) == count:
            break
        if nearest(picture.phash, [*looks, *(other.phash for other in chosen)]) >= LOOK_ALIKE:
            chosen.append(picture)
    return tuple(chosen) if len(chosen) == count else ()


def day_begin(day: date, schedule: Schedule) -> datetime:
    """The instant at which a local day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=schedule.tz).astimezone(UTC)
