"""Euclidean distances between two sets of features, in float64 so that copies come out at zero."""

import torch
from torch import Tensor

_ROWS = 512


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Distances (n, m) between the rows of (n, d) and (m, d)."""
    a, b = a.double(), b.double()
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T)
    return squares.clamp_min(0).sqrt()


def mean_nearest(a: Tensor, b: Tensor, neighbours: int) -> Tensor:
    """Mean distance (n,) of each row of (n, d) to its nearest rows of (m, d): `neighbours` of them, or all
    where there are fewer."""
    nearest = [
        distances(rows, b).topk(min(neighbours, len(b)), largest=False).values.mean(1)
        for rows in a.split(_ROWS)
    ]
    return torch.cat(nearest)
