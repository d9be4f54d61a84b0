"""A person's word on pictures: approved or rejected, and why. It is kept for the next training and filter.

A rejected picture leaves the stock; with MESHIBOT_REVIEW=required only approved ones are posted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from meshibot import events
from meshibot.database import Database, Picture, PictureState
from meshibot.database.models import Event, Verdict
from meshibot.database.queries import by_id
from meshibot.errors import ChangedMeanwhile, UsageError
from meshibot.stock.inventory import DROPPED

Reason = Literal["alike", "no-bowl", "blurred", "other"]
REASONS: tuple[str, ...] = get_args(Reason)
"""Why a picture is rejected: it is like others, shows no bowl, is blurred, or something else."""

Show = Literal["waiting", "approved", "rejected"]
SHOWN: tuple[str, ...] = get_args(Show)

_IN_STOCK = (PictureState.APPROVED, PictureState.CANDIDATE)


@dataclass(frozen=True)
class Judged:
    """What came of one picture: the event, by which it can be taken back, or why nothing was changed."""

    picture: int
    event: int | None
    refused: str | None = None


def judge(
    database: Database,
    pictures: Mapping[int, int | None],
    verdict: Verdict,
    *,
    now: datetime,
    by: str,
    reason: str | None = None,
) -> list[Judged]:
    """Approve or reject pictures, given by id with the version that was looked at (None: as it is now).

    Each has its own outcome: one that was posted meanwhile stops none of the others. UsageError for a reason
    that there is not.
    """
    if reason is not None and reason not in REASONS:
        raise UsageError(f"The reason {reason!r} is none of {', '.join(REASONS)}.")
    with database.write() as session:
        return [
            _judge(session, picture, version, verdict, reason, now, by)
            for picture, version in pictures.items()
        ]


def _judge(
    session: Session,
    number: int,
    version: int | None,
    verdict: Verdict,
    reason: str | None,
    now: datetime,
    by: str,
) -> Judged:
    picture = by_id(session, Picture, number, lock=True)
    if picture is None:
        return Judged(number, None, f"There is no picture {number}: see `meshibot stock list`.")
    if (refused := _refusal(picture, version, verdict)) is not None:
        return Judged(number, None, refused)
    before = _as_it_is(picture)
    if verdict is Verdict.APPROVED:
        picture.state, picture.reason = PictureState.APPROVED, None
    else:
        picture.state = PictureState.REJECTED
        picture.reason = f"A person rejected it{f' ({reason})' if reason else ''}."
    picture.verdict, picture.verdict_reason, picture.reviewed_at = verdict, reason, now
    session.flush()
    action = "approve" if verdict is Verdict.APPROVED else "reject"
    note = {"before": before, "version": picture.version, "reason": reason}
    return Judged(number, events.record(session, now, by, action, note, picture_id=number))


def _refusal(picture: Picture, version: int | None, verdict: Verdict) -> str | None:
    """Why a person's word changes nothing any more; None where it does."""
    if picture.state in _IN_STOCK or (picture.state is PictureState.REJECTED and _by_person(picture)):
        if version is not None and version != picture.version:
            return f"Picture {picture.id} was changed meanwhile: look at it again, then try again."
        if verdict is Verdict.REJECTED and picture.state is PictureState.REJECTED:
            return f"Picture {picture.id} is rejected already."
        return None
    if picture.state is PictureState.POSTED:
        return f"Picture {picture.id} was posted meanwhile."
    if picture.state is PictureState.RESERVED:
        return f"Picture {picture.id} belongs to a post: take it out of its slot first."
    return f"Picture {picture.id} is not in the stock: {picture.reason}"


def write(
    database: Database,
    number: int,
    caption: str | None,
    alt_text: str | None,
    version: int | None = None,
    *,
    now: datetime,
    by: str,
) -> int:
    """Keep words with a picture of the stock, for the post that will show it alone; the event.

    None for either says what is usual again. UsageError for a picture that does not wait, ChangedMeanwhile
    for one that is not as it was looked at.
    """
    with database.write() as session:
        picture = by_id(session, Picture, number, lock=True)
        if picture is None:
            raise UsageError(f"There is no picture {number}: see `meshibot stock list`.")
        if picture.state not in _IN_STOCK:
            raise UsageError(f"Picture {number} is {picture.state}: choose one that waits in the stock.")
        events.require_unchanged(version, picture.version, f"Picture {number}")
        before = _as_it_is(picture)
        picture.caption, picture.alt_text = caption or None, alt_text or None
        session.flush()
        note = {"before": before, "version": picture.version}
        return events.record(session, now, by, "write", note, picture_id=number)


def _by_person(picture: Picture) -> bool:
    return picture.verdict is Verdict.REJECTED or picture.reason == DROPPED


def _as_it_is(picture: Picture) -> dict[str, Any]:
    return {
        "state": picture.state.value,
        "reason": picture.reason,
        "verdict": picture.verdict.value if picture.verdict else None,
        "verdict_reason": picture.verdict_reason,
        "reviewed_at": picture.reviewed_at.isoformat() if picture.reviewed_at else None,
        "caption": picture.caption,
        "alt_text": picture.alt_text,
    }


def take_back(session: Session, event: Event, *, now: datetime, by: str) -> int:
    """Have a picture as it was before an event; the id of the event that says so.

    ChangedMeanwhile where something has become of it since.
    """
    note = events.note_of(event)
    picture = session.get_one(Picture, event.picture_id, with_for_update=True)
    if picture.version != note["version"]:
        raise ChangedMeanwhile(f"Picture {picture.id} has changed since, so nothing was taken back.")
    before, after = note["before"], _as_it_is(picture)
    picture.state = PictureState(before["state"])
    picture.reason = before["reason"]
    picture.verdict = Verdict(before["verdict"]) if before["verdict"] else None
    picture.verdict_reason = before["verdict_reason"]
    at = before["reviewed_at"]
    picture.reviewed_at = datetime.fromisoformat(at) if at else None
    if "caption" in before:  # events of earlier versions know of no words
        picture.caption, picture.alt_text = before["caption"], before["alt_text"]
    session.flush()
    kept = {"before": after, "version": picture.version, "of": event.id}
    return events.record(session, now, by, "undo", kept, picture_id=picture.id)


# ---- reading ------------------------------------------------------------------------------------


def shown(show: str) -> ColumnElement[bool]:
    """Which pictures are to be seen: those that wait for a word, or have one, and are not posted."""
    conditions = {
        "waiting": and_(Picture.state == PictureState.APPROVED, Picture.verdict.is_(None)),
        "approved": and_(Picture.state == PictureState.APPROVED, Picture.verdict == Verdict.APPROVED),
        "rejected": and_(Picture.state == PictureState.REJECTED, Picture.verdict == Verdict.REJECTED),
    }
    return conditions[show]


def page(session: Session, show: str, limit: int, after: int = 0) -> Sequence[Picture]:
    """The next pictures after one of this id, those made first first."""
    query = select(Picture).where(shown(show), Picture.id > after).order_by(Picture.id).limit(limit)
    return session.scalars(query).all()


def beside(session: Session, show: str, picture: int) -> tuple[int | None, int | None]:
    """The ids of the pictures before and after this one."""
    before = session.scalar(select(func.max(Picture.id)).where(shown(show), Picture.id < picture))
    after = session.scalar(select(func.min(Picture.id)).where(shown(show), Picture.id > picture))
    return before, after


def counts(session: Session) -> dict[str, int]:
    """How many pictures of the stock wait for a person's word, and how many are approved."""
    rows = session.execute(
        select(Picture.verdict, func.count())
        .where(Picture.state == PictureState.APPROVED)
        .group_by(Picture.verdict)
    )
    found = {row[0]: row[1] for row in rows}
    return {"waiting": found.get(None, 0), "approved": found.get(Verdict.APPROVED, 0)}


def verdicts(session: Session) -> Iterator[dict[str, Any]]:
    """Every picture that a person judged: how it was made, how it scored, and what was said of it."""
    query = select(Picture).where(Picture.verdict.is_not(None)).order_by(Picture.id)
    for picture in session.scalars(query.execution_options(yield_per=500)):
        yield {
            "checkpoint": picture.checkpoint,
            "seed": picture.seed,
            "score": picture.score,
            "quantile": picture.quantile,
            "verdict": picture.verdict.value if picture.verdict else None,
            "reason": picture.verdict_reason,
            "reviewed_at": picture.reviewed_at.isoformat() if picture.reviewed_at else None,
            "sha256": picture.sha256,
            "state": picture.state.value,
        }
