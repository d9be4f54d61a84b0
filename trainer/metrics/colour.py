"""Distance of colours, which the sliced Wasserstein distance can't see because it normalises them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def colour_distance(pictures: NDArray[np.uint8], others: NDArray[np.uint8]) -> float:
    """2-Wasserstein distance between normal distributions fitted to the RGB values of all pixels.

    `pictures`, `others`: uint8 (n, h, w, 3). In levels of 0 to 255: a cast of c in one channel gives c.
    √(‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2 (Σ₁^½ Σ₂ Σ₁^½)^½)): Dowson and Landau (1982).
    """
    (mean, covariance), (other_mean, other_covariance) = _moments(pictures), _moments(others)
    root = _square_root(covariance)
    cross = _square_root(root @ other_covariance @ root)
    shape = np.trace(covariance + other_covariance - 2 * cross)
    return float(np.sqrt(np.sum((mean - other_mean) ** 2) + max(shape, 0.0)))


def _moments(pictures: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (3,) and covariance (3, 3) of the pixels, from sums taken picture by picture to spare memory."""
    pixels = pictures.shape[1] * pictures.shape[2]
    total, products = np.zeros(3), np.zeros((3, 3))
    for picture in pictures:
        values = picture.reshape(-1, 3).astype(np.float64)
        total += values.sum(0)
        products += values.T @ values
    mean = total / (len(pictures) * pixels)
    return mean, products / (len(pictures) * pixels) - np.outer(mean, mean)


def _square_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a symmetric positive semidefinite matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    root: NDArray[np.float64] = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root
