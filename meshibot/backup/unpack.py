"""The way back from a backup: unpacked aside, looked through, and put in place by renaming."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterable
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from meshibot.backup import archive
from meshibot.errors import MeshibotError
from trainer.files import replace_file, sync_folder

_COMPANIONS = ("-wal", "-shm", "-journal")


def unpack(file: Path, folder: Path) -> archive.Manifest:
    """Unpack a backup into an empty folder and look through its database. Raises MeshibotError."""
    try:
        manifest = archive.unpack(file, folder)
    except OSError as error:
        raise MeshibotError(
            f"The backup can't be unpacked into {folder.parent} ({error.strerror or error}): make room."
        ) from error
    database = folder / archive.DATABASE
    try:
        with closing(sqlite3.connect(database)) as connection:
            verdict = str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        raise archive.BadArchive(f"The database in {file} is not sound ({verdict}): take another backup.")
    return manifest


def as_one_file(database: Path) -> None:
    """Bring a SQLite database into its one file, so that it can be moved. Raises MeshibotError if in use."""
    try:
        with closing(sqlite3.connect(database, timeout=5.0, isolation_level=None)) as connection:
            mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    except sqlite3.OperationalError as error:
        raise MeshibotError(
            f"The database {database} is in use ({error}): end what has it open, then try again."
        ) from error
    if mode != "delete":
        raise MeshibotError(f"The database {database} is in use: end what has it open, then try again.")


def put_pictures(unpacked: Path, manifest: archive.Manifest, home: Path) -> int:
    """Move pictures to their places where they are missing or differ; how many."""
    moved = 0
    folders: set[Path] = set()
    for member in manifest.members:
        if member.path == archive.DATABASE or member.path.startswith(f"{archive.SETTINGS}/"):
            continue
        place = home / member.path
        if place.is_file() and archive.measured(member.path, place) == member:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        (unpacked / member.path).replace(place)
        folders.add(place.parent)
        moved += 1
    for folder in folders:
        sync_folder(folder)
    return moved


def swap(new: Path, place: Path, now: datetime) -> Path | None:
    """Put a database in the place of another, which is kept beside it; where, or None if there was none.

    Raises MeshibotError where that one is in use.
    """
    kept = None
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        kept = _keep(place, now)
        new.chmod(stat.S_IMODE(place.stat().st_mode))
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(place)
    sync_folder(place.parent)
    return kept


def _keep(place: Path, now: datetime) -> Path:
    kept = place.with_name(f"{place.stem}.before-restore-{now:%Y%m%dT%H%M%SZ}{place.suffix}")
    with suppress(sqlite3.DatabaseError):  # where it is damaged: that is what a restore is for
        as_one_file(place)
    for companion in _COMPANIONS:
        beside = place.with_name(place.name + companion)
        if beside.exists():
            beside.replace(kept.with_name(kept.name + companion))
    try:
        kept.hardlink_to(place)
    except OSError:  # not on every file system
        shutil.copy2(place, kept)
    return kept


def put_settings(unpacked: Path, manifest: archive.Manifest, home: Path, files: Iterable[Path]) -> list[Path]:
    """Write the settings of a backup; where one is there that differs, into a `.new` beside it.

    `files` are those that are read now. Returns what was written.
    """
    read = {file.name: file for file in files}
    written = []
    for member in manifest.members:
        if not member.path.startswith(f"{archive.SETTINGS}/"):
            continue
        source = unpacked / member.path
        place = read.get(source.name, home / source.name)
        text = source.read_bytes()
        if place.exists() and place.read_bytes() == text:
            continue
        if place.exists():
            place = place.with_name(f"{place.name}.new")
        replace_file(place, text)
        place.chmod(0o600)
        written.append(place)
    return written
