"""Diversity: how far pictures of one set lie from one another."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.metrics.distances import distances


def pairwise_diversity(features: Tensor, reference: Tensor) -> float:
    """Mean distance between two of `features` (n, d), over the same between two of `reference` (m, d).

    1 for fakes as diverse as the reals; 0 where all are one picture, the end of a mode collapse.
    """
    return _mean_pair(features) / _mean_pair(reference)


def _mean_pair(features: Tensor) -> float:
    """Over all pairs of different members."""
    count = len(features)
    between = torch.triu(distances(features, features), diagonal=1)
    return float(between.sum().item() / (count * (count - 1) / 2))
