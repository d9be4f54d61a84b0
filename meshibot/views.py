"""How posts, pictures and slots look from outside: the JSON documents of the command line."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, selectinload

from meshibot.config import Account, Settings
from meshibot.database import Event, Picture, Post, PostPicture
from meshibot.database.models import IS_FOR_A_PERSON, IS_OPEN
from meshibot.slots import PlannedSlot, Schedule, plan

if TYPE_CHECKING:
    from meshibot.agenda import Entry

Json = dict[str, Any]
_MOST = 100
"""Posts in one list."""


def instant(moment: datetime | None) -> str | None:
    """An instant as ISO 8601 in UTC, to the second, with a Z."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _posts() -> Select[Post]:
    return select(Post).options(
        selectinload(Post.slot), selectinload(Post.pictures).selectinload(PostPicture.picture)
    )


def load_post(session: Session, post_id: int) -> Post:
    """A post with all that `post_json` shows."""
    return session.scalars(_posts().where(Post.id == post_id)).one()


def recent_posts(session: Session, limit: int, account: str | None = None) -> Sequence[Post]:
    """The newest posts first, without those that are only written ahead."""
    if account is None:
        query = _posts().where(Post.serial.is_not(None)).order_by(Post.id.desc())
    else:
        query = _posts().where(Post.account == account, Post.serial.is_not(None)).order_by(Post.serial.desc())
    return _by_group(session.scalars(query.limit(limit)).all())


def _by_group(posts: Sequence[Post]) -> Sequence[Post]:
    """Those of a group together, where its newest is."""
    place: dict[str, int] = {}
    for number, post in enumerate(posts):
        place.setdefault(post.group_key or str(post.id), number)
    return sorted(posts, key=lambda post: place[post.group_key or str(post.id)])


def posts_for_a_person(session: Session, accounts: Sequence[str]) -> Sequence[Post]:
    """Those of the accounts that only a person can settle, the oldest first."""
    query = _posts().where(IS_FOR_A_PERSON, Post.account.in_(accounts))
    return session.scalars(query.order_by(Post.id).limit(_MOST)).all()


def open_posts(session: Session, accounts: Sequence[str]) -> Sequence[Post]:
    """Those of the accounts that are not at their end, the oldest first."""
    query = _posts().where(IS_OPEN, Post.account.in_(accounts))
    return session.scalars(query.order_by(Post.id).limit(_MOST)).all()


def post_json(post: Post, settings: Settings) -> Json:
    """A post. Score and quantile are those of its weakest picture."""
    pictures = [link.picture for link in post.pictures]
    return {
        "id": post.id,
        "account": post.account,
        "state": post.state.value,
        "serial": post.serial,
        "kind": post.kind.value,
        "caption": post.caption,
        "alt_text": post.alt_text,
        "picture": _picture_file(post, pictures, settings),
        **weakest(pictures),
        "slot": post.slot.key if post.slot else None,
        "group": post.group_key,
        "remote_id": post.remote_id,
        "url": post.url or None,
        "reason": post.reason,
        "attempts": post.attempts,
        "created_at": instant(post.created_at),
        "posted_at": instant(post.posted_at),
        "pictures": [picture_json(picture, settings.home) for picture in pictures],
    }


def weakest(pictures: Sequence[Picture]) -> Json:
    """Score and quantile of the picture that scores lowest."""
    weak = min(pictures, key=lambda picture: picture.score, default=None)
    return {"score": weak.score if weak else None, "quantile": weak.quantile if weak else None}


def picture_json(picture: Picture, home: Path) -> Json:
    """A sampled picture, at the checkpoint's own resolution."""
    return {
        "id": picture.id,
        "file": str(home / picture.file),
        "state": picture.state.value if picture.state else None,
        "score": picture.score,
        "quantile": picture.quantile,
        "seed": picture.seed,
        "checkpoint": picture.checkpoint,
        "phash": f"{picture.phash:016x}",
        "verdict": picture.verdict.value if picture.verdict else None,
        "caption": picture.caption,
        "alt_text": picture.alt_text,
        "created_at": instant(picture.created_at),
    }


def entry_json(entry: "Entry") -> Json:
    """A slot of the agenda, and what was said for it."""
    post = entry.post
    return {
        "slot": entry.id,
        "account": entry.account,
        "due_at": instant(entry.due_at),
        "local": entry.local.isoformat(timespec="minutes"),
        "key": f"{entry.account}|{entry.minute}",
        "state": entry.state,
        "reason": entry.reason,
        "picture": entry.pictures[0].id if entry.pictures else None,
        "caption": post.caption if post is not None else None,
        "alt_text": post.alt_text if post is not None else None,
    }


def event_json(event: Event) -> Json:
    """What somebody changed."""
    return {
        "id": event.id,
        "at": instant(event.at),
        "actor": event.actor,
        "action": event.action,
        "account": event.account,
        "post": event.post_id,
        "slot": event.slot_id,
        "picture": event.picture_id,
        "note": event.note,
    }


def slot_json(account: str, slot: PlannedSlot) -> Json:
    """A planned slot, without jitter."""
    return {
        "account": account,
        "due_at": instant(slot.due_at),
        "local": slot.local,
        "key": slot.key(account),
    }


def upcoming(
    accounts: Sequence[tuple[Account, Schedule]], start: datetime | None, days: float, now: datetime
) -> list[Json]:
    """The slots that the schedules give, nearest first, without those in the quiet hours.

    A naive `start` is taken in each account's own time zone; without one they start now.
    """
    found: list[tuple[datetime, Json]] = []
    for account, schedule in accounts:
        begin = now if start is None else start if start.tzinfo else start.replace(tzinfo=account.timezone)
        slots = plan(schedule.cron, schedule.tz, begin, days, schedule.quiet)
        found += [(slot.due_at, slot_json(account.name, slot)) for slot in slots if not slot.quiet]
    return [document for _, document in sorted(found, key=lambda pair: (pair[0], pair[1]["key"]))]


def _picture_file(post: Post, pictures: Sequence[Picture], settings: Settings) -> str | None:
    """What was published, or is to be; the sampled picture where that file is gone or not yet made."""
    published = settings.posts_folder / post.media_ids[0] if post.media_ids else None
    rendered = Path(post.media_file) if post.media_file else None
    sampled = settings.home / pictures[0].file if pictures else None
    for file in (published, rendered, sampled):
        if file is not None and file.is_file():
            return str(file)
    return str(rendered) if rendered else None
