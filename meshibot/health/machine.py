"""What is on this machine: home, disk, checkpoint, run, database, stock, daemon, backup, clock."""

import importlib.util
import shutil
import stat
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select

from meshibot.backup.make import archives
from meshibot.config import Settings
from meshibot.database import Daemon
from meshibot.database.migrate import HEAD, open_existing
from meshibot.database.queries import first_post_at, last_daemon, lives
from meshibot.errors import MeshibotError
from meshibot.health.finding import Finding, Level, looked
from meshibot.stock import inventory
from meshibot.stock.stages import checkpoints_of
from meshibot.thresholds import LOW_DISK, OLD_BACKUP
from meshibot.views import instant
from trainer.metadata import read_metadata

_NO_DISK = 100_000_000
_CLOCK_TOLERANCE = timedelta(minutes=2)


def look(settings: Settings, now: datetime) -> Iterator[Finding]:
    """All of it, a finding each."""
    yield Finding("settings files", "ok", _files(settings))
    yield looked("home", lambda: _home(settings))
    yield looked("disk", lambda: _disk(settings))
    yield looked("checkpoint", lambda: _checkpoint(settings))
    if (run := settings.run) is not None:
        yield looked("run", lambda: _run(run))
    database = looked("database", lambda: _database(settings))
    yield database
    if database.level != "failed":
        yield looked("stock", lambda: _stock(settings))
        yield looked("daemon", lambda: _daemon(settings, now))
        yield looked("backup", lambda: _backup(settings, now))
        yield looked("clock", lambda: _clock(settings, now))


def _files(settings: Settings) -> str:
    read = ", ".join(map(str, settings.files)) or "no file; there is no .env and no meshibot.toml"
    return f"read from {read}, and the environment. `meshibot config` lists them."


def _home(settings: Settings) -> tuple[Level, str]:
    try:
        with tempfile.TemporaryFile(dir=_existing(settings.home)):
            pass  # gone as soon as it is closed
    except OSError as error:
        return "failed", (
            f"{settings.home} can't be written ({error.strerror}): make it writable, or set MESHIBOT_HOME to "
            "another folder."
        )
    mode = _existing(settings.home).stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return "warning", f"Anybody may change what is in {settings.home}: run chmod o-w {settings.home}."
    return "ok", f"{settings.home} holds pictures, posts and logs."


def _existing(folder: Path) -> Path:
    """The folder, or where it would be made."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _disk(settings: Settings) -> tuple[Level, str]:
    free = shutil.disk_usage(_existing(settings.home)).free
    says = f"{free / 1e9:.1f} GB are free."
    if free < _NO_DISK:
        return "failed", f"{says} Make room: a post needs its picture and its record on the disk."
    if free < LOW_DISK:
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


def _run(run: Path) -> tuple[Level, str]:
    try:
        kept = checkpoints_of(run)
    except MeshibotError as error:
        return "warning", str(error)  # its disk may be mounted late, and posts of other kinds don't need it
    return "ok", f"{run} keeps {len(kept)} of its checkpoints."


def _database(settings: Settings) -> tuple[Level, str]:
    with open_existing(settings.database_address) as database:
        if database is None:
            return "ok", "There is none yet; the first post makes it."
        with database.write():
            return "ok", f"{database.name} can be written; its tables are those of this version ({HEAD})."


def _stock(settings: Settings) -> tuple[Level, str]:
    with open_existing(settings.database_address) as database:
        if database is None:
            return "ok", f"The daemon will keep {settings.stock_target} pictures ready."
        pictures = inventory.waiting(database)
        ours = inventory.fingerprint(settings.checkpoint_file)
        others = 0 if ours is None else inventory.of_others(database, ours)  # None is said of the checkpoint
    if not pictures:
        return "warning", "No picture waits: run `meshibot stock fill`, or let the daemon do it."
    says = f"{len(pictures)} of {settings.stock_target} pictures wait."
    lost = [picture for picture in pictures if inventory.is_lost(settings.home / picture.file)]
    if lost:
        return "warning", (
            f"{says} The files of {len(lost)} are missing or empty (picture {lost[0].id}: {lost[0].file}): "
            "mount their disk; or let the daemon make others in their place."
        )
    if others:
        return "ok", (
            f"{says} {others} of them are of another checkpoint than {settings.checkpoint_file.name}, and "
            "come last: `meshibot stock clear --others` takes them out."
        )
    return "ok", says


def _daemon(settings: Settings, now: datetime) -> tuple[Level, str]:
    with open_existing(settings.database_address) as database:
        last = None
        if database is not None:
            with database.read() as session:
                last = last_daemon(session, now)
    if last is None:
        return "ok", "None has run yet: `meshibot run` posts on schedule."
    if lives(last, now):
        return "ok", f"It runs on {last.host} (process {last.pid}, meshibot {last.version})."
    ended = "was stopped" if last.stopped_at is not None else "was last seen"
    return "warning", f"It {ended} at {instant(last.seen_at)}: start it (`meshibot run`, or its service)."


def _backup(settings: Settings, now: datetime) -> tuple[Level, str]:
    if settings.backup_keep is None:
        return "ok", "The daemon makes none: MESHIBOT_BACKUP_KEEP is none."
    with open_existing(settings.database_address) as database:
        if database is None:
            return "ok", "There is nothing to lose yet."
        with database.read() as session:
            first = first_post_at(session)
    newest = max((moment for moment, _ in archives(settings.backups_folder)), default=None)
    if newest is not None and now - newest < OLD_BACKUP:
        return "ok", f"The last is of {instant(newest)}, in {settings.backups_folder}."
    if first is None or now - first < OLD_BACKUP:
        return "ok", "The daemon makes one a day; there was none to make yet."
    last = "There is none" if newest is None else f"The last is of {instant(newest)}"
    return "warning", f"{last}: run `meshibot backup`, and let the daemon make one a day."


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
