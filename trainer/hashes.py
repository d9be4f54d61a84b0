"""Perceptual hashes: pictures that look alike have hashes of which few bits differ. Needs no torch."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_OVERSAMPLING = 4


def perceptual_bits(image: Image.Image, side: int = 8) -> NDArray[np.bool_]:
    """The DCT hash (Zauner 2010, https://www.phash.org; ImageHash's `phash`) as bits (side, side).

    Which of the lowest `side` x `side` frequencies of the grey picture lie above their median.
    """
    size = side * _OVERSAMPLING
    grey = image.convert("RGB").convert("L").resize((size, size), Image.Resampling.LANCZOS)
    waves = _waves(side, size)
    # what is zero but for rounding has to be zero: the bits of a plain picture would be chance otherwise
    frequencies = (waves @ np.asarray(grey, dtype=np.float64) @ waves.T).round(6)
    return frequencies > np.median(frequencies)


def perceptual_hash(image: Image.Image) -> int:
    """The 64 bits as one unsigned integer."""
    return int.from_bytes(np.packbits(perceptual_bits(image)).tobytes())


@cache
def _waves(count: int, size: int) -> NDArray[np.float64]:
    """The first rows (count, size) of the DCT-II's matrix."""
    return np.cos(math.pi / size * np.outer(np.arange(count), np.arange(size) + 0.5))
