"""Pictures in the sizes that pages show, made once each and kept by content. Never by a path of a request."""

import hashlib
import logging
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from sqlalchemy import select

from meshibot.database import Database, Picture
from meshibot.web.shrinker import Shrinker

log = logging.getLogger(__name__)

SIDES = (256, 512, 1024)
"""Pixels."""
KEPT = 90 * 86_400
"""Seconds that a size is kept which nobody looked at: it can be made again."""
_SHA256 = re.compile(r"[0-9a-z]{1,64}")

MISSING = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="256" height="256">'
    b'<rect width="64" height="64" fill="#8882"/><path d="M16 30h32a16 14 0 0 1-32 0zM14 30h36" fill="none" '
    b'stroke="#888" stroke-width="2"/><path d="M18 20l28 28" stroke="#888" stroke-width="2"/></svg>'
)
"""In the place of a picture whose file is gone."""


@dataclass
class Pictures:
    """The pictures of one home."""

    database: Database
    home: Path
    _lock: Lock = field(default_factory=Lock)
    _shrinker: Shrinker = field(default_factory=Shrinker)

    @property
    def folder(self) -> Path:
        """Where the sizes lie."""
        return self.home / "thumbnails"

    def sized(self, sha256: str, side: int) -> Path | None:
        """The file of a picture at a size, as WebP; None where there is none, or its own file is gone."""
        if side not in SIDES or not _SHA256.fullmatch(sha256):
            return None
        target = self.folder / f"{sha256}-{side}.webp"
        if target.is_file():
            return target
        source = self._source(sha256)
        if source is None:
            return None
        with self._lock:  # one at a time, as the child answers
            return target if target.is_file() or self._make(source, target, side) else None

    def _source(self, sha256: str) -> Path | None:
        with self.database.read() as session:
            file = session.scalar(select(Picture.file).where(Picture.sha256 == sha256))
        return None if file is None else inside(self.home, file)

    def _make(self, source: Path, target: Path, side: int) -> bool:
        fault = self._shrinker.ask(source, target, side)
        if fault:
            log.warning("%s can't be shown: %s", source.name, fault)
        return not fault

    def close(self) -> None:
        """End the child."""
        self._shrinker.close()

    def sweep(self) -> None:
        """Remove the sizes that were made long ago."""
        before = time.time() - KEPT
        for file in self.folder.glob("*.webp"):
            with suppress(OSError):
                if file.stat().st_mtime < before:
                    file.unlink()


def inside(folder: Path, file: str) -> Path | None:
    """A file by its name in the database; None where that leads out of the folder, or to nothing."""
    root = folder.resolve()
    path = (root / file).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None


def tag_of(path: Path) -> str:
    """An entity tag of a file that never changes under its name."""
    return f'"{hashlib.sha256(path.name.encode()).hexdigest()[:16]}"'
