"""Writes down what was decided. A post's state is assigned here and nowhere else."""

import logging
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session

from meshibot.captions import marker
from meshibot.database.models import (
    OPEN_STATES,
    Account,
    AccountState,
    Attempt,
    Event,
    Outcome,
    Phase,
    Picture,
    PictureState,
    Post,
    PostPicture,
    PostState,
)
from meshibot.outbox.decide import (
    PICTURES_BECOME,
    Change,
    Failed,
    LookFailed,
    NotSeen,
    Result,
)
from meshibot.outbox.groups import is_alive
from meshibot.publishers.base import (
    AccountStopped,
    PossibleDuplicate,
    PublishError,
    Rejected,
    Sent,
    Unclear,
)

log = logging.getLogger(__name__)

ITSELF = "meshibot"
"""Who acts, where no person does."""

LEVELS = {
    PostState.POSTED: logging.INFO,
    PostState.CANCELLED: logging.INFO,
    PostState.DELETED: logging.INFO,
    PostState.NEEDS_PERSON: logging.ERROR,
}
"""How loud a decision is told; one that is not named is a warning."""

HOLDING_STATES = (*OPEN_STATES, PostState.APPROVED, PostState.NEEDS_PERSON)
"""The states of a post whose pictures nobody else may have."""

OUTCOMES: tuple[tuple[type[PublishError], Outcome], ...] = (
    (PossibleDuplicate, Outcome.DUPLICATE),
    (Unclear, Outcome.UNCLEAR),
    (AccountStopped, Outcome.STOPPED),
    (Rejected, Outcome.REJECTED),
    (PublishError, Outcome.RETRY),
)
"""How an attempt ended that failed so; the first that fits."""


def name_of(post: Post) -> str:
    """A post as the log calls it."""
    number = "written ahead" if post.serial is None else marker(post.serial)
    return f"post {post.id} ({number}, {post.account})"


def advance(post: Post, state: PostState) -> None:
    """One step on the way, on which nothing was decided."""
    post.state = state


def write(session: Session, post: Post, account: Account, change: Change, now: datetime) -> None:
    """Make post, pictures and account what was decided; whoever held the post holds it no more."""
    known = (post.state, post.reason) == (change.state, change.reason)
    post.state, post.reason, post.lease_owner = change.state, change.reason, None
    post.not_before = change.at or post.not_before
    post.attempts += change.failed
    if change.duplicate is not None:
        post.duplicate = change.duplicate
    if change.forget_media:
        post.media_ids = None
    if change.sent is not None:
        post.remote_id, post.url, post.posted_at = change.sent.remote_id, change.sent.url or None, now
        post.sent_at = post.sent_at or now  # a record that was restored may be from before it was sent
    if change.state in PICTURES_BECOME and _may_settle(session, post, change.state):
        _settle_pictures(session, post, change.pictures or PICTURES_BECOME[change.state])
    if change.account_waits_until is not None:
        account.not_before = change.account_waits_until
    if change.account_stops is not None:
        stop(account, change.account_stops, now, ask_at=change.account_waits_until)
        log.error("account %s is stopped: %s", account.name, change.account_stops)
    told = change.reason or post.url or ""
    # One that is looked for again and again has been told of.
    level = logging.DEBUG if known else LEVELS.get(change.state, logging.WARNING)
    log.log(level, "%s: %s. %s", name_of(post), change.state, told)


def _may_settle(session: Session, post: Post, state: PostState) -> bool:
    """Not where an account of the same group has posted the pictures, or still may."""
    return state is PostState.POSTED or not is_alive(session, post.group_key, besides=post.id)


def stop(account: Account, reason: str, now: datetime, ask_at: datetime | None = None) -> None:
    """It sends nothing until a person says otherwise; or its network does, which is asked at `ask_at`."""
    account.state, account.stopped_at, account.stopped_reason = AccountState.STOPPED, now, reason
    account.not_before = ask_at


def restart(account: Account) -> None:
    """It may send again, at once."""
    account.state, account.stopped_at, account.stopped_reason = AccountState.ACTIVE, None, None
    account.not_before = None


def _settle_pictures(session: Session, post: Post, state: PictureState) -> None:
    mine = select(PostPicture.picture_id).where(PostPicture.post_id == post.id)
    theirs = [PictureState.RESERVED]
    if state is PictureState.POSTED:
        theirs.append(PictureState.APPROVED)  # it was given up, and its pictures put back in stock
    session.execute(
        update(Picture)
        .where(Picture.id.in_(mine), Picture.state.in_(theirs), ~_held_by_another(post))
        .values(
            state=state,
            reason=post.reason if state is PictureState.REJECTED else None,
            version=Picture.version + 1,
        )
        .execution_options(synchronize_session=False)
    )


def _held_by_another(post: Post) -> ColumnElement[bool]:
    """Of a picture that is back in stock: another open post may have taken it since, of another group."""
    return exists().where(
        or_(Post.group_key.is_(None), Post.group_key != (post.group_key or "")),
        PostPicture.picture_id == Picture.id,
        PostPicture.post_id == Post.id,
        Post.id != post.id,
        Post.state.in_(HOLDING_STATES),
    )


@dataclass(frozen=True)
class Try:
    """An attempt that ended. One that was recorded when it began has the id of that row."""

    phase: Phase
    started: datetime
    id: int | None = None


def write_try(session: Session, post: Post, tried: Try, result: Result, ended: datetime) -> None:
    """Record how it ended."""
    outcome, error = _outcome(tried.phase, result)
    attempt = (
        Attempt(post_id=post.id, phase=tried.phase, started_at=tried.started)
        if tried.id is None
        else session.get_one(Attempt, tried.id)
    )
    attempt.ended_at, attempt.outcome = ended, outcome
    if error is not None:
        attempt.http_status, attempt.error = error.http_status, error.reason
    session.add(attempt)


def write_second(session: Session, post: Post, sent: Sent, now: datetime) -> None:
    """An answer names another post than the one that is known: it exists twice, and a person must see it."""
    where = sent.url or sent.remote_id
    post.reason = f"It was posted twice: {where} is the same post. Take that one down by hand."
    log.error("%s: %s", name_of(post), post.reason)
    session.add(
        Event(at=now, actor=ITSELF, action="second post", account=post.account, post_id=post.id, note=where)
    )


def refusals(session: Session, post: Post) -> int:
    """How often the account was refused for it."""
    query = select(func.count()).where(Attempt.post_id == post.id, Attempt.outcome == Outcome.STOPPED)
    return session.scalar(query) or 0


def write_done(session: Session, post: Post, tried: Try, ended: datetime) -> None:
    """Record one that did what it was to do."""
    session.add(
        Attempt(
            post_id=post.id,
            phase=tried.phase,
            started_at=tried.started,
            ended_at=ended,
            outcome=Outcome.DONE,
        )
    )


def interrupt_tries(session: Session, post: Post, now: datetime) -> None:
    """End the attempts of a process that ended."""
    session.execute(
        update(Attempt)
        .where(Attempt.post_id == post.id, Attempt.outcome.is_(None))
        .values(outcome=Outcome.INTERRUPTED, ended_at=now, error="Its process ended before the answer.")
    )


def _outcome(phase: Phase, result: Result) -> tuple[Outcome, PublishError | None]:
    if isinstance(result, Failed | LookFailed):
        error = result.error
        return next(outcome for kind, outcome in OUTCOMES if isinstance(error, kind)), error
    if isinstance(result, NotSeen):
        return Outcome.ABSENT, None
    return (Outcome.FOUND if phase is Phase.RECONCILE else Outcome.DONE), None
