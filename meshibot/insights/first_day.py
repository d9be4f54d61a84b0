"""What is comparable of how people answered: the reactions that a post has had when its first day is over.

A reaction is a like, a repost (with words or without) or a reply, one as good as another: each says that
somebody stopped. Views are no reaction, and most networks don't tell them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from sqlalchemy import ColumnElement, extract, func, select
from sqlalchemy.orm import Session, selectinload

from meshibot.database import Post, PostMetrics, PostPicture, PostState

LATEST = timedelta(days=3)
"""What was first looked at later than so long after its post is not comparable."""


@dataclass(frozen=True)
class FirstDay:
    """A post, and how people had answered to it a day later."""

    post: Post
    local: datetime
    """When it was due, on the account's clocks."""
    reactions: int
    likes: int
    reposts: int
    replies: int
    views: int | None

    @property
    def hour(self) -> int:
        """The one that the schedule named, before any jitter."""
        slot = self.post.slot
        named = slot.key.partition("|")[2][11:13] if slot is not None else ""
        return int(named) if named.isdigit() else self.local.hour


def first_days(
    session: Session, account: str, tz: tzinfo, since: datetime | None = None
) -> Iterator[FirstDay]:
    """The account's posts whose first day was counted, the oldest first."""
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
    rows = session.execute(
        select(Post, PostMetrics.likes, PostMetrics.reposts, PostMetrics.replies, PostMetrics.views)
        .join(found, found.c.post_id == Post.id)
        .join(PostMetrics, (PostMetrics.post_id == Post.id) & (PostMetrics.measured_at == found.c.at))
        .options(selectinload(Post.slot), selectinload(Post.pictures).selectinload(PostPicture.picture))
        .order_by(Post.id)
    )
    for post, likes, reposts, replies, views in rows:
        total = (likes or 0) + (reposts or 0) + (replies or 0)
        local = post.due_at.astimezone(tz)
        yield FirstDay(post, local, total, likes or 0, reposts or 0, replies or 0, views)


def _age(session: Session) -> ColumnElement[Any]:
    """Days from a post to a look at it: the databases share no word for it."""
    if session.get_bind().dialect.name == "sqlite":
        return func.julianday(PostMetrics.measured_at) - func.julianday(Post.posted_at)
    return extract("epoch", PostMetrics.measured_at - Post.posted_at) / 86_400.0
