"""What a restored database must not do again: it does not know what was posted since its backup was made.

Every slot since then ends here, and every open post is unclear. Where the network lists what the account
published, that is taken in: its posts, the slots that they served, and the serials that are used up. Where it
could not be asked, the account is stopped until `meshibot resume` has asked.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from meshibot.captions import serials_in
from meshibot.database import queries
from meshibot.database.models import (
    OPEN_STATES,
    Account,
    Daemon,
    Event,
    Picture,
    PictureState,
    Post,
    PostState,
    Slot,
    SlotState,
)
from meshibot.kinds import Kind
from meshibot.outbox import record
from meshibot.outbox.decide import Late, Published, Restored, Result, Situation, decide
from meshibot.outbox.policy import Policy
from meshibot.publishers.base import Seen
from meshibot.slots import Schedule, plan
from meshibot.slots.planner import write_slots

RESTORE = "restore"
TAKE_IN = "take in"
"""Actions of the events that say since when an account's posts are not known, and that they are again."""

FOUND = "It was found on the network after a restore."
NOT_FOUND = "It was not posted after the backup was made, as far as its network shows, and was then restored."
UNCERTAIN = "It may have been posted after the backup was made that was restored."

_NO_TIME = timedelta()
_CLOCKS = timedelta(minutes=10)
"""How far a network's clock may differ."""


@dataclass(frozen=True)
class Held:
    """What holding an account came to."""

    account: str
    slots: int
    """That ended, taken ones among them."""
    unclear: int
    """Posts that are looked for."""


@dataclass(frozen=True)
class TakenIn:
    """What the network's list brought."""

    account: str
    found: int
    """Posts that were not in the database."""
    next_serial: int


def hold(
    session: Session,
    name: str,
    schedule: Schedule | None,
    since: datetime,
    now: datetime,
    *,
    by: str,
) -> Held:
    """End every slot of the account whose moment has come, and stop it until its posts are known again.

    `schedule` is None for an account that no setting names. Posts that were open are unclear from here on.
    """
    account = session.get_one(Account, name, with_for_update=True)
    account.lease_owner = account.lease_expires_at = None
    unclear = 0
    for post in session.scalars(select(Post).where(Post.account == name, Post.state.in_(OPEN_STATES))):
        record.interrupt_tries(session, post, now)
        _settle(session, account, post, Restored(), now)
        unclear += 1
    if schedule is not None:
        write_slots(session, name, schedule, now, random.SystemRandom())
    slots = _held_slots(session, name, schedule, now)
    for slot in slots:
        ahead = session.scalars(select(Post).where(Post.slot_id == slot.id, Post.state == PostState.APPROVED))
        for post in ahead.all():
            _settle(session, account, post, Late(UNCERTAIN), now)
        # pinned, or the planner would plan those again whose jitter lies ahead
        slot.state, slot.reason, slot.pinned = SlotState.MISSED, UNCERTAIN, True
    record.stop(
        account,
        f"It was restored from a backup of {since:%Y-%m-%d %H:%M} UTC, and what it posted since is not known "
        f"here. Run `meshibot resume --account {name}`, which asks its network.",
        now,
    )
    session.add(Event(at=now, actor=by, action=RESTORE, account=name, note=since.isoformat()))
    session.flush()
    return Held(name, len(slots), unclear)


def unknown_since(session: Session, account: str) -> datetime | None:
    """Since when it is not known what the account posted; None where it is known."""
    last = session.scalar(
        select(Event)
        # a slot that a person planned again is a restore as well
        .where(Event.account == account, Event.slot_id.is_(None), Event.action.in_((RESTORE, TAKE_IN)))
        .order_by(Event.id.desc())
        .limit(1)
    )
    if last is None or last.action == TAKE_IN or last.note is None:
        return None
    return datetime.fromisoformat(last.note)


def take_in(
    session: Session,
    name: str,
    schedule: Schedule,
    seen: Iterable[Seen] | None,
    now: datetime,
    *,
    by: str,
) -> TakenIn:
    """Write down what the network says that the account published since its backup, and count on after it.

    `seen` is None for a network that lists nothing: then the count goes on after every slot that was held.
    """
    account = session.get_one(Account, name, with_for_update=True)
    held = session.scalars(
        select(Slot)
        .where(Slot.account == name, Slot.state == SlotState.MISSED, Slot.reason == UNCERTAIN)
        .order_by(Slot.due_at)
    ).all()
    found = 0
    if seen is None:
        account.next_serial += len(held)
    else:
        free = list(held)
        for serial, each in _by_serial(seen):
            found += _note(session, account, serial, each, free, schedule, now)
        for slot in free:
            slot.reason = NOT_FOUND
    session.add(Event(at=now, actor=by, action=TAKE_IN, account=name, note=f"{found} posts found"))
    session.flush()
    return TakenIn(name, found, account.next_serial)


def put_aside_stock(session: Session, since: datetime) -> int:
    """Take the pictures out of the stock that waited when the backup was made; how many.

    They may have been posted since, and nothing shows a picture twice.
    """
    waited = select(Picture).where(
        Picture.state.in_((PictureState.APPROVED, PictureState.CANDIDATE)), Picture.created_at <= since
    )
    pictures = session.scalars(waited).all()
    for picture in pictures:
        picture.state, picture.reason = PictureState.REJECTED, UNCERTAIN
    return len(pictures)


def forget_daemons(session: Session, now: datetime) -> None:
    """Those of the backup run no more."""
    session.execute(update(Daemon).where(Daemon.stopped_at.is_(None)).values(stopped_at=now))


def _held_slots(session: Session, name: str, schedule: Schedule | None, now: datetime) -> Sequence[Slot]:
    """Planned slots whose moment has come, also where the jitter that was drawn here lies ahead."""
    jitter = schedule.jitter if schedule is not None else _NO_TIME
    planned = session.scalars(
        select(Slot)
        .where(Slot.account == name, Slot.state == SlotState.PLANNED, Slot.due_at <= now + jitter)
        .order_by(Slot.due_at)
    ).all()
    if schedule is None or not jitter:
        return planned
    begin = now - jitter - timedelta(minutes=1)
    begun = {slot.key(name) for slot in plan(schedule.cron, schedule.tz, begin, 2) if slot.due_at <= now}
    return [slot for slot in planned if slot.due_at <= now or slot.key in begun]


def _by_serial(seen: Iterable[Seen]) -> Iterator[tuple[int, Seen]]:
    """The oldest post of each serial, in the order of serials. A text with several serials is not ours."""
    first: dict[int, Seen] = {}
    for each in sorted(seen, key=lambda each: each.at, reverse=True):
        serials = set(serials_in(each.text))
        if len(serials) == 1:
            first[serials.pop()] = each
    return iter(sorted(first.items()))


def _note(
    session: Session,
    account: Account,
    serial: int,
    seen: Seen,
    free: list[Slot],
    schedule: Schedule,
    now: datetime,
) -> bool:
    """Write down that a post exists; whether it was not in the database."""
    post = session.scalar(select(Post).where(Post.account == account.name, Post.serial == serial))
    if post is not None:
        if post.remote_id is None and post.state in (PostState.UNKNOWN, PostState.NEEDS_PERSON):
            _believe(session, account, post, seen, now)
        return False
    if serial < account.next_serial:
        return False  # of an earlier database
    slot = _served(free, seen, schedule)
    post = Post(
        account=account.name,
        publisher=account.publisher,
        remote_user_id=account.remote_user_id,
        slot_id=None if slot is None else slot.id,
        serial=serial,
        kind=Kind.SINGLE,
        state=PostState.UNKNOWN,
        caption=seen.text,
        created_at=seen.at,
        sent_at=seen.at,
        due_at=seen.at if slot is None else slot.due_at,
        deadline=seen.at,
        not_before=now,
    )
    session.add(post)
    session.flush()
    _believe(session, account, post, seen, now)
    account.next_serial = serial + 1
    account.last_sent_at = max(account.last_sent_at or seen.at, seen.at)
    if slot is not None:
        free.remove(slot)
        slot.state, slot.reason = SlotState.TAKEN, None
    return True


def _served(free: Sequence[Slot], seen: Seen, schedule: Schedule) -> Slot | None:
    """The slot that the post was made for: the last whose time had come, within jitter and grace."""
    longest = schedule.jitter + schedule.grace + _CLOCKS
    fitting = [
        slot for slot in free if slot.due_at - schedule.jitter - _CLOCKS <= seen.at <= slot.due_at + longest
    ]
    return fitting[-1] if fitting else None


def _believe(session: Session, account: Account, post: Post, seen: Seen, now: datetime) -> None:
    with session.no_autoflush:
        if queries.another_post_at(session, post, seen.sent.remote_id) is not None:
            return
    post.sent_at = post.sent_at or seen.at
    _settle(session, account, post, Published(seen.sent, FOUND), now)
    post.posted_at = seen.at.astimezone(UTC)


def _settle(session: Session, account: Account, post: Post, result: Result, now: datetime) -> None:
    record.write(session, post, account, decide(result, Situation(post, now, Policy())), now)
