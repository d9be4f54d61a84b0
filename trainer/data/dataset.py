"""A folder or zip of photographs to one uint8 array, the held-out split, and the report of what was left out.

Each picture is decoded once: the array is kept on disk by content, so that the second start is immediate
whatever the files are called by then. Imports no torch.
"""

import hashlib
import json
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.cache import ArrayCache, BrokenEntryError, default_cache
from trainer.data.decode import CACHE_VERSION, UnusableError, decode_square
from trainer.data.sources import LeftOut, Source, open_source, printable
from trainer.errors import TrainerError, UsageError
from trainer.files import atomic_write
from trainer.progress import track

__all__ = ["Dataset", "LeftOut", "load_dataset", "write_report"]

Pictures = NDArray[np.uint8]
HELD_OUT_SHARE = 0.1
MOST_NAMED = 20
"""Files left out that are named one by one to a person; data_report.json has them all."""


@dataclass(frozen=True)
class Dataset:
    """Pictures as uint8 sRGB, in the order of their content's SHA-256, split by it as well."""

    training: Pictures
    """(n, resolution, resolution, 3)."""
    held_out: Pictures
    """(m, resolution, resolution, 3)."""
    training_names: tuple[str, ...]
    """Paths within the source, one for each row of `training`."""
    held_out_names: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    duplicates: int
    """Files whose content had been seen already: the same content is used once."""
    fingerprint: str
    """Of what is learned from, at its resolution; independent of names and order."""
    from_cache: bool

    def describe(self) -> list[str]:
        """For a person: how many there are of each kind, and what was left out, in lines that can be read."""
        counts = Counter(_kind(file.reason) for file in self.left_out)
        if len(self.left_out) <= MOST_NAMED:
            lines = [f"left out {file.path}: {file.reason}" for file in self.left_out]
        else:
            lines = [f"left out {count:,} files: {kind}" for kind, count in counts.most_common()]
        return [
            *lines,
            f"{len(self.training)} photographs to train on, {len(self.held_out)} held out, "
            f"{len(self.left_out)} left out, {self.duplicates} duplicates.",
        ]


def _kind(reason: str) -> str:
    """A reason without what is particular to a file."""
    return reason.partition(" (")[0]


@dataclass(frozen=True)
class _Content:
    """What a file's bytes turned out to be: pixels, or a reason, or neither where the cache holds it."""

    digest: str
    pixels: Pictures | None = None
    reason: str | None = None


@dataclass(frozen=True)
class _Contents:
    """What all of a source's files are."""

    digests: dict[str, str]
    """Name to content hash, of every file that could be read."""
    decoded: dict[str, Pictures]
    """By content hash, what the cache did not hold."""
    rejected: dict[str, str]
    """By content hash, why it can't be used."""
    left_out: tuple[LeftOut, ...]

    def names(self) -> dict[str, str]:
        """Content hash to file, of what can be used: the first name where there are several."""
        by_name = sorted(self.digests.items(), reverse=True)
        return {digest: name for name, digest in by_name if digest not in self.rejected}

    def duplicates(self) -> int:
        usable = sum(digest not in self.rejected for digest in self.digests.values())
        return usable - len(self.names())


def load_dataset(
    source: Path,
    resolution: int,
    *,
    cache: Path | None = None,
    held_out_share: float = HELD_OUT_SHARE,
    progress: bool = True,
    workers: int | None = None,
    write: bool = True,
) -> Dataset:
    """Read every photograph in `source` (a folder, recursively, or a zip) as resolution × resolution RGB.

    The share that is held out is chosen by the SHA-256 of a file's bytes: a picture keeps its side whatever
    it is called and whatever is added, except that one picture at least is always on either side. What
    can't be used is left out and named. `cache` is the folder of decoded arrays, by default $TRAINER_CACHE or
    the user's cache folder; one that can't be written costs a line on standard error, nothing more. Without
    `write` it is read only.

    Raises UsageError where there is no such source, TrainerError where fewer than two pictures can be used
    or all are one.
    """
    if not 0.0 < held_out_share < 1.0:
        raise UsageError(f"The held-out share has to lie between 0 and 1: {held_out_share} does not.")
    folder = cache or default_cache()
    broken: set[Path] = set()
    with closing(open_source(source)) as opened:
        while True:
            try:
                arrays = ArrayCache(folder, resolution, CACHE_VERSION, write=write, without=broken)
                return _load(opened, arrays, held_out_share, progress, workers)
            except BrokenEntryError as error:
                broken.add(error.index)  # each turn has one less to stumble over


def _load(
    source: Source, arrays: ArrayCache, held_out_share: float, progress: bool, workers: int | None
) -> Dataset:
    contents = _read_contents(source, arrays, progress, workers)
    names = contents.names()
    if len(names) < 2:
        raise TrainerError(_too_few(source.path, len(names), arrays.resolution, contents.left_out))
    digests = sorted(names)
    pictures, from_cache = _gather(digests, contents, arrays)
    if all(np.array_equal(picture, pictures[0]) for picture in pictures):
        raise TrainerError(
            f"{source.path} holds one and the same picture {len(pictures):,} times: give a folder of "
            "photographs that differ."
        )
    split = _held_out_count(digests, held_out_share)
    shown = tuple(printable(names[digest]) for digest in digests)
    return Dataset(
        training=pictures[split:],
        held_out=pictures[:split],
        training_names=shown[split:],
        held_out_names=shown[:split],
        left_out=contents.left_out,
        duplicates=contents.duplicates(),
        fingerprint=_fingerprint(digests, arrays.resolution),
        from_cache=from_cache,
    )


def _read_contents(source: Source, arrays: ArrayCache, progress: bool, workers: int | None) -> _Contents:
    """Read what is not known already: nothing at all of a source that has not changed."""
    listed_ns = time.time_ns()
    listing = source.scan()
    digests = arrays.known_digests(source.path, listing.stamps)
    unread = [name for name in listing.stamps if not _in_cache(digests.get(name), arrays)]
    decoded: dict[str, Pictures] = {}
    reasons = dict(arrays.reasons)
    left_out = list(listing.left_out)
    results = _read_all(source, unread, arrays, workers)
    shown = progress and bool(unread)
    for name, content in track(results, len(unread), "Reading photographs", shown=shown):
        if isinstance(content, LeftOut):
            left_out.append(content)
            digests.pop(name, None)
            continue
        digests[name] = content.digest
        if content.pixels is not None:
            decoded[content.digest] = content.pixels
        elif content.reason is not None:
            reasons[content.digest] = content.reason
    if unread:
        arrays.remember_digests(source.path, listing.stamps, digests, listed_ns)
    rejected = {digest: reasons[digest] for digest in digests.values() if digest in reasons}
    left_out += [LeftOut(printable(name), rejected[d]) for name, d in digests.items() if d in rejected]
    return _Contents(digests, decoded, rejected, tuple(sorted(left_out, key=lambda file: file.path)))


def _in_cache(digest: str | None, arrays: ArrayCache) -> bool:
    return digest is not None and (digest in arrays.reasons or arrays.holds(digest))


def _read_all(
    source: Source, names: list[str], arrays: ArrayCache, workers: int | None
) -> Iterator[tuple[str, _Content | LeftOut]]:
    """Read, hash and decode in threads: Pillow and hashlib let go of the interpreter's lock while they work,
    and on two cores a pool of processes measured only a tenth faster (benchmarked on 2,262 JPEGs)."""

    def read(name: str) -> tuple[str, _Content | LeftOut]:
        try:
            data = source.read(name)
        except OSError as error:
            return name, LeftOut(printable(name), f"unreadable ({(error.strerror or str(error)).lower()})")
        digest = hashlib.sha256(data).hexdigest()
        if _in_cache(digest, arrays):
            return name, _Content(digest)
        try:
            return name, _Content(digest, pixels=decode_square(data, arrays.resolution))
        except UnusableError as error:
            return name, _Content(digest, reason=str(error))
        except MemoryError:  # of this machine today, not of the content: never remembered
            return name, LeftOut(printable(name), "too large for the memory at hand")

    # Filters are the process's own, so they are set here and not in the threads: Pillow warns of large
    # pictures and odd metadata, of which the reasons say what matters.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        warnings.simplefilter("ignore")
        try:
            yield from pool.map(read, names)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for the rest
            raise


def _gather(digests: list[str], contents: _Contents, arrays: ArrayCache) -> tuple[Pictures, bool]:
    """One array with a row for each of the sorted digests, and whether the cache had it as it is."""
    whole = arrays.whole(digests)
    if whole is not None:
        arrays.store_reasons(digests, contents.rejected)
        return whole, True
    pictures = np.empty((len(digests), arrays.resolution, arrays.resolution, 3), dtype=np.uint8)
    cached = {}
    for row, digest in enumerate(digests):
        if (pixels := contents.decoded.pop(digest, None)) is not None:  # popped: never all of them twice
            pictures[row] = pixels
        else:
            cached[digest] = row
    arrays.fill(pictures, cached)
    arrays.store(digests, pictures, contents.rejected)
    return pictures, False


def is_held_out(digest: str, share: float = HELD_OUT_SHARE) -> bool:
    """On which side a file with this SHA-256, in hex, lies."""
    return int(digest[:16], 16) < int(share * 2**64)


def _held_out_count(digests: list[str], share: float) -> int:
    """Rows lie in the order of their hashes, so the held-out ones, those with the lowest, come first."""
    count = sum(is_held_out(digest, share) for digest in digests)
    return min(max(count, 1), len(digests) - 1)


def _fingerprint(digests: list[str], resolution: int) -> str:
    # Of the files, not of the decoder: a better one must not part a run from its photographs. The last line
    # is from when it was, and stays so that runs of then can be resumed.
    whole = [*digests, f"{resolution} px", "decoder 1"]
    return hashlib.sha256("\n".join(whole).encode()).hexdigest()


def _too_few(path: Path, usable: int, resolution: int, left_out: tuple[LeftOut, ...]) -> str:
    found = f"{path} holds {'no picture' if usable == 0 else 'only one picture'} that can be used"
    if left_out:
        counts = Counter(_kind(file.reason) for file in left_out).most_common(3)
        found += (
            f" ({len(left_out):,} left out: " + ", ".join(f"{n:,} {reason}" for reason, n in counts) + ")"
        )
    return f"{found}: give a folder of photographs, at least {(resolution + 1) // 2} px on their short side."


def write_report(dataset: Dataset, path: Path) -> None:
    """Write what was used and each file that was left out, with the reason, as JSON.

    Raises TrainerError where `path` can't be written.
    """
    document = {
        "training": len(dataset.training),
        "held_out": len(dataset.held_out),
        "duplicates": dataset.duplicates,
        "fingerprint": dataset.fingerprint,
        "left_out": [asdict(file) for file in dataset.left_out],
    }
    atomic_write(path, (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode())
