"""What `meshibot check` says. Needs no torch, and a network's library only where that network is asked."""

import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from sqlalchemy import func, select

from meshibot.assembly import captions_of, publisher_of, require_possible
from meshibot.config import Account, Settings
from meshibot.database import Account as AccountRow
from meshibot.database import AccountState, Daemon, Picture, PictureState
from meshibot.database.migrate import open_existing
from meshibot.errors import MeshibotError
from meshibot.publishers.base import Publisher
from meshibot.schedule import Schedule, plan, schedule_of
from meshibot.status import next_slot
from meshibot.views import Json, instant
from trainer.checkpoint import read_metadata
from trainer.errors import TrainerError

Level = Literal["ok", "warning", "failed"]

_LOW_DISK = 1_000_000_000
_NO_DISK = 100_000_000
_CLOCK_TOLERANCE = timedelta(minutes=2)
_MONTH = 30


@dataclass(frozen=True)
class Finding:
    """One line of `check`: what was looked at, how it is, and what to do about it."""

    subject: str
    level: Level
    says: str
    exit_status: int = 0

    def to_json(self) -> Json:
        return {"subject": self.subject, "level": self.level, "says": self.says}


def check(settings: Settings, now: datetime) -> list[Finding]:
    """Look at everything that a post depends on; asks the networks who the accounts are, and posts nothing.

    It changes nothing either: a stopped account stays so until `meshibot resume`.
    """
    findings = [Finding("settings", "warning", warning) for warning in settings.warnings]
    findings += [
        _looked("home", lambda: _home(settings)),
        _looked("disk", lambda: _disk(settings)),
        _looked("checkpoint", lambda: _checkpoint(settings)),
        _looked("database", lambda: _database(settings)),
        _looked("clock", lambda: _clock(settings, now)),
    ]
    for account in settings.accounts:
        findings += _account(settings, account, now)
    return findings


def exit_status(findings: list[Finding]) -> int:
    """0 when nothing failed, otherwise the status of the first failure."""
    return next((finding.exit_status for finding in findings if finding.level == "failed"), 0)


def _looked(subject: str, look: Callable[[], tuple[Level, str]]) -> Finding:
    """A look as a finding; what it raises is the finding too."""
    try:
        level, says = look()
    except (MeshibotError, TrainerError) as error:
        return Finding(subject, "failed", str(error), error.exit_status)
    except OSError as error:
        return Finding(subject, "failed", f"{error.filename or subject}: {error.strerror}.", 1)
    return Finding(subject, level, says, 1 if level == "failed" else 0)


def _home(settings: Settings) -> tuple[Level, str]:
    try:
        with tempfile.TemporaryFile(dir=_existing(settings.home)):
            pass  # gone as soon as it is closed
    except OSError as error:
        return "failed", (
            f"{settings.home} can't be written ({error.strerror}): make it writable, or set MESHIBOT_HOME to "
            "another folder."
        )
    return "ok", f"{settings.home} holds pictures, posts and logs."


def _existing(folder: Path) -> Path:
    """The folder, or where it would be made."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _disk(settings: Settings) -> tuple[Level, str]:
    free = shutil.disk_usage(_existing(settings.home)).free
    says = f"{free / 1e9:.1f} GB are free."
    if free < _NO_DISK:
        return "failed", f"{says} Make room: a post needs its picture and its record on the disk."
    if free < _LOW_DISK:
        return "warning", f"{says} Make room before it runs out."
    return "ok", says


def _checkpoint(settings: Settings) -> tuple[Level, str]:
    file = settings.checkpoint_file
    metadata = read_metadata(file)
    if importlib.util.find_spec("torch") is None:
        return "failed", "Sampling needs PyTorch: pip install torch."
    says = (
        f"{file.name}: {metadata.resolution} px, {metadata.objective}, step {metadata.step}, trained on "
        f"{metadata.training_pictures} photographs."
    )
    if not metadata.training_hashes:
        return "warning", f"{says} It has no hashes of them, so copies of a photograph can't be told."
    return "ok", says


def _database(settings: Settings) -> tuple[Level, str]:
    with open_existing(settings.database_address) as database:
        if database is None:
            return "ok", "There is none yet; the first post makes it."
        with database.write() as session:
            waiting = session.scalar(select(func.count()).where(Picture.state == PictureState.APPROVED))
        return "ok", f"{database.name} can be written; {waiting} of {settings.stock_target} pictures wait."


def _clock(settings: Settings, now: datetime) -> tuple[Level, str]:
    local = now.astimezone(settings.accounts[0].timezone)
    says = f"It is {local:%Y-%m-%d %H:%M} in {settings.accounts[0].timezone.key}."
    with open_existing(settings.database_address) as database:
        if database is None:
            return "ok", says
        with database.read() as session:
            seen = session.scalar(select(func.max(Daemon.seen_at)))
    if seen is not None and seen > now + _CLOCK_TOLERANCE:
        return "warning", (
            f"{says} The database was written at {instant(seen)}, which is still to come: set the clock "
            "(timedatectl set-ntp true)."
        )
    return "ok", says


def _account(settings: Settings, account: Account, now: datetime) -> Iterator[Finding]:
    subject = f"account {account.name}"
    yield from _network(settings, account)
    yield _looked(f"{subject} schedule", lambda: _schedule(account, now))
    yield _looked(f"{subject} cost", lambda: _cost(account, now))


def _network(settings: Settings, account: Account) -> Iterator[Finding]:
    """Whose the credentials are; then what is to be known of the server, and of the captions there."""
    subject = f"account {account.name}"
    try:
        publisher = publisher_of(settings, account)
    except MeshibotError as error:
        yield Finding(subject, "failed", str(error), error.exit_status)
        return
    with closing(publisher):
        found = _looked(subject, lambda: _credentials(settings, account, publisher))
        yield found
        if found.level == "failed":
            return
        try:
            for remark in publisher.remarks():
                yield Finding(f"{subject} server", "warning" if remark.warning else "ok", remark.says)
        except MeshibotError as error:
            yield Finding(f"{subject} server", "failed", str(error), error.exit_status)
        # Its limits are known now.
        yield _looked(f"{subject} captions", lambda: _captions(account, publisher))


def _captions(account: Account, publisher: Publisher) -> tuple[Level, str]:
    require_possible(account, publisher)
    captions = captions_of(account, publisher)
    many = f"{len(captions.lines)} lines" if len(captions.lines) > 1 else "one line"
    return "ok", f"{many} in {captions.language}, within what {publisher.title} takes."


def _credentials(settings: Settings, account: Account, publisher: Publisher) -> tuple[Level, str]:
    identity = publisher.check()
    says = f"posts to {publisher.name} as {identity.name} ({identity.url})."
    stopped = _stopped_reason(settings, account)
    if stopped is None:
        return "ok", says
    accepted = f"its network accepts it now: run `meshibot resume {account.name}`."
    return "warning", f"{says} It is stopped ({stopped}), and {accepted}"


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
    return "ok", f"{account.schedule!r}: next at {slot['local']}, grace {account.grace}."


def _cost(account: Account, now: datetime) -> tuple[Level, str]:
    from meshibot.publishers import publisher_class

    publisher = publisher_class(account.publisher)
    with_link = any(publisher.has_link(line) for line in captions_of(account, publisher).lines)
    posts = posts_in_a_month(schedule_of(account), now)
    each = publisher.price.of_post(with_link=with_link)
    says = f"about {posts} posts a month, ${posts * each:.2f} (${each:.3f} each)."
    if each > publisher.price.of_post(with_link=False):
        return "warning", f"{says} The link in MESHIBOT_CAPTIONS makes each post dearer: take it out."
    return "ok", says


def posts_in_a_month(schedule: Schedule, now: datetime) -> int:
    """How many posts 30 days of the schedule have, within the daily budget."""
    days: dict[str, int] = {}
    for slot in plan(schedule.cron, schedule.tz, now, _MONTH, schedule.quiet):
        if not slot.quiet:
            days[slot.local[:10]] = days.get(slot.local[:10], 0) + 1
    most = schedule.daily_budget
    return sum(count if most is None else min(count, most) for count in days.values())
