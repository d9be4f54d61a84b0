"""A picture made again from its seed, at another size: the same pixels as at first, scaled as posts are."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from meshibot.database import Picture
from meshibot.errors import UsageError
from meshibot.stock import inventory
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
    if inventory.fingerprint(checkpoint) != fingerprint:
        return None
    at = checkpoint.stat()
    return _read(checkpoint, at.st_mtime_ns, at.st_size)


@lru_cache(maxsize=2)
def _read(checkpoint: Path, _: int, __: int) -> dict[str, Any] | None:
    from trainer.errors import TrainerError
    from trainer.metadata import read_metadata

    try:
        metadata = read_metadata(checkpoint)
    except TrainerError:
        return None
    return {
        "name": checkpoint.name,
        "step": metadata.step,
        "resolution": metadata.resolution,
        "objective": metadata.objective,
    }
