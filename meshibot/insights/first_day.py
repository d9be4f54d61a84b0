"""What is comparable of how people answered: the reactions that a post has had when its first day is over.

A reaction is a like, a repost (with words or without) or a reply, one as good as another: each says that
somebody stopped. Views are no reaction, and most networks don't tell them.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from sqlalchemy import ColumnElement, extract, func, select
from sqlalchemy.orm import Session

from meshibot.database import Picture, Post, PostMetrics, PostPicture, PostState, Slot
from meshibot.kinds import Kind

LATEST = timedelta(days=3)
"""What was first looked at later than so long after its post is not comparable."""

_AT_ONCE = 500
"""Rows that are read at a time."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of a post."""

    id: int
    checkpoint: str
    seed: int
    quantile: float


@dataclass(frozen=True, slots=True)
class FirstDay:
    """A post, and how people had answered to it a day later."""

    post: int
    kind: Kind
    slot: str | None
    """Its slot's key."""
    due_at: datetime
    posted_at: datetime | None
    local: datetime
    """When it was due, on the account's clocks."""
    pictures: tuple[Shown, ...]
    likes: int
    reposts: int
    replies: int
    views: int | None

    @property
    def reactions(self) -> int:
        """All together."""
        return self.likes + self.reposts + self.replies

    @property
    def hour(self) -> int:
        """The one that the schedule named, before any jitter."""
        named = (self.slot or "").partition("|")[2][11:13]
        return int(named) if named.isdigit() else self.local.hour


def first_days(
    session: Session, account: str, tz: tzinfo, since: datetime | None = None
) -> Iterator[FirstDay]:
    """The account's posts whose first day was counted, the oldest first.

    Columns, and no objects of the ORM: of a year with a post an hour those take a second and a half.
    """
    first = (
        select(PostMetrics.post_id, func.min(PostMetrics.measured_at).label("at"))
        .join(Post, Post.id == PostMetrics.post_id)
        .where(
            Post.account == account,
            Post.state == PostState.POSTED,
            PostMetrics.likes.is_not(None),
            _age(session) >= 1.0,
            _age(session) < LATEST / timedelta(days=1),
        )
        .group_by(PostMetrics.post_id)
    )
    if since is not None:
        first = first.where(Post.sent_at >= since)
    found = first.subquery()
    pictures: defaultdict[int, list[Shown]] = defaultdict(list)
    shown = (
        select(PostPicture.post_id, Picture.id, Picture.checkpoint, Picture.seed, Picture.quantile)
        .join(found, found.c.post_id == PostPicture.post_id)
        .join(Picture, Picture.id == PostPicture.picture_id)
        .order_by(PostPicture.post_id, PostPicture.position)
        .execution_options(yield_per=_AT_ONCE)
    )
    names: dict[str, str] = {}  # one text for all pictures of a checkpoint
    for post, picture, checkpoint, seed, quantile in session.execute(shown):
        pictures[post].append(Shown(picture, names.setdefault(checkpoint, checkpoint), seed, quantile))
    rows = session.execute(
        select(Post.id, Post.kind, Slot.key, Post.due_at, Post.posted_at,
               PostMetrics.likes, PostMetrics.reposts, PostMetrics.replies, PostMetrics.views)
        .join(found, found.c.post_id == Post.id)
        .join(PostMetrics, (PostMetrics.post_id == Post.id) & (PostMetrics.measured_at == found.c.at))
        .outerjoin(Slot, Slot.id == Post.slot_id)
        .order_by(Post.id)
        .execution_options(yield_per=_AT_ONCE)
    )  # fmt: skip
    for post, kind, slot, due_at, posted_at, likes, reposts, replies, views in rows:
        yield FirstDay(
            post, kind, slot, due_at, posted_at, due_at.astimezone(tz), tuple(pictures.pop(post, ())),
            likes or 0, reposts or 0, replies or 0, views,
        )  # fmt: skip


def _age(session: Session) -> ColumnElement[Any]:
    """Days from a post to a look at it: the databases share no word for it."""
    if session.get_bind().dialect.name == "sqlite":
        return func.julianday(PostMetrics.measured_at) - func.julianday(Post.posted_at)
    return extract("epoch", PostMetrics.measured_at - Post.posted_at) / 86_400.0
