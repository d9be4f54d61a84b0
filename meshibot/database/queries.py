"""What is asked of the database again and again: every question finds its index, however long the history is.

Nothing is changed here; what is asked for a change is locked, where the database can.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Select, and_, bindparam, exists, func, or_, select
from sqlalchemy.orm import Session

from meshibot.database.models import (
    IS_OPEN,
    OPEN_STATES,
    Account,
    AccountState,
    Base,
    Daemon,
    Picture,
    PictureState,
    Post,
    PostMetrics,
    PostPicture,
    PostState,
    Slot,
    SlotState,
    Verdict,
)
from meshibot.kinds import Kind
from meshibot.thresholds import LOOK_ALIKE, LOOKED_AT_FOR

Row = TypeVar("Row", bound=Base)

LARGEST_ID = (1 << 63) - 1
"""Of any row: a database takes no greater number."""

LONGEST_WAIT = timedelta(hours=24)
"""Rate limits go up to a day."""

FAR = timedelta(hours=25)
"""A wait that seems longer was noted under a clock that had run ahead, and is over."""

ALIVE = timedelta(minutes=2)
"""A daemon that was not seen for so long is taken for dead; it says that it lives every half minute."""

CLOCKS_APART = timedelta(hours=1)
"""So far ahead another machine's clock may be. A daemon that was seen later than that died under a clock that
ran ahead: one that lives is seen by the clock as it is now."""

_DAY, _WEEK = timedelta(days=1), timedelta(days=7)

RECENT_POSTS = 30
"""Within so many posts of an account no two look alike."""

WAITING_STATES = tuple(state for state in OPEN_STATES if state is not PostState.SENDING)
UNSENT_STATES = tuple(state for state in WAITING_STATES if state is not PostState.UNKNOWN)

_NEVER_MADE = (PostState.REJECTED, PostState.MISSED, PostState.CANCELLED)
"""Nobody has seen their pictures, which may be back in stock."""
_SENT = (PostState.POSTED, PostState.DELETED, PostState.NEEDS_PERSON)
"""It was there, or may have been."""
_CHUNK = 200


# What every claim asks is built once: building a statement costs SQLAlchemy as much as running it.
_ACCOUNT = bindparam("account", type_=Account.name.type)
_NOW = bindparam("now", type_=Post.not_before.type)
_FAR = bindparam("far", type_=Post.not_before.type)
_OPEN_POSTS = select(Post).where(IS_OPEN, Post.account == _ACCOUNT)
_DUE_SLOTS = select(Slot).where(
    Slot.account == _ACCOUNT, Slot.state == SlotState.PLANNED, Slot.due_at <= _NOW
)
_IS_ANYTHING_DUE = or_(
    exists(_OPEN_POSTS.where(or_(Post.not_before <= _NOW, Post.not_before > _FAR))), exists(_DUE_SLOTS)
)
_ANYTHING_DUE = select(_IS_ANYTHING_DUE)
_ACCOUNT_WITH_WORK = (
    select(Account).where(Account.name == _ACCOUNT, _IS_ANYTHING_DUE).with_for_update(skip_locked=True)
)
_OPEN_POSTS_IN_ORDER = _OPEN_POSTS.order_by(Post.deadline, Post.id)
_DUE_SLOTS_IN_ORDER = _DUE_SLOTS.order_by(Slot.due_at).limit(_CHUNK).with_for_update(skip_locked=True)
_LAST_POSTS = (
    select(Post.id)
    .where(Post.account == _ACCOUNT, Post.serial.is_not(None), Post.state.not_in(_NEVER_MADE))
    .order_by(Post.serial.desc())
    .limit(bindparam("posts"))
    .subquery()
)
_RECENT_HASHES = (
    select(Picture.phash)
    .join(PostPicture, PostPicture.picture_id == Picture.id)
    .join(_LAST_POSTS, _LAST_POSTS.c.id == PostPicture.post_id)
)
_STOCK = (
    select(Picture)
    .where(Picture.state == PictureState.APPROVED, Picture.id > bindparam("after"))
    .order_by(Picture.id)
    .limit(bindparam("count"))
    .with_for_update(skip_locked=True)
)
_PREFERRED = bindparam("preferred", type_=Picture.checkpoint.type)
_APPROVED_STOCK = _STOCK.where(Picture.verdict == Verdict.APPROVED)


def _in_turn(stock: Select[Picture]) -> tuple[Select[Picture], Select[Picture]]:
    """What a preferred checkpoint made, then everything else."""
    return stock.where(Picture.checkpoint == _PREFERRED), stock.where(Picture.checkpoint != _PREFERRED)


_STOCK_IN_TURN = {False: _in_turn(_STOCK), True: _in_turn(_APPROVED_STOCK)}


def lock_name(session: Session, name: str) -> None:
    """Wait until no other transaction holds this name, and hold it to the end of this one.

    SQLite has one writer at a time anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def is_over(until: datetime | None, now: datetime, longest: timedelta = FAR) -> bool:
    """Whether nothing has to be waited for: a wait longer than `longest` can't be meant."""
    return until is None or not now < until <= now + longest


def lock_account_with_work(session: Session, name: str, now: datetime) -> Account | None:
    """The account, locked; None where nothing of it is due, or while another process is changing it."""
    return session.scalar(_ACCOUNT_WITH_WORK, _moment(name, now))


def anything_due(session: Session, account: str, now: datetime) -> bool:
    """Whether it is worth a write lock to look for work."""
    return bool(session.scalar(_ANYTHING_DUE, _moment(account, now)))


def is_id(number: int) -> bool:
    """Whether a row may have it."""
    return 0 < number <= LARGEST_ID


def by_id(session: Session, kind: type[Row], number: int, *, lock: bool = False) -> Row | None:
    """The row of this number, whatever a person typed; None where there is none."""
    return session.get(kind, number, with_for_update=lock or None) if is_id(number) else None


def missed_slots(session: Session, accounts: Collection[str], now: datetime, most: int) -> Sequence[Slot]:
    """The accounts' slots of the last week that came to no post, the latest first."""
    query = select(Slot).where(
        Slot.account.in_(accounts),
        Slot.state == SlotState.MISSED,
        Slot.due_at > now - _WEEK,
        Slot.due_at <= now,
    )
    return session.scalars(query.order_by(Slot.due_at.desc()).limit(most)).all()


def open_posts(session: Session, account: str) -> Sequence[Post]:
    """The posts that are not at their end: few, and found by an index of their own. Those due first first."""
    return session.scalars(_OPEN_POSTS_IN_ORDER, {"account": account}).all()


def waiting_by_hand(session: Session, account: str, kind: Kind, now: datetime) -> Post | None:
    """The oldest post of its kind that a person asked for, that was not made yet and is not too late."""
    for post in open_posts(session, account):
        asked = post.slot_id is None and post.state in UNSENT_STATES and post.kind is kind
        if asked and post.deadline >= now:
            return post
    return None


def due_posts(posts: Iterable[Post], now: datetime) -> Sequence[Post]:
    """Of open posts those whose wait is over, unclear ones first. None is in flight."""
    due = [post for post in posts if post.state in WAITING_STATES and is_over(post.not_before, now)]
    return sorted(due, key=lambda post: post.state is not PostState.UNKNOWN)


def due_slots(session: Session, account: str, now: datetime) -> Sequence[Slot]:
    """Planned slots whose moment has come, the oldest first, locked."""
    return session.scalars(_DUE_SLOTS_IN_ORDER, _moment(account, now)).all()


def next_slot(session: Session, account: str, now: datetime) -> Slot | None:
    """The account's next planned slot after `now`."""
    query = select(Slot).where(Slot.account == account, Slot.state == SlotState.PLANNED, Slot.due_at > now)
    return session.scalar(query.order_by(Slot.due_at).limit(1))


def next_moment(session: Session, account: str, now: datetime) -> datetime | None:
    """When something of the account comes due next, after `now`; what is due already does not count."""
    slot = session.scalar(
        select(func.min(Slot.due_at)).where(
            Slot.account == account, Slot.state == SlotState.PLANNED, Slot.due_at > now
        )
    )
    post = session.scalar(
        select(func.min(Post.not_before)).where(
            IS_OPEN, Post.account == account, Post.state.in_(WAITING_STATES), Post.not_before > now
        )
    )
    row = session.get(Account, account)
    waits = [slot, post]
    if row is not None:
        waits += [row.not_before, row.lease_expires_at]
    return min((wait for wait in waits if wait is not None and wait > now), default=None)


def _moment(account: str, now: datetime) -> dict[str, object]:
    return {"account": account, "now": now, "far": now + FAR}


def lives(daemon: Daemon, now: datetime) -> bool:
    """Whether a daemon did not say that it ended, and was seen lately."""
    return daemon.stopped_at is None and -CLOCKS_APART < now - daemon.seen_at < ALIVE


def last_daemon(session: Session, now: datetime) -> Daemon | None:
    """One that lives; where none does, the one that was seen last."""
    till_now = Daemon.seen_at < now + CLOCKS_APART
    living = and_(Daemon.stopped_at.is_(None), Daemon.seen_at > now - ALIVE, till_now)
    order = (living.desc(), till_now.desc(), Daemon.seen_at.desc())
    return session.scalar(select(Daemon).order_by(*order).limit(1))


def begun_between(session: Session, account: str, since: datetime, until: datetime) -> int:
    """How many posts of the account were sent from then to then, may have been, or are under way now."""
    sent = select(func.count()).where(
        Post.account == account,
        Post.sent_at >= since,
        Post.sent_at < until,
        Post.state.in_(_SENT),
    )
    under_way = select(func.count()).where(IS_OPEN, Post.account == account)
    return (session.scalar(sent) or 0) + (session.scalar(under_way) or 0)


def captions_begun_between(
    session: Session, account: str, since: datetime, until: datetime
) -> Sequence[str | None]:
    """What those posts say; None for one whose words are not made yet."""
    under_way = select(Post.caption).where(IS_OPEN, Post.account == account)
    return (*captions_sent_between(session, account, since, until), *session.scalars(under_way))


def captions_sent_between(
    session: Session, account: str, since: datetime, until: datetime
) -> Sequence[str | None]:
    """The same without those that are under way."""
    sent = select(Post.caption).where(
        Post.account == account, Post.sent_at >= since, Post.sent_at < until, Post.state.in_(_SENT)
    )
    return session.scalars(sent).all()


def looks_between(session: Session, account: str, since: datetime, until: datetime) -> int:
    """How often the network told how people answered to one of the account's posts; what was gone is none."""
    looks = (
        select(func.count())
        .select_from(PostMetrics)
        .join(Post, Post.id == PostMetrics.post_id)
        .where(
            Post.account == account,
            Post.sent_at >= since - LOOKED_AT_FOR - _DAY,  # or the looks of all years would be gone through
            PostMetrics.measured_at >= since,
            PostMetrics.measured_at < until,
            PostMetrics.likes.is_not(None),
        )
    )
    return session.scalar(looks) or 0


def recent_hashes(session: Session, account: str, posts: int) -> list[int]:
    """Perceptual hashes of the pictures in the account's last `posts` posts that were made or may be."""
    return list(session.scalars(_RECENT_HASHES, {"account": account, "posts": posts}))


def sound(picture: Picture) -> str | None:
    """That a picture has no fault, for those who don't look at its file."""
    return None


@dataclass
class Choice:
    """Pictures for a post; none where the stock doesn't have enough, and why others were passed over."""

    pictures: list[Picture] = field(default_factory=list)
    alike: list[Picture] = field(default_factory=list)
    """They look like a recent post."""
    faulty: list[tuple[Picture, str]] = field(default_factory=list)
    """Their files can't be posted, and why."""


def choose_pictures(
    session: Session,
    account: str,
    count: int,
    *,
    posts: int = RECENT_POSTS,
    distance: int = LOOK_ALIKE,
    preferred: str | None = None,
    no_others: bool = False,
    reviewed: bool = False,
    fault: Callable[[Picture], str | None] = sound,
) -> Choice:
    """The oldest pictures of the stock that look like none of the last `posts` posts, nor like each other.

    Those of the checkpoint with the SHA-256 `preferred` come before all others, and with `no_others` alone:
    where the checkpoint can't be told, none does. Two pictures look alike when
    fewer than `distance` of the 64 bits of their hashes differ. What is chosen is locked where the database
    can, and nothing is changed. Whatever `fault` raises goes through. `reviewed` leaves out what no person
    approved.
    """
    recent = recent_hashes(session, account, posts)
    whole = _APPROVED_STOCK if reviewed else _STOCK
    queries: Sequence[Select[Picture]] = _STOCK_IN_TURN[reviewed] if preferred else (whole,)
    if no_others:
        queries = queries[:1] if preferred else ()
    choice = Choice()
    chosen = choice.pictures
    for query in queries:
        after = 0
        while len(chosen) < count:
            # No more than are needed: another account's process may be choosing at this moment, and what is
            # locked here is no stock to it.
            bounds = {"after": after, "count": count - len(chosen)}
            stock = session.scalars(query, bounds | ({"preferred": preferred} if preferred else {})).all()
            if not stock:
                break
            after = stock[-1].id
            for picture in stock:
                if _resembles(picture.phash, recent, distance):
                    choice.alike.append(picture)
                elif _resembles(picture.phash, [p.phash for p in chosen], distance):
                    pass
                elif (says := fault(picture)) is not None:
                    choice.faulty.append((picture, says))
                else:
                    chosen.append(picture)
    if len(chosen) < count:
        chosen.clear()
    return choice


def _resembles(phash: int, others: Sequence[int], distance: int) -> bool:
    return any((phash ^ other).bit_count() < distance for other in others)


def next_serial(session: Session, account: Account) -> int:
    """The number of the account's next post: counted together with all names here that are one account there.

    Who gets it commits it as taken before another such name can ask.
    """
    if account.remote_user_id is None:
        return account.next_serial
    others = select(func.max(Account.next_serial)).where(
        Account.publisher == account.publisher,
        Account.remote_user_id == account.remote_user_id,
        Account.name != account.name,
    )
    if session.scalar(others) is None:
        return account.next_serial
    lock_name(session, f"{account.publisher} {account.remote_user_id}")
    return max(account.next_serial, session.scalar(others) or 1)


def first_post_at(session: Session) -> datetime | None:
    """When the first post was made that there is; None where there is none."""
    first = select(func.min(Post.id)).scalar_subquery()
    return session.scalar(select(Post.created_at).where(Post.id == first))


def last_posted_at(session: Session, since: datetime) -> datetime | None:
    """When the last post was published of those that were sent since then; None where there is none."""
    accounts = select(Account.name)
    sent = select(func.max(Post.posted_at)).where(Post.account.in_(accounts), Post.sent_at >= since)
    return session.scalar(sent)


def pictures_of(session: Session, post: Post) -> tuple[Picture, ...]:
    """A post's pictures in their order."""
    return tuple(
        session.scalars(
            select(Picture)
            .join(PostPicture, PostPicture.picture_id == Picture.id)
            .where(PostPicture.post_id == post.id)
            .order_by(PostPicture.position)
        )
    )


def held_back(account: Account, now: datetime) -> str | None:
    """Why the account sends nothing at all; None where it may."""
    if account.state is AccountState.STOPPED:
        return f"The account is stopped: {account.stopped_reason}"
    if account.not_before is not None and not is_over(account.not_before, now):
        until = f"{account.not_before:%Y-%m-%d %H:%M} UTC"
        return f"The network takes nothing from the account until {until} (its rate limit)."
    return None


def post_of_slot(session: Session, slot: Slot) -> Post | None:
    """What was written ahead for the slot."""
    return session.scalar(select(Post).where(Post.slot_id == slot.id, Post.state == PostState.APPROVED))


def is_shown_by_others(session: Session, post: Post, picture: Picture) -> bool:
    """Whether another post has the picture that was made, or still may be."""
    others = (
        select(PostPicture.picture_id)
        .join(Post, Post.id == PostPicture.post_id)
        .where(PostPicture.picture_id == picture.id, Post.id != post.id, Post.state.not_in(_NEVER_MADE))
    )
    return bool(session.scalar(select(exists(others))))


def written_ahead(session: Session, account: str, before: datetime) -> Sequence[Post]:
    """What was written ahead for planned slots that were due before then."""
    return session.scalars(
        select(Post)
        .join(Slot, Slot.id == Post.slot_id)
        .where(
            Slot.account == account,
            Slot.state == SlotState.PLANNED,
            Slot.due_at < before,
            Post.state == PostState.APPROVED,
        )
    ).all()


def captions_before(session: Session, account: str, serial: int, count: int) -> Sequence[Post]:
    """The account's last posts before a serial that were made or may be, the newest first."""
    return session.scalars(
        select(Post)
        .where(
            Post.account == account,
            Post.serial < serial,
            Post.state.not_in(_NEVER_MADE),
        )
        .order_by(Post.serial.desc())
        .limit(count)
    ).all()


def another_post_at(session: Session, post: Post, remote_id: str) -> int | None:
    """The id of another post of ours that is that post of the network; None where there is none.

    Where the network's id of the account is not known, only posts of the same name are told apart by it.
    """
    same = [Post.publisher == post.publisher, Post.remote_id == remote_id, Post.id != post.id]
    if post.remote_user_id is None:
        same += [Post.remote_user_id.is_(None), Post.account == post.account]
    else:
        same += [Post.remote_user_id == post.remote_user_id]
    return session.scalar(select(Post.id).where(*same).limit(1))
