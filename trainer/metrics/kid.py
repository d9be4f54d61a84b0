"""Kernel inception distance: the unbiased MMD² with a cubic kernel, on any features.

Bińkowski et al., 'Demystifying MMD GANs' (ICLR 2018), section 4;
Gretton et al., 'A Kernel Two-Sample Test' (JMLR 2012), lemma 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Kid:
    """Mean and standard deviation over subsets. Unbiased: around 0, negative too, for equal distributions."""

    mean: float
    deviation: float


def kid(a: Tensor, b: Tensor, *, subset_size: int = 1000, subsets: int = 100, seed: int = 0) -> Kid:
    """Of features (n, d) and (m, d), over random subsets of both, as large as `subset_size`, n and m allow.

    Where no more than `subset_size` of either are there, the one subset is everything.
    """
    if len(a) <= subset_size and len(b) <= subset_size:
        return Kid(mmd2(a, b), 0.0)
    rng = torch.Generator().manual_seed(seed)
    values = [mmd2(_draw(a, subset_size, rng), _draw(b, subset_size, rng)) for _ in range(subsets)]
    return Kid(float(np.mean(values)), float(np.std(values)))


def sharp_kid(a: Tensor, b: Tensor, *, blocks: int = 10) -> Kid:
    """Of all of (n, d) against all of (m, d): unbiased, it needs no equal halves. The deviation is that of
    the mean over blocks of `a`, for the same `b`: how much another draw of `a` would change it."""
    parts = [mmd2(part, b) for part in a.chunk(blocks) if len(part) > 1]
    rough = float(np.std(parts, ddof=1) / np.sqrt(len(parts))) if len(parts) > 1 else 0.0
    return Kid(mmd2(a, b), rough)


def mmd2(a: Tensor, b: Tensor) -> float:
    """Unbiased MMD² of (n, d) and (m, d), with k(x, y) = (x·y / d + 1)³, in float64."""
    n, m, size = len(a), len(b), a.shape[1]
    if min(n, m) < 2:
        raise ValueError("an unbiased MMD² needs two samples on either side")
    a, b = a.double(), b.double()
    within_a, within_b, between = (((x @ y.T) / size + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    value = (
        (within_a.sum() - within_a.trace()) / (n * (n - 1))
        + (within_b.sum() - within_b.trace()) / (m * (m - 1))
        - 2 * between.mean()
    )
    return float(value.item())


def _draw(features: Tensor, size: int, rng: torch.Generator) -> Tensor:
    chosen = torch.randperm(len(features), generator=rng)[:size]
    return features[chosen.to(features.device)]
