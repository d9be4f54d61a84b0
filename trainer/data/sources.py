"""Where photographs lie: a folder, read recursively, or a zip archive, which is read without unpacking it.

Both give the same: the names of the files with a stamp that changes when a file does, what was left out
by name alone, and the bytes of a file. Knows nothing of pictures.
"""

import os
import stat
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Protocol

from trainer.errors import TrainerError, UsageError

MAX_FILE_BYTES = 256 * 2**20
MAX_ARCHIVE_MEMBERS = 1_000_000
# Photographs hardly compress; a whole archive that swells like this is made to fill a disk or to waste a day.
BOMB_RATIO = 100
BOMB_BYTES = 2**30

Stamp = tuple[int, ...]

_SYSTEM_FOLDERS = frozenset(
    {
        "@eadir",  # Synology: thumbnails of each photograph
        "@__thumb",  # QNAP
        "@recently-snapshot",
        "@transcode",
        "@tmp",
        "#recycle",
        "@recycle",
        "#snapshot",
        "~snapshot",  # NetApp, as Windows shows it
        "@sharebin",
        "trashbox",  # Buffalo
        "ipod photo cache",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "__macosx",
    }
)
"""In small letters: what NAS and systems keep beside photographs, copies of them among it."""
_RUN_FILES = frozenset({"config.json", "metrics.jsonl"})


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used, and why: a fragment of a sentence, such as 'truncated' or 'zero bytes'."""

    path: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """The files that may be pictures, by name with a stamp each, and those that can't be."""

    stamps: dict[str, Stamp]
    left_out: tuple[LeftOut, ...]


class Source(Protocol):
    path: Path

    def scan(self) -> Listing: ...

    def read(self, name: str) -> bytes:
        """Raises OSError with a reason. May be called by several threads at once."""
        ...

    def close(self) -> None: ...


def open_source(path: Path) -> Source:
    """Raises UsageError if `path` is neither a folder nor a zip archive, TrainerError if it can't be read."""
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise UsageError(f"{path} does not exist: give the folder that holds the photographs.")
    if path.is_file() and zipfile.is_zipfile(path):
        return ZipSource(path)
    raise UsageError(
        f"{path} is neither a folder nor a zip archive: give the folder that holds the photographs."
    )


def printable(name: str) -> str:
    """A name for people: control characters and bytes that are no UTF-8 are escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name
    )


class FolderSource:
    def __init__(self, path: Path) -> None:
        self.path = path

    def scan(self) -> Listing:
        """Links are followed, each folder once; what is no place for photographs is left out, and named."""
        stamps: dict[str, Stamp] = {}
        left_out: list[LeftOut] = []
        seen: set[tuple[int, int]] = set()
        waiting = [""]  # not a call within a call: folders may be nested a thousand deep
        while waiting:
            prefix = waiting.pop()
            try:
                entries = self._entries(prefix, seen)
            except OSError as error:
                left_out.append(LeftOut(printable(prefix or str(self.path)), _unreadable(error)))
                continue
            if _is_run({entry.name for entry in entries}):
                self._leave_run_out(prefix, left_out)
                continue
            waiting += self._sort(entries, prefix, stamps, left_out)
        if not seen:
            raise TrainerError(f"{self.path} can't be read: {left_out[0].reason}.")
        return Listing(stamps, tuple(left_out))

    def _entries(self, prefix: str, seen: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
        """What lies in a folder, or nothing where it has been seen already. Raises OSError."""
        folder = self.path / prefix
        identity = folder.stat()
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        known = (identity.st_dev, identity.st_ino)
        if known in seen:
            return []
        seen.add(known)
        return found

    def _leave_run_out(self, prefix: str, left_out: list[LeftOut]) -> None:
        """A run draws sheets of samples: no photographs. Raises UsageError where all of it is a run."""
        if not prefix:
            raise UsageError(f"{self.path} is a run folder: give the folder that holds the photographs.")
        left_out.append(LeftOut(printable(prefix), "a run of the trainer"))

    def _sort(
        self,
        entries: list[os.DirEntry[str]],
        prefix: str,
        stamps: dict[str, Stamp],
        left_out: list[LeftOut],
    ) -> list[str]:
        """Note files with their stamps, or why they are left out; returns the folders, the last first."""
        folders = []
        for entry in entries:
            name = f"{prefix}{entry.name}"
            try:
                if reason := _no_place(entry.name):
                    left_out.append(LeftOut(printable(name), reason))
                elif entry.is_dir():
                    folders.append(f"{name}/")
                elif reason := _unfit(status := entry.stat()):
                    left_out.append(LeftOut(printable(name), reason))
                else:
                    # ctime too: a file replaced by one of the same size and date is still noticed.
                    stamps[name] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            except OSError as error:
                left_out.append(LeftOut(printable(name), _unreadable(error)))
        return folders[::-1]

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def close(self) -> None:
        """Nothing is held open."""


def _no_place(name: str) -> str | None:
    """Why a file or folder of this name is left out unseen."""
    if name.startswith("."):
        return "hidden"
    return "a system's own folder" if name.lower() in _SYSTEM_FOLDERS else None


def _is_run(names: Collection[str]) -> bool:
    """Whether a folder that holds these files is a run of the trainer."""
    return _RUN_FILES.issubset(names)


def _unfit(status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    return _unfit_size(status.st_size)


def _unfit_size(size: int) -> str | None:
    if size == 0:
        return "zero bytes"
    return f"larger than {MAX_FILE_BYTES // 2**20} MiB" if size > MAX_FILE_BYTES else None


def _unreadable(error: OSError) -> str:
    return f"unreadable ({(error.strerror or str(error)).lower()})"


class ZipSource:
    """Members are read into memory one at a time; nothing is ever written to where a member's name says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise TrainerError(f"{path} can't be read as a zip archive: {error}.") from error

    def scan(self) -> Listing:
        """Raises TrainerError for an archive made to harm: such a one is refused whole."""
        self._refuse_bombs()
        status = self.path.stat()
        stamps: dict[str, Stamp] = {}
        left_out: list[LeftOut] = []
        runs = self._runs()
        for member in self._archive.infolist():
            self._refuse(member)
            name = member.filename
            if member.is_dir():
                continue
            path = PurePosixPath(name)
            if reason := next(filter(None, map(_no_place, path.parts)), None):
                left_out.append(LeftOut(printable(name), reason))
            elif runs.intersection((path, *path.parents)):
                left_out.append(LeftOut(printable(name), "a run of the trainer"))
            elif reason := _unfit_size(member.file_size):
                left_out.append(LeftOut(printable(name), reason))
            elif name in stamps:
                left_out.append(LeftOut(printable(name), "a name that the archive has twice"))
            else:
                archive = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                stamps[name] = (*archive, member.header_offset, member.file_size, member.CRC)
        return Listing(stamps, tuple(left_out))

    def _runs(self) -> set[PurePosixPath]:
        """The folders that are runs of the trainer."""
        held: dict[PurePosixPath, set[str]] = {}
        for path in map(PurePosixPath, self._archive.namelist()):
            if path.name in _RUN_FILES:
                held.setdefault(path.parent, set()).add(path.name)
        return {folder for folder, names in held.items() if _is_run(names)}

    def read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise OSError("damaged inside the archive") from error

    def close(self) -> None:
        self._archive.close()

    def _refuse(self, member: zipfile.ZipInfo) -> None:
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
            self._refused(f"its member {printable(member.filename)} points outside of it")
        if stat.S_ISLNK(member.external_attr >> 16):
            self._refused(f"its member {printable(member.filename)} is a link")
        if member.flag_bits & 1:
            self._refused("it is encrypted: unpack it and give the folder")

    def _refuse_bombs(self) -> None:
        members = self._archive.infolist()
        if len(members) > MAX_ARCHIVE_MEMBERS:
            self._refused(f"it has more than {MAX_ARCHIVE_MEMBERS:,} members")
        total = sum(member.file_size for member in members)
        if total > BOMB_BYTES and total > BOMB_RATIO * self.path.stat().st_size:
            self._refused(f"it would swell to {total / 2**30:,.0f} GiB, like a zip bomb")
        # One stretch of compressed bytes that many members share is how the flattest bombs are built.
        ordered = sorted(members, key=lambda member: member.header_offset)
        for member, following in pairwise(ordered):
            if member.header_offset + member.compress_size > following.header_offset:
                self._refused("its members overlap, like those of a zip bomb")

    def _refused(self, reason: str) -> None:
        raise TrainerError(f"{self.path} is refused: {reason}.")
