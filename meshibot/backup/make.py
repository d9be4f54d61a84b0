"""Makes a backup: the database, the pictures that it names, and the settings without their secrets."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from meshibot import __version__
from meshibot.backup import archive
from meshibot.backup.keep import Keep
from meshibot.backup.without_secrets import settings_files
from meshibot.clock import Clock, SystemClock
from meshibot.config import Settings
from meshibot.database import Database, Picture
from meshibot.database.migrate import HEAD, backup, check_revision
from meshibot.errors import DatabaseFailure, MeshibotError
from trainer.metadata import fingerprint_of

DAILY = timedelta(hours=24)


@dataclass(frozen=True)
class Made:
    """A backup that was made and read back."""

    file: Path
    bytes: int
    pictures: int
    missing: int
    """Pictures that the database names and whose files are not there, or lie outside of the home."""
    secrets_left_out: tuple[str, ...]


def make(settings: Settings, target: Path, now: datetime) -> Made:
    """Write a backup to `target`, an archive that is not there yet.

    Consistent while others write. Raises MeshibotError where it can't be made; then nothing is left behind.
    """
    if target.exists():
        raise MeshibotError(f"{target} is there already: choose another name.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent) as folder:
            return _made(settings, target, now, Path(folder))
    except OSError as error:
        raise MeshibotError(
            f"The backup {target} can't be made ({error.strerror or error}): make room, or choose another "
            "folder."
        ) from error


def _made(settings: Settings, target: Path, now: datetime, workshop: Path) -> Made:
    copy = backup(settings.database_address, workshop / archive.DATABASE)
    pictures, missing = _pictures(copy, settings.home)
    written, left_out = settings_files(settings)
    files = {archive.DATABASE: copy, **pictures}
    for name, text in written.items():
        file = workshop / f"setting-{len(files)}"
        file.write_text(text, "utf-8")
        files[f"{archive.SETTINGS}/{name}"] = file
    members = tuple(archive.measured(path, file) for path, file in files.items())
    manifest = archive.Manifest(now, __version__, HEAD, _fingerprint(settings), members)
    archive.write(target, manifest, files)
    return Made(target, target.stat().st_size, len(pictures), missing, left_out)


def _pictures(copy: Path, home: Path) -> tuple[dict[str, Path], int]:
    """The files of the copied database's pictures that lie in the home, and how many do not."""
    with Database.open(f"sqlite:///{copy}") as database:
        if check_revision(database) is not True:
            raise DatabaseFailure(
                "The database is of an older meshibot: run `meshibot db upgrade`, then `meshibot backup`."
            )
        with database.read() as session:
            named = session.scalars(select(Picture.file).distinct()).all()
    inside = {name: home / name for name in named if _is_inside(name)}
    there = {name: file for name, file in inside.items() if file.is_file()}
    return there, len(named) - len(there)


def _is_inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts


def _fingerprint(settings: Settings) -> str | None:
    with suppress(OSError, MeshibotError):
        return fingerprint_of(settings.checkpoint_file)
    return None


@dataclass
class Keeper:
    """Makes a backup a day for a daemon, and removes those that need not stay once the new one is sound."""

    settings: Settings
    keep: Keep
    clock: Clock = field(default_factory=SystemClock)

    def __call__(self) -> None:
        """Make one where the last is a day old. Raises as `make` does; then none is removed."""
        now = self.clock.now()
        folder = self.settings.backups_folder
        if any(moment > now - DAILY for moment in _until(now, folder)):
            return
        make(self.settings, folder / archive.name_of(now), now)
        there = _until(now, folder)
        stay = self.keep.of(there)
        for moment, file in there.items():
            if moment not in stay:
                file.unlink(missing_ok=True)


def _until(now: datetime, folder: Path) -> dict[datetime, Path]:
    """Those up to now: one that was made under a clock that ran ahead counts once its time has come."""
    return {moment: file for moment, file in archives(folder) if moment <= now}


def archives(folder: Path) -> Iterator[tuple[datetime, Path]]:
    """The backups in a folder, each with its moment."""
    for file in sorted(folder.glob("meshibot-*.tar.gz")):
        if (moment := archive.moment_of(file)) is not None:
            yield moment, file
