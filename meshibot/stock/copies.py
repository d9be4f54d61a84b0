"""Which pictures that were drawn anew are too near to training photographs, by both ways to tell."""

from typing import TYPE_CHECKING

from PIL import Image

from meshibot.stock.selection import COPY_DISTANCE, nearest
from trainer.checkpoint import Checkpoint
from trainer.hashes import perceptual_hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHUNK = 16
"""Pictures that are looked at at once, as candidates are."""


def are_copies(checkpoint: Checkpoint, pictures: "NDArray[np.uint8]") -> list[bool]:
    """Of each of the pictures (n, r, r, 3) whether its hash or its features are those of a photograph."""
    training = frozenset(int(text, 16) for text in checkpoint.metadata.training_hashes)
    found: list[bool] = []
    for start in range(0, len(pictures), _CHUNK):
        part = pictures[start : start + _CHUNK]
        by_features = checkpoint.find_copies(part).tolist()
        found += [
            features or nearest(perceptual_hash(Image.fromarray(picture)), training) < COPY_DISTANCE
            for picture, features in zip(part, by_features, strict=True)
        ]
    return found
