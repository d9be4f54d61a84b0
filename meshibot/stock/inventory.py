"""What waits: of which checkpoint, whether its files can be used, and how a person takes some of it out."""

import stat
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from meshibot.database import Database, Picture, PictureState
from meshibot.database.queries import by_id, is_id
from meshibot.errors import UsageError

DROPPED = "A person took it out of the stock."
_WAITS = Picture.state == PictureState.APPROVED


def waiting(database: Database, preferred: str | None = None) -> list[Picture]:
    """The pictures that wait, the next one first: those of the checkpoint with this SHA-256 before others."""
    order = [Picture.id] if preferred is None else [Picture.checkpoint != preferred, Picture.id]
    with database.read() as session:
        return list(session.scalars(select(Picture).where(_WAITS).order_by(*order)))


def of_others(database: Database, checkpoint: str) -> int:
    """How many wait that were made by other checkpoints than the one with this SHA-256."""
    with database.read() as session:
        return session.scalar(select(func.count()).where(_WAITS, Picture.checkpoint != checkpoint)) or 0


def find(database: Database, picture: int) -> Picture:
    """A picture by its id, whatever became of it. UsageError where there is none."""
    with database.read() as session:
        row = by_id(session, Picture, picture)
    if row is None:
        raise UsageError(f"There is no picture {picture}: see `meshibot stock list`.")
    return row


def drop(database: Database, pictures: Collection[int]) -> int:
    """Take pictures out of the stock, all of them or none; how many.

    Raises UsageError for one that does not wait: it was posted, say, or is being posted.
    """
    with database.write() as session:
        found = _rejected(session, Picture.id.in_(filter(is_id, pictures)), DROPPED)
        missing = sorted(set(pictures) - {picture.id for picture in found})
        if missing:
            raise UsageError(
                f"Picture {missing[0]} does not wait, so none was taken out: see `meshibot stock list`."
            )
        return len(found)


def clear(database: Database, *, keep: str | None = None) -> int:
    """Take out all that wait, or all but those of the checkpoint with the SHA-256 `keep`; how many."""
    with database.write() as session:
        which = Picture.checkpoint != keep if keep else _WAITS
        return len(_rejected(session, which, DROPPED))


def set_aside(database: Database, faults: Iterable[tuple[int, str]]) -> int:
    """Take out pictures that can't be used, each with the reason; how many."""
    with database.write() as session:
        return sum(len(_rejected(session, Picture.id == picture, fault)) for picture, fault in faults)


def is_lost(file: Path) -> str | None:
    """Why a picture's file can't be there any more, told without opening it; None where it may be sound."""
    try:
        sound = file.is_file() and file.stat().st_size > 0
    except OSError as error:
        return f"Its file can't be looked at ({error.strerror})."
    return None if sound else "Its file is missing or empty."


def fault_of(file: Path) -> str | None:
    """Why a picture's file can't be posted, in a sentence; None where it can be. Decodes all of it."""
    from PIL import Image  # for those who post

    if (lost := is_lost(file)) is not None:
        return lost
    try:
        with Image.open(file) as image:
            if max(image.size) > _LARGEST:
                return (
                    f"Its file is a picture of {image.width} by {image.height} pixels, which is none of ours."
                )
            image.load()
    except Exception as error:  # noqa: BLE001 (Pillow raises a dozen kinds for files that are damaged)
        return f"Its file is damaged ({type(error).__name__})."
    return None


_LARGEST = 4096
"""Pixels a side: no checkpoint makes more."""


def _rejected(session: Session, which: ColumnElement[bool], reason: str) -> Sequence[Picture]:
    found = session.scalars(select(Picture).where(_WAITS, which).with_for_update()).all()
    for picture in found:
        picture.state, picture.reason = PictureState.REJECTED, reason
    return found


def fingerprint(checkpoint: Path) -> str | None:
    """The SHA-256 of a checkpoint as it is now, hashed anew only when it was changed; None for no file."""
    try:
        at = checkpoint.stat()
        if not stat.S_ISREG(at.st_mode):  # a pipe or a device has no end
            return None
        return _hashed(checkpoint, at.st_mtime_ns, at.st_size)
    except OSError:
        return None


@lru_cache(maxsize=2)
def _hashed(checkpoint: Path, _: int, __: int) -> str:
    from trainer.metadata import fingerprint_of

    return fingerprint_of(checkpoint)
