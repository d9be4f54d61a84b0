"""What is wrong now, as far as the operator should hear of it: read, never asked of a network."""

import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from meshibot.backup.make import archives
from meshibot.captions import marker
from meshibot.config import Settings
from meshibot.database import (
    Account,
    AccountState,
    Daemon,
    Picture,
    PictureState,
    Post,
    Slot,
    SlotState,
)
from meshibot.database.models import IS_FOR_A_PERSON
from meshibot.database.queries import first_post_at
from meshibot.needs import pictures_needed
from meshibot.notices.condition import Condition
from meshibot.notices.digest import digest
from meshibot.plural import counted
from meshibot.slots.planner import ON_PURPOSE
from meshibot.stock.review import counts
from meshibot.thresholds import LOW_DISK, OLD_BACKUP

MISSED_FOR = timedelta(hours=24)
"""So long a missed slot counts, unless one is served after it."""
UNSEEN = timedelta(minutes=10)
_DAY = timedelta(days=1)
_FORGOTTEN = timedelta(days=7)


def conditions(session: Session, settings: Settings, now: datetime) -> Iterator[Condition]:
    """All of them, as the database and the disk show them."""
    yield from _stopped(session)
    yield from _for_a_person(session)
    for account in settings.accounts:
        yield from _missed(session, account.name, now)
    yield from _stock(session, settings, now)
    yield from _review(session, settings, now)
    yield from _daemons(session, now)
    yield from _backup(session, settings, now)
    yield from _disk(settings)
    yield from digest(session, settings, now)


def _stopped(session: Session) -> Iterator[Condition]:
    for row in session.scalars(select(Account).where(Account.state == AccountState.STOPPED)):
        yield Condition(
            f"stopped|{row.name}",
            "account stopped",
            f"The account {row.name} is stopped: {row.stopped_reason}",
            row.name,
        )


def _for_a_person(session: Session) -> Iterator[Condition]:
    # By its account, or SQLite would not use the index, and read all posts.
    theirs = select(Post).where(IS_FOR_A_PERSON, Post.account.in_(select(Account.name)))
    for post in session.scalars(theirs.order_by(Post.id)):
        number = "" if post.serial is None else f" ({marker(post.serial)}, {post.account})"
        yield Condition(
            f"person|{post.id}",
            "needs a person",
            f"Post {post.id}{number} waits for your word: {post.reason}",
            post.account,
        )


def _missed(session: Session, account: str, now: datetime) -> Iterator[Condition]:
    """One for all slots that came to nothing since the last one that was served."""
    served = session.scalar(
        select(func.max(Slot.due_at)).where(Slot.account == account, Slot.state == SlotState.TAKEN)
    )
    since = max(served or now - MISSED_FOR, now - MISSED_FOR)
    on_purpose = [Slot.reason.startswith(reason) for reason in ON_PURPOSE]
    missed: Sequence[Slot] = session.scalars(
        select(Slot)
        .where(
            Slot.account == account,
            Slot.state == SlotState.MISSED,
            Slot.due_at > since,
            Slot.due_at <= now,
            or_(Slot.reason.is_(None), ~or_(*on_purpose)),
        )
        .order_by(Slot.due_at)
    ).all()
    if missed:
        many = "A slot was" if len(missed) == 1 else f"{len(missed)} slots were"
        yield Condition(
            f"missed|{account}",
            "slots missed",
            f"{many} missed for {account}, the last at {missed[-1].local}: {missed[-1].reason}",
            account,
        )


def _stock(session: Session, settings: Settings, now: datetime) -> Iterator[Condition]:
    waiting = session.scalar(select(func.count()).where(Picture.state == PictureState.APPROVED)) or 0
    needed = pictures_needed(session, settings.accounts, now)
    if waiting < min(needed, settings.stock_target):
        yield Condition(
            "stock",
            "stock low",
            f"{counted(waiting, 'picture')} waiting, and the next 24 hours need {needed}. Run "
            "`meshibot stock fill`, or lower MESHIBOT_MIN_QUANTILE.",
            patience=timedelta(hours=1),  # a daemon that has just started is filling it
        )


def _review(session: Session, settings: Settings, now: datetime) -> Iterator[Condition]:
    """Pictures that nobody approved and slots need, told while there is time to."""
    reviewed = [account for account in settings.accounts if account.review == "required"]
    needed = pictures_needed(session, reviewed, now)
    approved = counts(session)["approved"]
    if approved < needed:
        yield Condition(
            "review",
            "pictures to review",
            f"{counted(approved, 'picture')} approved, and the next 24 hours need {needed}. Look at them in "
            "`meshibot web`, or run `meshibot stock approve`.",
        )


def _daemons(session: Session, now: datetime) -> Iterator[Condition]:
    """One that was not seen and did not say that it ended, unless another was started there since."""
    rows = session.scalars(select(Daemon).where(Daemon.seen_at > now - _FORGOTTEN)).all()
    for row in rows:
        if row.stopped_at is not None or now - row.seen_at < UNSEEN:
            continue
        if not any(other.host == row.host and other.started_at > row.seen_at for other in rows):
            yield Condition(
                f"daemon|{row.id}",
                "daemon not seen",
                f"The daemon on {row.host} was last seen at {row.seen_at:%Y-%m-%d %H:%M} UTC: start it.",
            )


def _backup(session: Session, settings: Settings, now: datetime) -> Iterator[Condition]:
    if settings.backup_keep is None:
        return
    first = first_post_at(session)
    newest = max((moment for moment, _ in archives(settings.backups_folder)), default=first)
    if newest is not None and now - newest > OLD_BACKUP:
        yield Condition(
            "backup",
            "backup failed",
            f"There is no backup since {newest:%Y-%m-%d %H:%M} UTC. Run `meshibot backup`: it says why.",
            patience=timedelta(hours=1),  # a daemon that was off makes one first
        )


def _disk(settings: Settings) -> Iterator[Condition]:
    try:
        free = shutil.disk_usage(settings.home).free
    except OSError as error:  # with a database elsewhere, all else goes on
        yield Condition(
            "home", "home missing", f"{settings.home} can't be read ({error.strerror}): mount its disk."
        )
        return
    if free < LOW_DISK:
        yield Condition(
            "disk", "disk low", f"{free / 1e6:.0f} MB are free on the disk of {settings.home}: make room."
        )
