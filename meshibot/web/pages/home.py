"""What needs a person first, then what comes next, what was, and how things stand."""

from contextlib import closing
from datetime import datetime
from functools import partial
from urllib.parse import parse_qsl

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from meshibot import agenda, costs, events, gallery
from meshibot import undo as undoing
from meshibot.agenda import Entry
from meshibot.assembly import publisher_of
from meshibot.captions import marker
from meshibot.database import Account, AccountState, Event
from meshibot.database.queries import last_daemon, lives, missed_slots
from meshibot.errors import UsageError
from meshibot.gallery import Filter
from meshibot.needs import pictures_needed
from meshibot.outbox import people
from meshibot.outbox.restored import RESTORE
from meshibot.slots import schedule_of
from meshibot.stock import inventory, review
from meshibot.views import posts_for_a_person
from meshibot.web.pages.notes import joined, note_of
from meshibot.web.site import BY, Call, Site, go, number, safe_path
from meshibot.web.words import WORDS


def show(call: Call) -> Response:
    """The start page."""
    site, now = call.site, call.site.now()
    accounts = site.settings.accounts
    with site.database.read() as session:
        names = [account.name for account in accounts]
        rows = session.scalars(select(Account)).all()
        daemon = last_daemon(session, now)
        counts = review.counts(session)
        reviewed = [account for account in accounts if account.review == "required"]
        needed = pictures_needed(session, reviewed, now)
        return call.render(
            "home.html",
            note=note_of(call, session),
            unclear=posts_for_a_person(session, [row.name for row in rows]),
            marker=marker,
            stopped=[row for row in rows if row.state is AccountState.STOPPED and row.name in names],
            needed=needed if needed > counts["approved"] else 0,
            counts=counts,
            target=site.settings.stock_target,
            coming=_coming(site, session, now),
            missed=missed_slots(session, names, now, 6),
            recent=gallery.page(session, Filter(), 6),
            months=costs.this_month(session, site.settings, now),
            daemon=daemon,
            daemon_lives=daemon is not None and lives(daemon, now),
            changes=events.recent(session, 8),
            said_of=partial(_said_of, call),
            can_undo=undoing.can_be_taken_back,
        )


def _coming(site: Site, session: Session, now: datetime) -> list[Entry]:
    """The next slots of all accounts, about three each."""
    accounts = site.settings.accounts
    fingerprint = inventory.fingerprint(site.settings.checkpoint_file) or ""
    coming = [
        entry
        for account in accounts
        for entry in agenda.upcoming(
            session,
            account.name,
            schedule_of(account),
            now,
            4,
            reviewed=account.review == "required",
            preferred=fingerprint,
            takes=site.takes(account.name),
        )
    ]
    return sorted(coming, key=lambda entry: entry.due_at)[: max(4, len(accounts) * 3)]


def _said_of(call: Call, event: Event) -> str:
    """What was done, in the language of the answer."""
    of_account = event.action == RESTORE and event.slot_id is None
    key = "event_restore_account" if of_account else f"event_{event.action}"
    if key not in WORDS:
        return event.action
    return call.say(
        key, account=event.account, picture=event.picture_id, post=event.post_id, slot=event.slot_id
    )


def resolve(call: Call) -> Response:
    """A person's word on an unclear post, by the function of `meshibot resolve`."""
    number, said = call.number("post"), call.text("said")
    if number is None or said not in ("posted", "absent"):
        raise UsageError("Say of which post, and whether it is there.")
    found = None
    if said == "posted":
        row = people.load_post(call.site.database, number)
        account = call.site.account(row.account)
        with closing(publisher_of(call.site.settings, account, row.publisher)) as publisher:
            found = publisher.named(call.text("address").strip())
    people.resolve(call.site.database, number, posted=found, by=BY)
    with call.site.database.read() as session:
        done = [event.id for event in events.recent(session, 5) if event.post_id == number]
    return go("/", done=joined(done[:1]))


def undo(call: Call) -> Response:
    """Take events back, by the function of `meshibot undo`."""
    which = [event for text in call.form.get("event", ()) if (event := number(text, "event")) is not None]
    if not which:
        raise UsageError("Say which event is to be taken back.")
    done = undoing.undo(call.site.database, which, call.site.desk, now=call.site.now(), by=BY)
    path, _, query = safe_path(call.text("next")).partition("?")
    kept = {name: value for name, value in parse_qsl(query) if name not in ("done", "refused")}
    return go(path, **kept | {"done": joined(done)})
