"""What is known of the accounts: whose they are, their servers, schedules, captions and costs."""

from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta

from sqlalchemy import select

from meshibot.assembly import captions_of, one_account, publisher_of, require_possible
from meshibot.config import Account, Settings
from meshibot.costs import posts_in
from meshibot.database import Account as AccountRow
from meshibot.database import AccountState
from meshibot.database.migrate import open_existing
from meshibot.errors import MeshibotError
from meshibot.health.finding import Finding, Level, looked
from meshibot.plural import counted
from meshibot.publishers import publisher_class
from meshibot.publishers.base import Publisher, Tells, Told
from meshibot.publishers.prices import AS_OF
from meshibot.slots import schedule_of
from meshibot.status import next_slot
from meshibot.views import posts_for_a_person

_CLOCK_TOLERANCE = timedelta(seconds=30)
_CLOCK_WRONG = timedelta(minutes=4)
"""From about five minutes on a network refuses signed requests."""
_FEW_REQUESTS = 5
_MONTH = 30
"""Days."""


def look(settings: Settings, account: Account, now: datetime, *, paid: bool) -> Iterator[Finding]:
    """All of an account, a finding each."""
    subject = f"account {account.name}"
    yield from _network(settings, account, paid=paid)
    yield looked(f"{subject} schedule", lambda: _schedule(account, now))
    yield looked(f"{subject} cost", lambda: _cost(account, now))
    waiting = _for_a_person(settings, account)
    if waiting:
        yield Finding(
            f"{subject} posts",
            "warning",
            f"{waiting} of them wait for your word: `meshibot status` names them.",
        )


def twins(settings: Settings) -> Iterator[Finding]:
    """Names that are one account of their network, as it said when they posted."""
    with suppress(MeshibotError), open_existing(settings.database_address) as database:
        if database is None:
            return
        with database.read() as session:
            rows = session.scalars(select(AccountRow).where(AccountRow.remote_user_id.is_not(None))).all()
        named = {account.name for account in settings.accounts}
        ids: dict[tuple[str, str | None], list[str]] = {}
        for row in rows:
            if row.name in named:
                ids.setdefault((row.publisher, row.remote_user_id), []).append(row.name)
        for (publisher, _), names in ids.items():
            if len(names) > 1:
                yield Finding("accounts", "warning", one_account(names, publisher_class(publisher).title))


def _network(settings: Settings, account: Account, *, paid: bool) -> Iterator[Finding]:
    """Whose the credentials are; then what is to be known of the server, and of the captions there."""
    subject = f"account {account.name}"
    try:
        publisher = publisher_of(settings, account)
    except MeshibotError as error:
        yield Finding(subject, "failed", str(error))
        return
    with closing(publisher):
        if publisher.price.check and not paid:
            yield looked(subject, lambda: _unasked(settings, account, publisher))
        else:
            found = looked(subject, lambda: _credentials(settings, account, publisher))
            yield found
            if found.level == "failed":
                return
            yield from _server(subject, publisher)
        # Its limits are known now.
        yield looked(f"{subject} captions", lambda: _captions(settings, account, publisher))


def _server(subject: str, publisher: Publisher) -> Iterator[Finding]:
    """What the server says of itself, and what its answers tell besides."""
    try:
        for remark in publisher.remarks():
            yield Finding(f"{subject} server", "warning" if remark.warning else "ok", remark.says)
    except MeshibotError as error:
        yield Finding(f"{subject} server", "failed", str(error))
    told = publisher.told() if isinstance(publisher, Tells) else None
    if told is not None and told.clock_ahead is not None:
        yield _clock(f"{subject} clock", publisher.title, told.clock_ahead)
    if told is not None and told.requests_left is not None:
        yield _requests_left(f"{subject} limit", publisher.title, told)


def _clock(subject: str, title: str, ahead: timedelta) -> Finding:
    """By the answer's own date, which has whole seconds."""
    if abs(ahead) <= _CLOCK_TOLERANCE:
        return Finding(subject, "ok", f"It agrees with that of {title}.")
    seconds = round(abs(ahead).total_seconds())
    way = "ahead of" if ahead > timedelta() else "behind"
    says = f"The machine's clock is {seconds} s {way} that of {title}: set it (timedatectl set-ntp true)."
    return Finding(subject, "warning" if abs(ahead) < _CLOCK_WRONG else "failed", says)


def _requests_left(subject: str, title: str, told: Told) -> Finding:
    many = f"{told.requests_left}" + (f" of {told.requests}" if told.requests else "")
    few = told.requests_left is not None and told.requests_left < _FEW_REQUESTS
    wait = " Wait before you ask more." if few else ""
    return Finding(subject, "warning" if few else "ok", f"{title} takes {many} more requests now.{wait}")


def _unasked(settings: Settings, account: Account, publisher: Publisher) -> tuple[Level, str]:
    says = (
        f"posts to {publisher.name}; its credentials are set. To ask {publisher.title} whose they are costs "
        f"${publisher.price.check:.3f}: meshibot check --paid."
    )
    stopped = _stopped_reason(settings, account)
    if stopped is None:
        return "ok", says
    return (
        "warning",
        f"It is stopped ({stopped}): mend that, then run `meshibot resume --account {account.name}`.",
    )


def _for_a_person(settings: Settings, account: Account) -> int:
    with suppress(MeshibotError), open_existing(settings.database_address) as database:
        if database is not None:
            with database.read() as session:
                return len(posts_for_a_person(session, [account.name]))
    return 0


def _captions(settings: Settings, account: Account, publisher: Publisher) -> tuple[Level, str]:
    require_possible(settings, account, publisher)
    captions = captions_of(account, publisher)
    many = f"{len(captions.lines)} lines" if len(captions.lines) > 1 else "one line"
    return "ok", f"{many} in {captions.language}, within what {publisher.title} takes."


def _credentials(settings: Settings, account: Account, publisher: Publisher) -> tuple[Level, str]:
    identity = publisher.check()
    says = f"posts to {publisher.name} as {identity.name} ({identity.url})."
    stopped = _stopped_reason(settings, account)
    if stopped is None:
        return "ok", says
    # Whose it is says nothing of whether it may post.
    return (
        "warning",
        f"{says} It is stopped ({stopped}): mend that, then run `meshibot resume --account {account.name}`.",
    )


def _stopped_reason(settings: Settings, account: Account) -> str | None:
    with open_existing(settings.database_address) as database:
        if database is None:
            return None
        with database.read() as session:
            row = session.get(AccountRow, account.name)
            return row.stopped_reason if row is not None and row.state is AccountState.STOPPED else None


def _schedule(account: Account, now: datetime) -> tuple[Level, str]:
    schedule = schedule_of(account)
    slot = next_slot(account, schedule, now)
    if slot is None:
        return "failed", (
            f"{account.schedule!r} gives no slot outside the quiet hours within a year: change "
            "MESHIBOT_SCHEDULE or MESHIBOT_QUIET_HOURS."
        )
    if schedule.auto is not None:
        hours = ", ".join(map(str, schedule.auto.hours))
        return "ok", (
            f"{schedule.auto.posts} a day at one of the hours {hours}, drawn a day or two ahead; grace "
            f"{account.grace}."
        )
    return "ok", f"{account.schedule!r}: next at {slot['local']}, grace {account.grace}."


def _cost(account: Account, now: datetime) -> tuple[Level, str]:
    publisher = publisher_class(account.publisher)
    with_link = any(publisher.has_link(line) for line in captions_of(account, publisher).lines)
    posts = posts_in(schedule_of(account), now, _MONTH)
    each = publisher.price.of_post(with_link=with_link)
    says = f"about {counted(posts, 'post')} a month, ${posts * each:.2f} (${each:.3f} each{_as_of(each)})."
    if account.monthly_budget is not None and posts * each > account.monthly_budget:
        return "warning", (
            f"{says} MESHIBOT_MONTHLY_BUDGET is ${account.monthly_budget:.2f}, so slots will be missed: "
            "raise it, or post less."
        )
    if each > publisher.price.of_post(with_link=False):
        return "warning", f"{says} The link in MESHIBOT_CAPTIONS makes each post dearer: take it out."
    return "ok", says


def _as_of(each: float) -> str:
    return f", by the prices of {AS_OF:%B %Y}" if each else ""
