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

from trainer.datacache import ArrayCache, BrokenEntryError, default_cache
from trainer.decode import CACHE_VERSION, DECODE_VERSION, UnusableError, decode_square
from trainer.errors import TrainerError, UsageError
from trainer.files import atomic_write
from trainer.progress import track
from trainer.sources import LeftOut, Source, open_source, printable

__all__ = ["Dataset", "LeftOut", "load_dataset", "write_report"]

Pictures = NDArray[np.uint8]


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

    def describe(self) -> str:
        """One line for a person."""
        parts = [f"{len(self.training):,} photographs to learn from, {len(self.held_out):,} held out"]
        if self.duplicates:
            parts.append(f"{self.duplicates:,} duplicates used once")
        if self.left_out:
            parts.append(f"{len(self.left_out):,} files left out")
        return "; ".join(parts) + "."


@dataclass(frozen=True)
class _Content:
    """What a file's bytes turned out to be: pixels, or a reason, or neither where the cache holds it."""

    digest: str
    pixels: Pictures | None = None
    reason: str | None = None


def load_dataset(
    source: Path,
    resolution: int,
    *,
    cache: Path | None = None,
    held_out_share: float = 0.1,
    progress: bool = True,
    workers: int | None = None,
) -> Dataset:
    """Read every photograph in `source` (a folder, recursively, or a zip) as resolution × resolution RGB.

    The share that is held out is chosen by the SHA-256 of a file's bytes: a picture keeps its side whatever
    it is called and whatever is added, except that one picture at least is always on either side. What
    can't be used is left out and named. `cache` is the folder of decoded arrays, by default $TRAINER_CACHE or
    the user's cache folder; one that can't be written costs a line on standard error, nothing more.

    Raises UsageError where there is no such source, TrainerError where fewer than two pictures can be used.
    """
    if not 0.0 < held_out_share < 1.0:
        raise UsageError(f"The held-out share has to lie between 0 and 1: {held_out_share} does not.")
    folder = cache or default_cache()
    with closing(open_source(source)) as opened:
        while True:
            try:
                return _load(opened, ArrayCache(folder, resolution, CACHE_VERSION), resolution,
                             held_out_share, progress, workers)  # fmt: skip
            except BrokenEntryError:
                continue  # the entry is gone by now, so each turn has one less to stumble over


def _load(
    source: Source,
    arrays: ArrayCache,
    resolution: int,
    held_out_share: float,
    progress: bool,
    workers: int | None,
) -> Dataset:
    listed_ns = time.time_ns()
    listing = source.scan()
    digests = arrays.known_digests(source.path, listing.stamps)
    unread = [name for name in listing.stamps if not _in_cache(digests.get(name), arrays)]
    decoded: dict[str, Pictures] = {}
    reasons = dict(arrays.reasons)
    left_out = list(listing.left_out)
    for name, content in track(
        _read_all(source, unread, arrays, resolution, workers), len(unread), "Reading photographs",
        shown=progress and bool(unread),
    ):  # fmt: skip
        if isinstance(content, LeftOut):
            left_out.append(content)
            digests.pop(name, None)
            continue
        digests[name] = content.digest
        if content.pixels is not None:
            decoded[content.digest] = content.pixels
        elif content.reason is not None:
            reasons[content.digest] = content.reason
    left_out += [LeftOut(printable(n), reasons[digest]) for n, digest in digests.items() if digest in reasons]
    left_out.sort(key=lambda file: file.path)
    rejected = {digest: reasons[digest] for digest in digests.values() if digest in reasons}
    names = {digest: name for name, digest in sorted(digests.items(), reverse=True) if digest not in reasons}
    if len(names) < 2:
        raise TrainerError(_too_few(source.path, len(names), resolution, left_out))
    if unread:
        arrays.remember_digests(source.path, listing.stamps, digests, listed_ns)
    pictures, from_cache = _gather(sorted(names), decoded, rejected, arrays)
    usable = len(digests) - sum(digest in reasons for digest in digests.values())
    return _split(
        pictures, names, held_out_share, resolution, tuple(left_out), usable - len(names), from_cache
    )


def _in_cache(digest: str | None, arrays: ArrayCache) -> bool:
    return digest is not None and (digest in arrays.reasons or arrays.holds(digest))


def _read_all(
    source: Source, names: list[str], arrays: ArrayCache, resolution: int, workers: int | None
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
            return name, _Content(digest, pixels=decode_square(data, resolution))
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


def _gather(
    digests: list[str], decoded: dict[str, Pictures], rejected: dict[str, str], arrays: ArrayCache
) -> tuple[Pictures, bool]:
    """One array with a row for each of the sorted digests, and whether the cache had it as it is."""
    pictures = arrays.whole(digests)
    if pictures is not None:
        arrays.store_reasons(digests, rejected)
        return pictures, True
    resolution = arrays.resolution
    pictures = np.empty((len(digests), resolution, resolution, 3), dtype=np.uint8)
    for row, digest in enumerate(digests):
        if (pixels := decoded.pop(digest, None)) is not None:  # popped: never two copies of everything
            pictures[row] = pixels
    arrays.fill(pictures, digests)
    arrays.store(digests, pictures, rejected)
    return pictures, False


def _split(
    pictures: Pictures,
    names: dict[str, str],
    held_out_share: float,
    resolution: int,
    left_out: tuple[LeftOut, ...],
    duplicates: int,
    from_cache: bool,
) -> Dataset:
    """Rows lie in the order of their hashes, so the held-out ones, those with low hashes, are the first."""
    digests = sorted(names)
    limit = int(held_out_share * 2**64)
    count = sum(int(digest[:16], 16) < limit for digest in digests)
    count = min(max(count, 1), len(digests) - 1)
    shown = tuple(printable(names[digest]) for digest in digests)
    whole = "\n".join([*digests, f"{resolution} px", f"decoder {DECODE_VERSION}"])
    return Dataset(
        training=pictures[count:],
        held_out=pictures[:count],
        training_names=shown[count:],
        held_out_names=shown[:count],
        left_out=left_out,
        duplicates=duplicates,
        fingerprint=hashlib.sha256(whole.encode()).hexdigest(),
        from_cache=from_cache,
    )


def _too_few(path: Path, usable: int, resolution: int, left_out: list[LeftOut]) -> str:
    found = f"{path} holds {'no picture' if usable == 0 else 'only one picture'} that can be used"
    if left_out:
        counts = Counter(file.reason for file in left_out).most_common(3)
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
