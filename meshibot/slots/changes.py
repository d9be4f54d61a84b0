"""What a person does with slots: skip, move, add, swap, and say beforehand what one is to show and say.

What was said for a slot is a post that is written ahead (`approved`, without a serial). Taken back, it is
gone and its picture waits in the stock again. Each change leaves an event with how the slots were before.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from meshibot import events
from meshibot.database import (
    Account,
    Database,
    Picture,
    PictureState,
    Post,
    PostPicture,
    PostState,
    Slot,
    SlotState,
)
from meshibot.database.models import Event
from meshibot.database.queries import by_id, choose_pictures, is_shown_by_others, post_of_slot
from meshibot.errors import ChangedMeanwhile, NothingToDo, UsageError
from meshibot.kinds import Kind
from meshibot.slots.schedule import Schedule, plan

SKIPPED = "A person skipped it."
TAKEN_BACK = "A person added it, and took that back."

Reference = int | datetime
"""A slot by its id, or by the local time (naive) that its schedule names: that one may not be written yet."""


@dataclass(frozen=True)
class Desk:
    """An account whose slots a person changes, and who does so."""

    database: Database
    account: str
    publisher: str
    schedule: Schedule
    by: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    preferred: Callable[[], str | None] = lambda: None
    """The SHA-256 of the checkpoint whose pictures come before others, as they do for the outbox."""
    reviewed: bool = False
    """Whether only a picture that a person approved is the next of the stock."""


@dataclass(frozen=True)
class Changed:
    """A slot that was changed, and the event by which that is taken back."""

    slot: int
    event: int


@dataclass(frozen=True)
class Words:
    """What a slot's post is to say; None leaves it to the account's own captions. May use `{marker}`."""

    caption: str | None = None
    alt_text: str | None = None


def skip(desk: Desk, which: Reference, version: int | None = None) -> Changed:
    """Let a slot go by without a post."""
    with _changing(desk, "skip", [which], [version]) as (session, (slot,)):
        _require_planned(desk, slot)
        _take_out(session, slot)
        slot.state, slot.reason, slot.pinned = SlotState.SKIPPED, SKIPPED, True
        return _done(session, desk, "skip", [slot])


def restore(desk: Desk, which: Reference, version: int | None = None) -> Changed:
    """Plan a slot again that was skipped. UsageError where its time has passed."""
    with _changing(desk, "restore", [which], [version]) as (session, (slot,)):
        if slot.state is not SlotState.SKIPPED:
            raise UsageError(f"Slot {slot.id} is {slot.state}: only one that was skipped is planned again.")
        _require_ahead(desk, slot.due_at)
        slot.state, slot.reason = SlotState.PLANNED, None
        return _done(session, desk, "restore", [slot])


def move(desk: Desk, which: Reference, to: datetime, version: int | None = None) -> Changed:
    """Have a slot at another local time (naive). UsageError for one that is past, or in the quiet hours."""
    due = _moment(desk, to)
    with _changing(desk, "move", [which], [version]) as (session, (slot,)):
        _require_planned(desk, slot)
        _require_free(session, desk, due, slot.id)
        _set_time(desk, slot, due)
        if (ahead := post_of_slot(session, slot)) is not None:
            _set_times(desk, ahead, slot)
        return _done(session, desk, "move", [slot])


def add(desk: Desk, at: datetime) -> Changed:
    """A slot that the schedule does not have, at a local time (naive)."""
    due = _moment(desk, at)
    with desk.database.write() as session:
        _account(session, desk)
        _require_free(session, desk, due)
        slot = Slot(account=desk.account, key=_free_key(session, desk, at), state=SlotState.PLANNED)
        _set_time(desk, slot, due)
        session.add(slot)
        session.flush()
        event = _event(session, desk, "add", [slot], [_snapshot(session, slot) | {"state": None}])
        return Changed(slot.id, event)


def put(
    desk: Desk,
    which: Reference,
    picture: int | None = None,
    words: Words | None = None,
    version: int | None = None,
) -> Changed:
    """Say what a slot is to show: a picture of the stock, and words where they are to be others than usual.

    Without a picture the one that is there stays, or the next of the stock is taken, which is the one that
    would be posted; without words those that are there stay, or else the picture's own are said.
    """
    with _changing(desk, "put", [which], [version]) as (session, (slot,)):
        _require_planned(desk, slot)
        before = _contents(session, slot)
        if words is None and before and not _are_its_own(session, before):
            words = Words(before["caption"], before["alt_text"])
        if picture is None:
            picture = before["picture"] if before else _next_picture(session, desk)
        ahead = post_of_slot(session, slot)
        if ahead is not None and before and picture == before["picture"]:
            if words is not None:
                ahead.caption, ahead.alt_text = words.caption, words.alt_text
        else:
            _take_out(session, slot)
            _put_in(session, desk, slot, picture, words)
        return _done(session, desk, "put", [slot], picture)


def clear(desk: Desk, which: Reference, version: int | None = None) -> Changed:
    """Take back what was said for a slot: it shows the next picture of the stock again."""
    with _changing(desk, "clear", [which], [version]) as (session, (slot,)):
        _require_planned(desk, slot)
        if _take_out(session, slot) is None:
            raise NothingToDo(f"Nothing was said for slot {slot.id}.")
        return _done(session, desk, "clear", [slot])


def swap(
    desk: Desk, one: Reference, other: Reference, versions: tuple[int | None, int | None] = (None, None)
) -> Changed:
    """Exchange what two slots of an account show; a slot for which nothing was said gives nothing."""
    with _changing(desk, "swap", [one, other], versions) as (session, (first, second)):
        if first.id == second.id:
            raise UsageError("That is one slot: name two.")
        for slot in (first, second):
            _require_planned(desk, slot)
        posts = [post_of_slot(session, slot) for slot in (first, second)]
        if not any(posts):
            raise NothingToDo("Nothing was said for either slot: put a picture into one first.")
        for post in posts:
            if post is not None:
                post.slot_id = None
        session.flush()  # no slot may have two posts, not even for a moment
        for post, slot in zip(posts, (second, first), strict=True):
            if post is not None:
                post.slot_id = slot.id
                _set_times(desk, post, slot)
        return _done(session, desk, "swap", [first, second])


def take_back(session: Session, desk: Desk, event: Event) -> int:
    """Have slots as they were before an event; the id of the event that says so.

    ChangedMeanwhile where something has become of one of them since.
    """
    _account(session, desk)
    note = events.note_of(event)
    slots = [session.get_one(Slot, old["id"], with_for_update=True) for old in note["slots"]]
    for slot, version in zip(slots, note["versions"], strict=True):
        if slot.version != version:
            raise ChangedMeanwhile(f"Slot {slot.id} has changed since, so nothing was taken back.")
    now = [_snapshot(session, slot) for slot in slots]
    for slot in slots:
        _take_out(session, slot)
    session.flush()
    for slot, old in zip(slots, note["slots"], strict=True):
        _restore(session, desk, slot, old)
    return _event(session, desk, "undo", slots, now)


# ---- what is required ---------------------------------------------------------------------------


def _require_planned(desk: Desk, slot: Slot) -> None:
    if slot.state is not SlotState.PLANNED:
        raise UsageError(f"Slot {slot.id} is {slot.state}: only a planned one can be changed.")
    _require_ahead(desk, slot.due_at)


def _require_ahead(desk: Desk, due: datetime) -> None:
    if due <= desk.now():
        local = due.astimezone(desk.schedule.tz)
        raise UsageError(f"{local:%Y-%m-%d %H:%M} has passed: choose a time that is still to come.")


def _require_free(session: Session, desk: Desk, due: datetime, but: int | None = None) -> None:
    """UsageError where the account has a slot within the same minute."""
    states = [state for state in SlotState if state is not SlotState.SKIPPED]
    there = select(Slot.id).where(
        Slot.account == desk.account,
        Slot.state.in_(states),
        Slot.due_at > due - timedelta(minutes=1),
        Slot.due_at < due + timedelta(minutes=1),
        Slot.id != (but or 0),
    )
    if (other := session.scalar(there.limit(1))) is not None:
        raise UsageError(f"Slot {other} is at that time already: choose another minute.")


def _moment(desk: Desk, local: datetime) -> datetime:
    """The instant of a local time, as the planner has it: one that a clock change leaves out is moved on."""
    if local.tzinfo is not None:
        local = local.astimezone(desk.schedule.tz).replace(tzinfo=None)
    if not 1900 <= local.year < 3000:
        raise UsageError(f"{local:%Y-%m-%d} can't be planned: write a date between 1900 and 2999.")
    due = local.replace(tzinfo=desk.schedule.tz).astimezone(UTC)
    _require_ahead(desk, due)
    quiet = desk.schedule.quiet
    if quiet is not None and due.astimezone(desk.schedule.tz) in quiet:
        raise UsageError(f"{local:%Y-%m-%d %H:%M} lies in the quiet hours {quiet}: choose another time.")
    return due


def _free_key(session: Session, desk: Desk, at: datetime) -> str:
    """As the planner would name it, so that a schedule which comes to have it means this one."""
    key = f"{desk.account}|{at.replace(tzinfo=None).isoformat(timespec='minutes')}"
    taken = set(session.scalars(select(Slot.key).where(Slot.key.like(f"{key}%"))))
    return next(name for name in (key, *(f"{key}+{n}" for n in range(1, 1000))) if name not in taken)


# ---- rows ---------------------------------------------------------------------------------------


@contextmanager
def _changing(
    desk: Desk, action: str, which: Sequence[Reference], versions: Sequence[int | None]
) -> Iterator[tuple[Session, list[Slot]]]:
    """A transaction in which nobody else works on the account, and the slots, as they were looked at."""
    with desk.database.write() as session:
        _account(session, desk)
        slots = [_slot(session, desk, each) for each in which]
        for slot, version in zip(slots, versions, strict=True):
            events.require_unchanged(version, slot.version, f"Slot {slot.id}")
        session.info["before"] = [_snapshot(session, slot) for slot in slots]
        yield session, slots


def _account(session: Session, desk: Desk) -> Account:
    row = session.get(Account, desk.account, with_for_update=True)
    if row is None:
        row = Account(name=desk.account, publisher=desk.publisher)
        session.add(row)
        session.flush()
    return row


def _slot(session: Session, desk: Desk, which: Reference) -> Slot:
    """The slot, written now where the schedule has it and nobody wrote it yet."""
    if isinstance(which, int):
        slot = by_id(session, Slot, which, lock=True)
        if slot is None or slot.account != desk.account:
            raise UsageError(f"{desk.account} has no slot {which}: see `meshibot slots list`.")
        return slot
    minute = which.replace(tzinfo=None).isoformat(timespec="minutes")
    if (slot := _written(session, desk.account, minute)) is not None:
        return slot
    schedule = desk.schedule
    around = which.replace(tzinfo=schedule.tz) - timedelta(hours=4)
    for planned in plan(schedule.cron, schedule.tz, around, 1, schedule.quiet):
        if planned.minute == minute and not planned.quiet:
            slot = Slot(
                account=desk.account,
                key=planned.key(desk.account),
                due_at=planned.due_at,
                local=planned.local,
                state=SlotState.PLANNED,
                pinned=False,
            )
            session.add(slot)
            session.flush()
            return slot
    raise UsageError(f"{desk.account} has no slot at {minute}: see `meshibot slots list`.")


def _written(session: Session, account: str, minute: str) -> Slot | None:
    """The slot that is at this local time, or else the one that was there before it was moved."""
    key = f"{account}|{minute}"
    here = Slot.local.startswith(minute, autoescape=True) & (Slot.account == account)
    found = session.scalars(select(Slot).where(here | (Slot.key == key)).with_for_update()).all()
    return max(
        found,
        key=lambda slot: (slot.local.startswith(minute), slot.state is SlotState.PLANNED, slot.key == key),
        default=None,
    )


def _set_time(desk: Desk, slot: Slot, due: datetime) -> None:
    slot.due_at, slot.pinned, slot.reason = due, True, None
    slot.local = due.astimezone(desk.schedule.tz).isoformat(timespec="minutes")


def _set_times(desk: Desk, post: Post, slot: Slot) -> None:
    post.due_at = post.not_before = slot.due_at
    post.deadline = slot.due_at + desk.schedule.grace


def _next_picture(session: Session, desk: Desk) -> int:
    found = choose_pictures(session, desk.account, 1, preferred=desk.preferred(), reviewed=desk.reviewed)
    if found.pictures:
        return found.pictures[0].id
    if desk.reviewed:
        raise NothingToDo(
            "No picture in stock was approved: look at them in `meshibot web`, or run `meshibot stock "
            "approve`."
        )
    raise NothingToDo("No picture waits: `meshibot stock fill` makes some.")


def _are_its_own(session: Session, contents: dict[str, Any]) -> bool:
    """Whether a slot says what was written for the picture in it, and not for the slot."""
    picture = session.get_one(Picture, contents["picture"])
    return (picture.caption, picture.alt_text) == (contents["caption"], contents["alt_text"])


def _put_in(session: Session, desk: Desk, slot: Slot, number: int, words: Words | None) -> None:
    picture = by_id(session, Picture, number, lock=True)
    if picture is None:
        raise UsageError(f"There is no picture {number}: see `meshibot stock list`.")
    if picture.state is not PictureState.APPROVED:
        raise UsageError(f"Picture {number} is {picture.state}: choose one that waits in the stock.")
    picture.state = PictureState.RESERVED
    words = words or Words(picture.caption, picture.alt_text)
    post = Post(
        account=desk.account,
        publisher=session.get_one(Account, desk.account).publisher,
        slot_id=slot.id,
        kind=Kind.SINGLE,
        state=PostState.APPROVED,
        caption=words.caption,
        alt_text=words.alt_text,
        created_at=desk.now(),
        pictures=[PostPicture(picture_id=number, position=0)],
    )
    _set_times(desk, post, slot)
    session.add(post)


def _take_out(session: Session, slot: Slot) -> dict[str, Any] | None:
    """Remove what was written for the slot, and give its pictures back to the stock; what it was.

    Not those that another account of its group has posted meanwhile, or still may.
    """
    post = post_of_slot(session, slot)
    if post is None:
        return None
    contents = _contents(session, slot)
    for link in post.pictures:
        if link.picture.state is PictureState.RESERVED and not is_shown_by_others(
            session, post, link.picture
        ):
            link.picture.state = PictureState.APPROVED
    session.flush()
    session.execute(delete(PostPicture).where(PostPicture.post_id == post.id))
    session.expire(post, ["pictures"])
    session.delete(post)
    session.flush()
    return contents


# ---- how it was ---------------------------------------------------------------------------------


def _contents(session: Session, slot: Slot) -> dict[str, Any] | None:
    post = post_of_slot(session, slot)
    if post is None or not post.pictures:
        return None
    return {
        "picture": post.pictures[0].picture_id,
        "caption": post.caption,
        "alt_text": post.alt_text,
    }


def _snapshot(session: Session, slot: Slot) -> dict[str, Any]:
    return {
        "id": slot.id,
        "state": slot.state.value,
        "reason": slot.reason,
        "due_at": slot.due_at.isoformat(),
        "local": slot.local,
        "pinned": slot.pinned,
        "contents": _contents(session, slot),
    }


def _restore(session: Session, desk: Desk, slot: Slot, old: dict[str, Any]) -> None:
    """Have a slot as it was; one that was not there before is skipped."""
    if old["state"] is None:
        slot.state, slot.reason = SlotState.SKIPPED, TAKEN_BACK
        return
    due = datetime.fromisoformat(old["due_at"])
    _require_ahead(desk, due)
    slot.state, slot.reason = SlotState(old["state"]), old["reason"]
    # It stays pinned: that it is as it was is a person's will as well.
    slot.due_at, slot.local = due, old["local"]
    if old["contents"] is not None:
        words = Words(old["contents"]["caption"], old["contents"]["alt_text"])
        _put_in(session, desk, slot, old["contents"]["picture"], words)


def _done(
    session: Session, desk: Desk, action: str, slots: Sequence[Slot], picture: int | None = None
) -> Changed:
    before: list[dict[str, Any]] = session.info["before"]
    return Changed(slots[0].id, _event(session, desk, action, slots, before, picture))


def _event(
    session: Session,
    desk: Desk,
    action: str,
    slots: Sequence[Slot],
    before: Sequence[dict[str, Any]],
    picture: int | None = None,
) -> int:
    for slot in slots:  # a new version, also where only what it shows was changed
        slot.pinned = True
        flag_modified(slot, "pinned")
    session.flush()
    note = {"slots": list(before), "versions": [slot.version for slot in slots]}
    return events.record(
        session,
        desk.now(),
        desk.by,
        action,
        note,
        account=desk.account,
        slot_id=slots[0].id,
        picture_id=picture,
    )
