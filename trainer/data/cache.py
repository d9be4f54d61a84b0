"""Decoded pictures on disk, found by the SHA-256 of the files they came from, whatever those are called.

A folder of entries, each an array (`.npy`) with its index (`.json`: which content each row is, and which
content can't be used and why), and for each source the hashes of its files, so that what has not changed
is not even read. A cache is a convenience: nothing here raises for a broken or unwritable one but
`BrokenEntryError`, which the caller answers by trying again without it.
"""

import hashlib
import json
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.sources import Stamp
from trainer.progress import say

MAX_BYTES = 4 * 2**30
MAX_ENTRIES = 12
MAX_SOURCES = 64
# A file changed twice within one tick of the file system's clock keeps its stamp, so stamps this young are
# not believed (FAT's clock ticks every two seconds).
YOUNG_NS = 2_000_000_000
ABANDONED_S = 86_400.0

Pictures = NDArray[np.uint8]


def default_cache() -> Path:
    """$TRAINER_CACHE, or `meshibot/datasets` in the user's cache folder.

    A user without a home (a container's odd user id) has one among the temporary files.
    """
    if chosen := os.environ.get("TRAINER_CACHE"):
        return Path(chosen)
    try:
        base = _user_cache()
        if not base.is_absolute():  # as some versions answer
            raise RuntimeError("no home")
    except RuntimeError:
        base = Path(tempfile.gettempdir()) / f"meshibot-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
    return base / "datasets"


def _user_cache() -> Path:
    """Raises RuntimeError where there is no home."""
    try:
        from platformdirs import user_cache_path
    except ImportError:  # a bare checkout on a rented machine
        return Path("~/.cache/meshibot").expanduser()
    return user_cache_path("meshibot", appauthor=False)


class BrokenEntryError(Exception):
    """An array that is not what its index says. It has been removed, if it could be."""

    def __init__(self, index: Path) -> None:
        super().__init__(str(index))
        self.index = index


@dataclass(frozen=True)
class Entry:
    index: Path
    rows: dict[str, int]
    """Content hash to row."""
    rejected: dict[str, str]
    """Content hash to the reason why it can't be used."""
    crc32: int

    @property
    def array(self) -> Path:
        return self.index.with_suffix(".npy")


class ArrayCache:
    """The entries of one resolution and one version of the decoder."""

    def __init__(
        self,
        folder: Path,
        resolution: int,
        version: str,
        *,
        write: bool = True,
        without: Collection[Path] = (),
    ) -> None:
        """Without `write` all stays as it is. `without`: indices of entries that are known to be broken."""
        self.folder = folder
        self.may_write = write
        self.resolution = resolution
        self._prefix = f"{resolution}px-v{version}-"
        self._complained = False
        self.entries = [entry for entry in self._read_entries() if entry.index not in without]
        self.reasons = {digest: reason for entry in self.entries for digest, reason in entry.rejected.items()}

    # --- which content a source's files have ---

    def known_digests(self, source: Path, stamps: dict[str, Stamp]) -> dict[str, str]:
        """The content hashes of those files whose stamps are what they were."""
        document = _read_json(self._source_file(source))
        known = {}
        for name, remembered in document.items():
            if isinstance(remembered, list) and list(stamps.get(name, ())) == remembered[:-1]:
                known[name] = str(remembered[-1])
        return known

    def remember_digests(
        self, source: Path, stamps: dict[str, Stamp], digests: dict[str, str], listed_ns: int
    ) -> None:
        """`listed_ns` is when the stamps were taken, on the clock that files are stamped with."""
        document = {
            name: [*stamps[name], digest]
            for name, digest in digests.items()
            if max(stamps[name][1:3]) < listed_ns - YOUNG_NS
        }
        self._write(self._source_file(source), lambda file: file.write(json.dumps(document).encode()))

    def _source_file(self, source: Path) -> Path:
        return self.folder / f"source-{hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:32]}.json"

    # --- decoded arrays ---

    def holds(self, digest: str) -> bool:
        """Whether this content's pixels are in some entry."""
        return any(digest in entry.rows for entry in self.entries)

    def whole(self, digests: list[str]) -> Pictures | None:
        """The array whose rows are exactly `digests` (sorted), mapped into memory, private to this process.

        Raises BrokenEntryError.
        """
        for entry in self.entries:
            if entry.index == self._index_file(digests) and list(entry.rows) == digests:
                self._touch(entry)
                return self._load(entry)
        return None

    def fill(self, pictures: Pictures, wanted: dict[str, int]) -> None:
        """Copy content, by its hash, into that row of `pictures`. Raises BrokenEntryError."""
        for entry in self.entries:
            if common := entry.rows.keys() & wanted.keys():
                array = self._load(entry)
                for digest in common:
                    pictures[wanted[digest]] = array[entry.rows[digest]]
                wanted = {digest: row for digest, row in wanted.items() if digest not in common}

    def store(self, digests: list[str], pictures: Pictures, rejected: dict[str, str]) -> None:
        """Keep `pictures`, whose rows are `digests` (sorted)."""
        index = self._index_file(digests)
        written = self._write(index.with_suffix(".npy"), lambda file: np.save(file, pictures))
        if written:
            self._store_index(index, digests, rejected, zlib.crc32(pictures.data))
            self._prune(keep=index)

    def store_reasons(self, digests: list[str], rejected: dict[str, str]) -> None:
        """Add what has been found unusable since to the entry of `digests`."""
        index = self._index_file(digests)
        for entry in self.entries:
            if entry.index == index and not rejected.keys() <= entry.rejected.keys():
                self._store_index(index, digests, entry.rejected | rejected, entry.crc32)

    def _store_index(self, index: Path, digests: list[str], rejected: dict[str, str], crc32: int) -> None:
        document = json.dumps({"digests": digests, "rejected": rejected, "crc32": crc32})
        self._write(index, lambda file: file.write(document.encode()))

    def _index_file(self, digests: list[str]) -> Path:
        return (
            self.folder / f"{self._prefix}{hashlib.sha256(''.join(digests).encode()).hexdigest()[:32]}.json"
        )

    def _read_entries(self) -> list[Entry]:
        entries = []
        for index in _files(self.folder, f"{self._prefix}*.json"):
            document = _read_json(index)
            try:
                rows = {str(digest): row for row, digest in enumerate(document["digests"])}
                entry = Entry(index, rows, dict(document["rejected"]), int(document["crc32"]))
            except (KeyError, TypeError, ValueError):
                self._drop(index)
            else:
                entries.append(entry)
        return entries

    def _load(self, entry: Entry) -> Pictures:
        try:
            # Copy-on-write: torch wants writable memory, and the file must stay as it is.
            array = np.asarray(np.load(entry.array, mmap_mode="c", allow_pickle=False))
            sound = (
                array.shape == (len(entry.rows), self.resolution, self.resolution, 3)
                and array.dtype == np.uint8
            )
            if sound and zlib.crc32(array.data) == entry.crc32:
                return array
        except (OSError, ValueError, EOFError):
            pass
        self._drop(entry.index)
        self.entries.remove(entry)
        raise BrokenEntryError(entry.index)

    def _drop(self, index: Path) -> None:
        say(f"The cached pictures in {index.with_suffix('.npy')} are damaged: decoding them again.")
        if not self.may_write:
            return
        for path in (index, index.with_suffix(".npy")):
            _remove(path)

    # --- the folder ---

    def _write(self, path: Path, write: Callable[[IO[bytes]], object]) -> bool:
        """Through a temporary file and a rename, without fsync: the checksum finds what a power cut left."""
        if not self.may_write:
            return False
        temporary: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".tmp-", delete=False) as file:
                temporary = Path(file.name)
                write(file)
            temporary.replace(path)
        except OSError as error:
            if temporary is not None:
                _remove(temporary)
            if not self._complained:
                say(f"The cache {self.folder} can't be written ({(error.strerror or str(error)).lower()}): "
                    "the photographs will be decoded again at the next start.")  # fmt: skip
                self._complained = True
            return False
        return True

    def _touch(self, entry: Entry) -> None:
        """Say that it was used: the oldest go first. A cache that can only be read stays as it is."""
        if not self.may_write:
            return
        try:
            os.utime(entry.index)
        except OSError:
            return

    def _prune(self, keep: Path) -> None:
        """Remove the least recently used entries, of any resolution, until the cache is small enough."""
        arrays = [path for path in _files(self.folder, "*.npy") if path != keep.with_suffix(".npy")]
        arrays.sort(key=lambda path: _age(path.with_suffix(".json")))
        total = _size(keep.with_suffix(".npy"))
        for number, array in enumerate(arrays, 2):
            total += _size(array)
            if number > MAX_ENTRIES or total > MAX_BYTES:
                _remove(array.with_suffix(".json"))
                _remove(array)
        for source in sorted(_files(self.folder, "source-*.json"), key=_age)[MAX_SOURCES:]:
            _remove(source)
        for abandoned in _files(self.folder, ".tmp-*"):
            if _age(abandoned) > ABANDONED_S:
                _remove(abandoned)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _files(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
