"""What `meshibot insights` says: reactions a post by hour, weekday, kind, checkpoint and score."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from meshibot.config import Account
from meshibot.database import Post, PostState
from meshibot.insights.first_day import FirstDay, first_days
from meshibot.insights.rates import LEVEL, dispersion, rate
from meshibot.insights.reading import cost_a_post, is_read, spent_this_month
from meshibot.publishers import publisher_class
from meshibot.publishers.base import reactions_at_once
from meshibot.views import instant

Json = dict[str, Any]

_BANDS = (0.25, 0.5, 0.75)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

BY: Mapping[str, Callable[[FirstDay], str]] = {
    "hour": lambda day: f"{day.hour:02d}:00",
    "weekday": lambda day: WEEKDAYS[day.local.weekday()],
    "kind": lambda day: day.kind.value,
    "checkpoint": lambda day: ", ".join(dict.fromkeys(shown.checkpoint[:12] for shown in day.pictures)),
    "score": lambda day: _band(min((shown.quantile for shown in day.pictures), default=0.0)),
}
"""What posts are told apart by. A score is where its weakest picture stands among held-out photographs."""


def insights(session: Session, account: Account, now: datetime) -> Json:
    """One account's: the tables, and each post with its pictures."""
    days = list(first_days(session, account.name, account.timezone))
    return _summary(session, account, now, days, None) | {"days": [_day_json(day) for day in days]}


def summary(session: Session, account: Account, now: datetime, since: datetime | None) -> Json:
    """The tables alone, of all posts of the account or of those since a moment."""
    days = first_days(session, account.name, account.timezone, since)
    return _summary(session, account, now, days, since)


def _summary(
    session: Session, account: Account, now: datetime, days: Iterable[FirstDay], since: datetime | None
) -> Json:
    posted = select(func.count()).where(Post.account == account.name, Post.state == PostState.POSTED)
    if since is not None:
        posted = posted.where(Post.sent_at >= since)
    counted = 0
    groups: dict[str, dict[str, list[int]]] = {name: {} for name in BY}
    for day in days:
        counted += 1
        for name, value in BY.items():
            groups[name].setdefault(value(day), []).append(day.reactions)
    return {
        "account": account.name,
        "publisher": account.publisher,
        "has_reactions": bool(reactions_at_once(publisher_class(account.publisher))),
        "is_read": is_read(account),
        "posts": session.scalar(posted) or 0,
        "counted": counted,
        "level": LEVEL,
        "spent_this_month": spent_this_month(session, account, now),
        "most_a_post": cost_a_post(publisher_class(account.publisher)),
        "by": {name: _table(found) for name, found in groups.items()},
    }


def _table(groups: Mapping[str, Sequence[int]]) -> list[Json]:
    phi = dispersion(groups.values())
    return [{"value": name, **asdict(rate(groups[name], phi))} for name in sorted(groups, key=_place)]


def _place(value: str) -> tuple[int, str]:
    return (WEEKDAYS.index(value) if value in WEEKDAYS else 0, value)


def _band(quantile: float) -> str:
    edges: Sequence[float] = (0.0, *_BANDS, 1.0)
    number = sum(quantile >= edge for edge in _BANDS)
    return f"{edges[number]:.2f}-{edges[number + 1]:.2f}"


def _day_json(day: FirstDay) -> Json:
    """A post and what people said of its pictures: labels for a filter, see `meshibot review export`."""
    return {
        "post": day.post,
        "local": day.local.isoformat(timespec="minutes"),
        "kind": day.kind.value,
        "reactions": day.reactions,
        "likes": day.likes,
        "reposts": day.reposts,
        "replies": day.replies,
        "views": day.views,
        "posted_at": instant(day.posted_at),
        "pictures": [asdict(shown) for shown in day.pictures],
    }
