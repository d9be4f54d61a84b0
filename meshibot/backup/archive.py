"""The form of a backup: a tar file, its manifest first, with a hash of each member. Knows no database.

An archive appears under its name whole and read back, or not at all.
"""

import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from meshibot.errors import MeshibotError, UsageError
from trainer.files import sync_folder

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "meshibot.sqlite3"
SETTINGS = "settings"
"""The folder of the settings."""

_NAME = re.compile(r"meshibot-(\d{8}T\d{6}Z)\.tar\.gz")
_STAMP = "%Y%m%dT%H%M%SZ"
_LARGEST_MANIFEST = 64_000_000
_CHUNK = 1 << 20


class BadArchive(MeshibotError):  # noqa: N818 (an outcome, and named as one)
    """The file is no backup of meshibot's, or is damaged."""


@dataclass(frozen=True)
class Member:
    """A file of an archive: a relative path with `/`, its size in bytes, its SHA-256 in hexadecimal."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself."""

    made_at: datetime
    """UTC: all that was committed before it is inside."""
    program: str
    """The version of meshibot that made it."""
    schema: str
    """The revision of its database."""
    checkpoint: str | None
    """The SHA-256 of the checkpoint that was configured, which is not inside."""
    members: tuple[Member, ...]
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return {**asdict(self), "made_at": self.made_at.isoformat(timespec="microseconds")}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Manifest":
        """The inverse of `to_json`. Raises BadArchive for a newer format, and for what is none."""
        try:
            newer = int(document["format"]) > FORMAT
            if newer:
                raise BadArchive("The backup is of a newer meshibot: install that one, then restore.")
            members = tuple(
                Member(str(each["path"]), int(each["bytes"]), str(each["sha256"]))
                for each in document["members"]
            )
            made_at = datetime.fromisoformat(document["made_at"]).astimezone(UTC)
            checkpoint = document["checkpoint"]
            return cls(
                made_at, str(document["program"]), str(document["schema"]), checkpoint, members,
                int(document["format"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise BadArchive("The backup's manifest can't be read: take another backup.") from error


def name_of(moment: datetime) -> str:
    """The name of an archive that is made at this moment."""
    return f"meshibot-{moment.astimezone(UTC):{_STAMP}}.tar.gz"


def moment_of(file: Path) -> datetime | None:
    """The moment that an archive's name tells; None for another file."""
    found = _NAME.fullmatch(file.name)
    return datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC) if found else None


def measured(path: str, file: Path) -> Member:
    """A file as a member of this path."""
    with file.open("rb") as stream:
        size, digest = _drain(stream)
    return Member(path, size, digest)


def write(target: Path, manifest: Manifest, files: Mapping[str, Path]) -> None:
    """Write an archive and read it back, then give it its name. `files` says where each member lies.

    Raises MeshibotError where it can't be written, or is not what was meant to be.
    """
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # it holds the whole history, and what the owner wrote into the settings
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            with tarfile.open(fileobj=out, mode="w:gz", compresslevel=3) as tar:
                _add(tar, MANIFEST, json.dumps(manifest.to_json(), indent=1).encode(), manifest.made_at)
                for member in manifest.members:
                    tar.add(files[member.path], member.path, recursive=False, filter=_nobodys)
            out.flush()
            os.fsync(out.fileno())
        verify(unfinished)
        unfinished.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise MeshibotError(
            f"The backup {target} can't be written ({error.strerror or error}): make room, or choose another "
            "folder."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def verify(file: Path) -> Manifest:
    """Read an archive to its end. Raises BadArchive unless all that its manifest names is there and whole."""
    with _open(file) as tar:
        manifest = _manifest(tar, file)
        left = {member.path: member for member in manifest.members}
        for info, stream in _members(tar, file):
            member = left.pop(info.name, None)
            if member is None or (member.bytes, member.sha256) != _drain(stream):
                raise BadArchive(f"{file} is damaged ({info.name}): take another backup.")
    if left:
        raise BadArchive(f"{file} is damaged, {next(iter(left))} is missing: take another backup.")
    return manifest


def unpack(file: Path, folder: Path) -> Manifest:
    """Unpack an archive that `verify` finds sound into an empty folder. Raises BadArchive and OSError."""
    manifest = verify(file)
    with _open(file) as tar:
        tar.extractall(folder, filter="data")
    return manifest


def _add(tar: tarfile.TarFile, name: str, data: bytes, moment: datetime) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o600, int(moment.timestamp())
    tar.addfile(info, io.BytesIO(data))


def _nobodys(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the user of this machine."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o600
    return info


@contextmanager
def _open(file: Path) -> Iterator[tarfile.TarFile]:
    """The archive, its faults as sentences."""
    if file.exists() and not (file.is_file() or file.is_dir()):  # to read a pipe has no end
        raise UsageError(f"{file} is no file: name what `meshibot backup` made.")
    try:
        with tarfile.open(file, "r:gz") as tar:
            yield tar
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise BadArchive(f"{file} is no backup of meshibot's, or it is damaged: take another one.") from error
    except OSError as error:
        if error.filename is None:  # gzip's own word for what is no gzip
            raise BadArchive(f"{file} is no backup of meshibot's: take another one.") from error
        raise UsageError(f"The backup {file} can't be read: {error.strerror}.") from error


def _manifest(tar: tarfile.TarFile, file: Path) -> Manifest:
    first = tar.next()
    stream = tar.extractfile(first) if first is not None and first.isfile() else None
    if first is None or stream is None or first.name != MANIFEST or first.size > _LARGEST_MANIFEST:
        raise BadArchive(f"{file} is no backup of meshibot's: it does not begin with its manifest.")
    try:
        document = json.load(stream)
    except ValueError as error:
        raise BadArchive(f"{file} is damaged: its manifest can't be read: take another backup.") from error
    return Manifest.from_json(document if isinstance(document, dict) else {})


def _members(tar: tarfile.TarFile, file: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """What follows the manifest. BadArchive for anything but files inside."""
    while (info := tar.next()) is not None:
        path = PurePosixPath(info.name)
        stream = tar.extractfile(info) if info.isfile() else None
        if stream is None or path.is_absolute() or ".." in path.parts:
            raise BadArchive(f"{file} holds {info.name!r}, which no backup does: don't trust it.")
        yield info, stream


def _drain(stream: IO[bytes]) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        size += len(chunk)
        digest.update(chunk)
    return size, digest.hexdigest()
