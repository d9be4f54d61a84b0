"""What was posted, newest first, in pages by key: as quick after 100,000 posts as after ten. Reads only."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from threading import Lock

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session, selectinload

from meshibot.database import Account, Picture, Post, PostMetrics, PostPicture, PostState

_MOST_CHECKPOINTS = 100
_FEW = 5000
_CANDIDATES = 8
SHOWN = (PostState.POSTED, PostState.DELETED)


@dataclass(frozen=True)
class Filter:
    """Which posts are shown; None shows all. `begin` and `end` are instants."""

    account: str | None = None
    network: str | None = None
    begin: datetime | None = None
    end: datetime | None = None
    checkpoint: str | None = None


def page(session: Session, which: Filter, limit: int, before: int | None = None) -> Sequence[Post]:
    """So many posts before the one of this id, with their pictures."""
    query = select(Post).where(Post.state.in_(SHOWN), *_conditions(session, which))
    if before is not None:
        query = query.where(Post.id < before)
    query = query.order_by(Post.id.desc()).limit(limit)
    loaded = query.options(selectinload(Post.pictures).selectinload(PostPicture.picture))
    return session.scalars(loaded).all()


def posts_of(session: Session, picture: int) -> Sequence[Post]:
    """The posts that show a picture, the newest first."""
    query = select(Post).join(PostPicture).where(PostPicture.picture_id == picture).order_by(Post.id.desc())
    return session.scalars(query.options(selectinload(Post.slot)).limit(50)).all()


def reactions(session: Session, posts: Sequence[int]) -> dict[int, PostMetrics]:
    """How people answered to posts, as last counted."""
    found: dict[int, PostMetrics] = {}
    query = select(PostMetrics).where(PostMetrics.post_id.in_(posts)).order_by(PostMetrics.measured_at)
    for row in session.scalars(query):
        found[row.post_id] = row
    return found


def checkpoints(session: Session) -> list[str]:
    """The checkpoints that pictures are of, by hopping from one to the next in their index."""
    found: list[str] = []
    last: str | None = ""
    while last is not None and len(found) < _MOST_CHECKPOINTS:
        last = session.scalar(select(func.min(Picture.checkpoint)).where(Picture.checkpoint > last))
        found += [last] if last is not None else []
    return found


def networks(session: Session) -> list[str]:
    """The networks that accounts are, or were, on."""
    return sorted(set(session.scalars(select(Account.publisher))))


def span(session: Session) -> tuple[datetime, datetime] | None:
    """When the first and the last post was sent; None where there is none."""
    ends = [
        session.scalar(select(end(Post.sent_at)).where(Post.account == account, Post.sent_at.is_not(None)))
        for account in session.scalars(select(Account.name)).all()
        for end in (func.min, func.max)
    ]
    known = [end for end in ends if end is not None]
    return (min(known), max(known)) if known else None


def _conditions(session: Session, which: Filter) -> Iterator[ColumnElement[bool]]:
    if which.account is not None:
        yield Post.account == which.account
    if which.network is not None:
        yield Post.publisher == which.network
    if which.begin is not None:
        yield Post.sent_at >= which.begin
    if which.end is not None:
        yield Post.sent_at < which.end
    if which.checkpoint is not None:
        yield _of_checkpoint(session, which.checkpoint)


def _of_checkpoint(session: Session, checkpoint: str) -> ColumnElement[bool]:
    """Few pictures are looked up, and found wherever their posts are; many are met soon on the way down."""
    own = select(Picture.id).where(Picture.checkpoint == checkpoint)
    some = session.scalar(select(func.count()).select_from(own.limit(_FEW + 1).subquery())) or 0
    if some <= _FEW:
        return Post.id.in_(select(PostPicture.post_id).where(PostPicture.picture_id.in_(own)))
    return exists().where(
        PostPicture.post_id == Post.id,
        PostPicture.picture_id == Picture.id,
        Picture.checkpoint == checkpoint,
    )


@dataclass
class Likeness:
    """Perceptual hashes of all that was posted, kept in memory: 16 bytes a picture, read once.

    SQL has no count of bits that both databases know, and 100,000 hashes are compared in a few hundredths of
    a second.
    """

    _hashes: "array[int]" = field(default_factory=lambda: array("Q"))
    _pictures: "array[int]" = field(default_factory=lambda: array("Q"))
    _serials: dict[str, int] = field(default_factory=dict)
    """The last of each account that is in it. Not the posts' ids: what was only written ahead may be deleted,
    and SQLite gives its id to another post."""
    _lock: Lock = field(default_factory=Lock)

    def nearest(self, session: Session, picture: Picture) -> tuple[Post, Picture, int] | None:
        """The post whose picture looks most like this one, and the bits of 64 that differ."""
        with self._lock:
            self._catch_up(session)
            distances = bytes(map(int.bit_count, map(picture.phash.__xor__, self._hashes)))
            nearest = list(islice(self._in_order(distances, but=picture.id), _CANDIDATES))
        for bits, number in nearest:  # one that did not come to be posted is passed over
            found = session.execute(
                select(Post, Picture)
                .join(PostPicture, PostPicture.post_id == Post.id)
                .join(Picture, Picture.id == PostPicture.picture_id)
                .where(Picture.id == number, Post.state.in_(SHOWN))
                .limit(1)
            ).first()
            if found is not None:
                return found[0], found[1], bits
        return None

    def _in_order(self, distances: bytes, but: int) -> Iterator[tuple[int, int]]:
        """Distance and picture, the nearest first."""
        for bits in range(65):
            place = distances.find(bits)
            while place >= 0:
                if self._pictures[place] != but:
                    yield bits, self._pictures[place]
                place = distances.find(bits, place + 1)

    def _catch_up(self, session: Session) -> None:
        for account in session.scalars(select(Account.name)).all():
            rows = session.execute(
                select(Post.serial, Picture.id, Picture.phash)
                .join(PostPicture, PostPicture.post_id == Post.id)
                .join(Picture, Picture.id == PostPicture.picture_id)
                .where(Post.account == account, Post.serial > self._serials.get(account, 0))
                .order_by(Post.serial)
                .execution_options(yield_per=2000)
            )
            for serial, picture, phash in rows:
                self._hashes.append(phash)
                self._pictures.append(picture)
                self._serials[account] = serial or 0
