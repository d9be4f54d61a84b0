"""Euclidean distances between two sets of features, in float64, where there is one, so that copies come out
at zero."""

from torch import Tensor

from trainer.device import widest


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Distances (n, m) between the rows of (n, d) and (m, d)."""
    a, b = a.to(widest(a.device)), b.to(widest(b.device))
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T)
    return squares.clamp_min(0).sqrt()
