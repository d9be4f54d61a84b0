"""Slots by month and week, and what a person does with one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.responses import Response

from meshibot import agenda
from meshibot.assembly import require_postable
from meshibot.database import Picture, PictureState
from meshibot.errors import UsageError
from meshibot.slots import Schedule, changes
from meshibot.slots.changes import Reference, Words
from meshibot.stock import inventory
from meshibot.web import times
from meshibot.web.pages.notes import joined, note_of
from meshibot.web.pages.review import usual_alt_text, words_of
from meshibot.web.site import Call, go, number

MOST = {"month": 3, "week": 24, "day": 300}
"""Slots of a day that are shown, in each view."""

CHOICES = 24
"""So many pictures of the stock are offered for a slot."""


@dataclass(frozen=True)
class Day:
    """A day of the calendar."""

    date: date
    within: bool
    """It is of the month that is shown."""
    today: bool
    entries: tuple[agenda.Entry, ...]
    change: agenda.ClockChange | None
    more: int
    """Slots besides those that are shown."""


def show(call: Call) -> Response:
    """A month, or a week."""
    account = call.site.account(call.text("account"))
    schedule = call.site.schedule(account.name)
    now = call.site.now()
    today = now.astimezone(schedule.tz).date()
    at = _date(call.text("at")) or today
    view = call.text("view") if call.text("view") in MOST else "month"
    begin, end, earlier, later = _span(view, at)
    with call.site.database.read() as session:
        first, last = (agenda.day_begin(day, schedule) for day in (begin, end))
        found = agenda.entries(session, account.name, schedule, first, last, now, most=MOST[view])
        written = agenda.per_day(session, account.name, schedule, first, last)
        note = note_of(call, session)
    return call.render(
        "calendar.html",
        note=note,
        account=account.name,
        accounts=[each.name for each in call.site.settings.accounts],
        view=view,
        at=at,
        title=times.month(call.language, at),
        zone=_zone(schedule),
        quiet=schedule.quiet,
        days=_days(schedule, begin, end, at.month if view == "month" else None, today, found, written),
        empty=not found,
        earlier=earlier,
        later=later,
        soonest=(now.astimezone(schedule.tz) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M"),
        hushed=lambda entry: schedule.quiet is not None and entry.local in schedule.quiet,
    )


def _span(view: str, at: date) -> tuple[date, date, date, date]:
    """First day, the day after the last, and where earlier and later lead; weeks begin on Monday."""
    if view == "day":
        day = timedelta(days=1)
        return at, at + day, at - day, at + day
    if view == "week":
        begin = at - timedelta(days=at.weekday())
        week = timedelta(days=7)
        return begin, begin + week, begin - week, begin + week
    first = at.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    begin = first - timedelta(days=first.weekday())
    end = following + timedelta(days=-following.weekday() % 7)
    return begin, end, first - timedelta(days=1), following


def _days(
    schedule: Schedule,
    begin: date,
    end: date,
    month: int | None,
    today: date,
    found: list[agenda.Entry],
    written: Mapping[date, int],
) -> list[Day]:
    jumps = {change.day: change for change in agenda.clock_changes(schedule, begin, end)}
    days = []
    for offset in range((end - begin).days):
        day = begin + timedelta(days=offset)
        own = tuple(entry for entry in found if entry.local.date() == day)
        more = max(0, written.get(day, 0) - len(own))
        days.append(Day(day, month in (None, day.month), day == today, own, jumps.get(day), more))
    return days


def _date(text: str) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"at is {text[:20]!r}: write a date such as 2026-11-27.") from None
    if not 1900 <= day.year < 2999:
        raise UsageError(f"at is {text[:20]!r}: write a year between 1900 and 2998.")
    return day


def _zone(schedule: Schedule) -> str:
    return str(getattr(schedule.tz, "key", schedule.tz))


def add(call: Call) -> Response:
    """A slot that the schedule does not have."""
    desk = call.site.desk(call.text("account"))
    at = local_time(call.text("at"))
    changed = changes.add(desk, at)
    return go("/calendar", account=desk.account, at=at.date().isoformat(), view=call.text("view"),
              done=changed.event)  # fmt: skip


def local_time(text: str) -> datetime:
    """A date and time as a form gives it, without a zone. UsageError for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"The time is {text[:30]!r}: write it like 2026-11-27T23:00.") from None
    return moment.replace(tzinfo=None, second=0, microsecond=0)


def reference(text: str) -> Reference:
    """A slot as an address names it: an id, or the local time that its schedule names."""
    is_id = text.isascii() and text.isdigit()
    return (number(text, "slot") or 0) if is_id else local_time(text)


def show_slot(call: Call) -> Response:
    """One slot, and all that can be done with it."""
    desk = call.site.desk(call.text("account"))
    now = call.site.now()
    with call.site.database.read() as session:
        entry = _entry(call, session, desk, reference(call.text("slot")))
        account = call.site.account(desk.account)
        ahead = agenda.upcoming(
            session,
            desk.account,
            desk.schedule,
            now,
            16,
            reviewed=account.review == "required",
            preferred=inventory.fingerprint(call.site.settings.checkpoint_file) or "",
            takes=call.site.takes(desk.account),
        )
        waiting = session.scalars(
            select(Picture).where(Picture.state == PictureState.APPROVED).order_by(Picture.id).limit(CHOICES)
        ).all()
        filled = next((each.pictures for each in ahead if each.reference == entry.reference), ())
        return call.render(
            "slot.html",
            note=note_of(call, session),
            account=desk.account,
            entry=entry,
            zone=_zone(desk.schedule),
            can_change=entry.state in ("planned", "expected") and entry.due_at > now,
            can_restore=entry.state == "skipped" and entry.due_at > now,
            written=entry.post is not None and entry.post.serial is None,
            pictures=entry.pictures or filled,
            own_words=filled[0] if len(filled) == 1 else Words(),
            others=[each for each in ahead if each.reference != entry.reference],
            waiting=waiting,
            usual=usual_alt_text(call, desk.account),
        )


def _entry(call: Call, session: Session, desk: changes.Desk, which: Reference) -> agenda.Entry:
    if isinstance(which, int):
        found = agenda.entry_of(session, which, desk.schedule)
        if found is None or found.account != desk.account:
            raise HTTPException(404)
        return found
    if not 1900 <= which.year < 3000:
        raise HTTPException(404)
    begin = agenda.day_begin(which.date() - timedelta(days=1), desk.schedule)
    span = agenda.entries(
        session, desk.account, desk.schedule, begin, begin + timedelta(days=4), call.site.now()
    )
    minute = which.isoformat(timespec="minutes")
    for entry in span:
        if entry.minute == minute:
            return entry
    raise HTTPException(404)


def change(call: Call) -> Response:
    """What a person does with a slot, by the functions of `meshibot slots`."""
    account, slot, version = _named(call)
    desk, which = call.site.desk(account), reference(slot)
    match call.text("do"):
        case "skip":
            changed = changes.skip(desk, which, version)
        case "restore":
            changed = changes.restore(desk, which, version)
        case "move":
            changed = changes.move(desk, which, local_time(call.text("to")), version)
        case "clear":
            changed = changes.clear(desk, which, version)
        case "swap":
            other, _, others = call.text("with").partition(" ")
            changed = changes.swap(desk, which, reference(other), (version, number(others, "version")))
        case "put":
            changed = changes.put(desk, which, call.number("picture"), _words(call, desk.account), version)
        case _:
            raise UsageError("Say what is to be done with the slot.")
    match call.text("from"):
        case "review":
            return go("/review", show=call.text("show"), after=call.number("picture"), done=changed.event)
        case "picture":
            return go(f"/pictures/{call.number('picture')}", done=changed.event)
    return go("/slot", account=desk.account, slot=changed.slot, done=joined([changed.event]))


def _named(call: Call) -> tuple[str, str, int | None]:
    """Account, slot and version: in fields of their own, or as one choice among slots of several accounts."""
    if not (chosen := call.text("slot_of")):
        return call.text("account"), call.text("slot"), call.number("version")
    account, slot, version = (*chosen.split(" "), "", "")[:3]
    return account, slot, number(version, "version")


def _words(call: Call, account: str) -> Words | None:
    """Words of the form; None where it has no fields for them, and so leaves them as they are."""
    if "caption" not in call.form:
        return None
    return Words(*require_postable(call.site.account(account), *words_of(call, account)))
