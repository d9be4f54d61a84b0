"""`trainer prepare`: a folder of photographs as found to one fit to learn from.

Checks, turns upright, cuts letterbox bars and the centre square, removes exact and near duplicates, and
writes a page of what was left out and why. Knows nothing of training; imports no torch unless the least
typical are to be left out.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trainer.data.decode import UnusableError, decode_whole
from trainer.data.sources import LeftOut, Source, open_source, printable
from trainer.errors import TrainerError, UsageError
from trainer.files import atomic_write
from trainer.hashes import perceptual_bits
from trainer.prepare.bars import without_bars
from trainer.prepare.page import CutRow, DuplicateRow, LeftOutRow, Page, render
from trainer.progress import track

if TYPE_CHECKING:
    from trainer.prepare.typicality import Typicality

HASH_SIDE = 16
"""Perceptual hashes of 256 bits: of 64, two bowls that differ are only 8 apart."""
NEAR_BITS = 32
"""On 2,262 photographs of ramen, centre squares: halved and re-compressed, captioned or brightened copies lie
up to 24 bits away, and different photographs, even of the same dish on the same table, from 50 on."""
JPEG_QUALITY = 95
THUMBNAIL = 96
MOST_THUMBNAILS = 200
"""In each section of the page: beyond that files are named without a picture."""


@dataclass(frozen=True)
class NearDuplicate:
    path: str
    kept: str
    """The larger picture that stands for both."""
    distance: int
    """In bits of 256; 0 for a file of the same content."""


@dataclass(frozen=True)
class PrepareReport:
    out: Path
    page: Path
    written: int
    left_out: tuple[LeftOut, ...]
    duplicates: tuple[NearDuplicate, ...]
    cut: tuple[str, ...]
    """Those whose letterbox bars were cut off."""
    untypical: tuple[str, ...] = ()
    """Left out as the least typical, the least of all first."""

    def describe(self) -> str:
        """One line for a person."""
        untypical = f", {len(self.untypical):,} as least typical" if self.untypical else ""
        return (
            f"{self.written:,} photographs in {self.out} (left out: {len(self.duplicates):,} as "
            f"duplicates, {len(self.left_out):,} as unusable{untypical}; bars cut: {len(self.cut):,}); "
            f"see {self.page}."
        )


@dataclass(frozen=True)
class _Square:
    """A photograph that was prepared; its pixels lie in the folder under its digest."""

    name: str
    digest: str
    pixels: int
    """Of the centre square as it was found."""
    hashes: NDArray[np.uint64]
    """(2, 4): the picture's and its mirror image's."""
    uncut: bytes | None
    """A thumbnail of the picture with its bars, where it had any."""


def prepare(
    source: Path,
    out: Path,
    *,
    resolution: int = 256,
    keep: float = 1.0,
    progress: bool = True,
    workers: int | None = None,
) -> PrepareReport:
    """Write the usable photographs of `source` (a folder or a zip) to `out` as upright sRGB JPEG squares.

    `out` becomes a folder, or a zip archive if its name ends in .zip; beside it lies a page named after it,
    `-report.html`. Squares larger than `resolution` px are reduced to it, smaller ones stay as they are, down
    to half of it. Names are content hashes, so that two runs over the same photographs give the same.
    Of those that are left, the most typical share `keep` is written (see `trainer.prepare.typicality`).

    Raises UsageError where `out` can't be taken or `keep` is no share, TrainerError where nothing is usable,
    a disk is full, or the pretrained network is missing that tells what is typical. Either way `out` is whole
    or not there.
    """
    if not out.name:  # the folder that one is in, or the root
        raise UsageError(f"{out} exists already: choose another --out.")
    page = out.with_name(f"{out.name.removesuffix('.zip')}-report.html")
    with closing(open_source(source)) as opened:
        _check_out(source, out, page)
        typicality = _typicality(keep)
        with _folder_beside(out) as folder:
            squares, left_out = _squares(opened, folder, resolution, progress, workers)
            if not squares:
                raise TrainerError(
                    f"{source} holds no picture that can be used ({len(left_out):,} left out): "
                    f"give a folder of photographs, at least {(resolution + 1) // 2} px on their short side."
                )
            kept, duplicates = _without_duplicates(squares)
            untypical: list[_Square] = []
            if typicality is not None:
                kept, untypical = _most_typical(kept, keep, typicality, folder, progress)
            report = PrepareReport(
                out,
                page,
                len(kept),
                tuple(left_out),
                tuple(duplicates),
                tuple(s.name for s in kept if s.uncut),
                tuple(s.name for s in untypical),
            )
            html = _page(report, opened, folder, squares)
            _drop_others(folder, {square.digest for square in kept})
            _deliver(folder, out)
    atomic_write(page, html.encode())
    return report


def _check_out(source: Path, out: Path, page: Path) -> None:
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"--out {out} lies inside of {source}: choose a place outside of the photographs.")
    empty = out.is_dir() and not any(out.iterdir()) and out.suffix != ".zip"
    for path in (out, page):
        if path.exists() and not (path == out and empty):
            raise UsageError(f"{path} exists already: choose another --out, or remove it first.")


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A hidden folder on the same disk that is gone afterwards, come what may."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.partial-"))
    except OSError as error:
        raise TrainerError(f"{out} can't be written: {error.strerror}.") from error
    try:
        yield folder
    except OSError as error:
        raise TrainerError(f"{out} can't be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _squares(
    source: Source, folder: Path, resolution: int, progress: bool, workers: int | None
) -> tuple[list[_Square], list[LeftOut]]:
    """Prepare every file, each into `folder`; those of the same content appear once for each name."""
    listing = source.scan()
    names = list(listing.stamps)
    squares: list[_Square] = []
    left_out = list(listing.left_out)
    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        warnings.simplefilter("ignore")  # of odd metadata: the reasons say what matters
        made = pool.map(lambda name: _square(source, name, folder, resolution), names)
        try:
            for result in track(made, len(names), "Preparing photographs", shown=progress):
                if isinstance(result, LeftOut):
                    left_out.append(result)
                else:
                    squares.append(result)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return squares, sorted(left_out, key=lambda file: file.path)


def _square(source: Source, name: str, folder: Path, resolution: int) -> _Square | LeftOut:
    shown = printable(name)
    try:
        data = source.read(name)
    except OSError as error:
        return LeftOut(shown, f"unreadable ({(error.strerror or str(error)).lower()})")
    smallest = (resolution + 1) // 2
    try:
        whole = decode_whole(data, smallest)
    except UnusableError as error:
        return LeftOut(shown, str(error))
    except MemoryError:
        return LeftOut(shown, "too large for the memory at hand")
    box = without_bars(whole)
    picture = whole.crop(box)
    side = min(picture.size)
    if side < smallest:
        return LeftOut(shown, f"smaller than {smallest} px on its short side without its bars")
    square = ImageOps.fit(picture, (min(side, resolution),) * 2, Image.Resampling.LANCZOS)
    digest = hashlib.sha256(data).hexdigest()
    # A name of its own for each writer: two files of the same content may be written at the same time.
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
        file.write(_jpeg(square, JPEG_QUALITY))
    Path(file.name).chmod(0o644)
    Path(file.name).replace(folder / _file_name(digest))
    uncut = _thumbnail(whole) if picture.size != whole.size else None
    return _Square(shown, digest, side * side, _hashes(square), uncut)


def _file_name(digest: str) -> str:
    return f"{digest[:32]}.jpg"


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, subsampling=0 if quality > 90 else 2, optimize=True)
    return buffer.getvalue()


def _thumbnail(picture: Image.Image) -> bytes:
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return _jpeg(small, 70)


# --- duplicates ---


def _hashes(square: Image.Image) -> NDArray[np.uint64]:
    """The perceptual hash of a square and of its mirror image, (2, 4) words."""
    words = [
        np.packbits(perceptual_bits(turned, HASH_SIDE)).view(np.uint64)
        for turned in (square, ImageOps.mirror(square))
    ]
    return np.stack(words)


def _without_duplicates(squares: list[_Square]) -> tuple[list[_Square], list[NearDuplicate]]:
    """Of pictures that look alike, mirrored or not, the largest stays, and of equals the first by content."""
    ordered = sorted(squares, key=lambda square: (-square.pixels, square.digest, square.name))
    kept: list[_Square] = []
    kept_hashes = np.zeros((len(ordered), 4), dtype=np.uint64)
    duplicates: list[NearDuplicate] = []
    for square in ordered:
        if kept:
            apart = np.bitwise_count(kept_hashes[: len(kept), None] ^ square.hashes).sum(axis=2).min(axis=1)
            nearest = int(apart.argmin())
            if apart[nearest] <= NEAR_BITS:
                duplicates.append(NearDuplicate(square.name, kept[nearest].name, int(apart[nearest])))
                continue
        kept_hashes[len(kept)] = square.hashes[0]
        kept.append(square)
    return sorted(kept, key=lambda square: square.name), sorted(duplicates, key=lambda pair: pair.path)


def _drop_others(folder: Path, kept: set[str]) -> None:
    names = {_file_name(digest) for digest in kept}
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()


# --- what is typical ---


def _typicality(keep: float) -> Typicality | None:
    """Made before the photographs are read: what it lacks is said at once. None where all are kept."""
    if not 0 < keep <= 1:
        raise UsageError(f"--keep {keep} has to be a share: more than 0, and 1 at most.")
    if keep == 1:
        return None
    from trainer.prepare.typicality import Typicality

    return Typicality()


def _most_typical(
    squares: list[_Square], keep: float, typicality: Typicality, folder: Path, progress: bool
) -> tuple[list[_Square], list[_Square]]:
    """The share `keep` of the squares, in their order, and the others, the least typical first."""
    densities = typicality([folder / _file_name(s.digest) for s in squares], progress=progress)
    ascending = np.argsort(densities, kind="stable")
    left_out = ascending[: len(squares) - max(1, round(keep * len(squares)))]
    dropped = set(left_out.tolist())
    kept = [square for index, square in enumerate(squares) if index not in dropped]
    return kept, [squares[index] for index in left_out]


# --- what is written ---


def _deliver(folder: Path, out: Path) -> None:
    """Make `out`, whole, of what lies in `folder`."""
    if out.suffix != ".zip":
        folder.chmod(0o755)
        if out.exists():
            out.rmdir()  # it is empty; replacing an empty folder is no matter of course everywhere
        folder.replace(out)
        return
    archive = folder / "archive"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(folder.glob("*.jpg")):
            # A fixed date, so that the same photographs give the same archive.
            file.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
    archive.replace(out)


def _page(report: PrepareReport, source: Source, folder: Path, squares: list[_Square]) -> str:
    digests = {square.name: square.digest for square in squares}
    uncut = {square.name: square.uncut for square in squares if square.uncut}

    def prepared(name: str) -> str:
        with Image.open(folder / _file_name(digests[name])) as picture:
            return _data_uri(_thumbnail(picture))

    duplicates = [
        DuplicateRow(pair.path, pair.kept, pair.distance, prepared(pair.path), prepared(pair.kept))
        if number < MOST_THUMBNAILS
        else DuplicateRow(pair.path, pair.kept, pair.distance, "", "")
        for number, pair in enumerate(report.duplicates)
    ]
    cut = [CutRow(name, _data_uri(uncut[name]), prepared(name)) for name in report.cut[:MOST_THUMBNAILS]]
    left_out = [
        LeftOutRow(
            file.path, file.reason, _unusable_thumbnail(source, file) if number < MOST_THUMBNAILS else ""
        )
        for number, file in enumerate(report.left_out)
    ]
    untypical = [
        LeftOutRow(name, "", prepared(name) if number < MOST_THUMBNAILS else "")
        for number, name in enumerate(report.untypical)
    ]
    return render(Page(printable(str(source.path)), report.written, left_out, duplicates, cut, untypical))


def _unusable_thumbnail(source: Source, file: LeftOut) -> str:
    """Of what is a picture all the same: only those that are too small can be shown."""
    if not file.reason.startswith("smaller"):
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _data_uri(_thumbnail(decode_whole(source.read(file.path), 1)))
    except (UnusableError, OSError, KeyError, MemoryError):
        return ""


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
