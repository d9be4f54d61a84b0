"""Diversity: how far pictures of one set lie from one another."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.metrics.distances import distances


def pairwise_diversity(features: Tensor, reference: Tensor) -> float:
    """Mean distance between two of `features` (n, d), over the same between two of `reference` (m, d).

    1 for fakes as diverse as the reals, also where the reals are all alike and nothing can be told; 0 where
    all fakes are one picture, the end of a mode collapse.
    """
    spread = _mean_pair(reference)
    return _mean_pair(features) / spread if spread else 1.0


def colour_variety(pictures: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """`pairwise_diversity` of the pictures (n, r, r, 3) at 4 x 4 pixels: of colours and their places alone.

    Features see texture first; fakes that are all one colour can have texture and differ in it.
    """
    return pairwise_diversity(_thumbnails(pictures), _thumbnails(reference))


def _thumbnails(pictures: NDArray[np.uint8]) -> Tensor:
    """Means of 16 blocks, (n, 48)."""
    n, size, _, channels = pictures.shape
    block = size // 4
    blocks = pictures.reshape(n, 4, block, 4, block, channels).mean(axis=(2, 4))
    return torch.from_numpy(blocks.reshape(n, -1))


def _mean_pair(features: Tensor) -> float:
    """Over all pairs of different members."""
    count = len(features)
    between = torch.triu(distances(features, features), diagonal=1)
    return float(between.sum().item() / (count * (count - 1) / 2))
