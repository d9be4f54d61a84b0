"""A picture made again from its seed, at another size: the same pixels as at first, scaled as posts are."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from meshibot.database import Picture
from meshibot.errors import UsageError
from meshibot.stock.sampler import draw_in_child

SIZES = (256, 512, 768, 1024)
"""Pixels that are offered."""
LARGEST = 1024


def make(checkpoint: Path, picture: Picture, side: int, target: Path) -> None:
    """Write it as a PNG of `side` pixels, at most 1,024. UsageError where its checkpoint is another one.

    Raises also what the sampling child says.
    """
    if not 16 <= side <= LARGEST:
        raise UsageError(f"The size is {side}: write a number of pixels from 16 to {LARGEST}.")
    if origin(checkpoint, picture.checkpoint) is None:
        raise UsageError(
            f"Picture {picture.id} was made by another checkpoint ({picture.checkpoint[:12]}): set "
            "MESHIBOT_CHECKPOINT to that one."
        )
    draw_in_child(checkpoint, picture.seed, side, target)


def origin(checkpoint: Path, fingerprint: str) -> dict[str, Any] | None:
    """What the configured checkpoint says of itself, where it is that of the fingerprint; None otherwise."""
    try:
        at = checkpoint.stat()
    except OSError:
        return None
    found = _read(checkpoint, at.st_mtime_ns, at.st_size)
    return found if found["fingerprint"] == fingerprint else None


def fingerprint(checkpoint: Path) -> str:
    """The SHA-256 of the configured checkpoint; nothing where it can't be read."""
    try:
        at = checkpoint.stat()
        return str(_read(checkpoint, at.st_mtime_ns, at.st_size)["fingerprint"])
    except OSError:
        return ""


@lru_cache(maxsize=2)
def _read(checkpoint: Path, _: int, __: int) -> dict[str, Any]:
    """Once for each content: hashing the file is the dear part."""
    from trainer.checkpoint import read_metadata
    from trainer.errors import TrainerError

    try:
        metadata = read_metadata(checkpoint)
    except TrainerError:
        return {"fingerprint": ""}
    with checkpoint.open("rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "fingerprint": fingerprint,
        "name": checkpoint.name,
        "step": metadata.step,
        "resolution": metadata.resolution,
        "objective": metadata.objective,
    }
