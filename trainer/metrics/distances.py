"""Euclidean distances between two sets of features, in float64 so that copies come out at zero."""

from torch import Tensor


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Distances (n, m) between the rows of (n, d) and (m, d)."""
    a, b = a.double(), b.double()
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T)
    return squares.clamp_min(0).sqrt()
