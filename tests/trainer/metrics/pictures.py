"""Small pictures for the metrics: discs on gradients, different for every seed."""

import numpy as np
from numpy.typing import NDArray


def discs(count: int, side: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 (count, side, side, 3): a textured disc of random place, size and colour."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side] / side
    pictures = np.empty((count, side, side, 3), dtype=np.uint8)
    for picture in pictures:
        row, column, radius = rng.uniform(0.3, 0.7, 3) * (1, 1, 0.6)
        inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        ground, disc = rng.uniform(40, 215, (2, 3))
        values = np.where(inside[..., None], disc, ground + 30 * (rows[..., None] - 0.5))
        picture[:] = np.clip(values + rng.normal(0, 6, values.shape), 0, 255).astype(np.uint8)
    return pictures


def blurred(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each pixel the mean of 3 × 3."""
    shifted = [np.roll(pictures.astype(float), (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    result: NDArray[np.uint8] = np.mean(shifted, axis=0).astype(np.uint8)
    return result
