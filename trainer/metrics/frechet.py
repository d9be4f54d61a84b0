"""Fréchet distance of two sets of features, taken for Gaussians.

Heusel et al., 'GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium' (NeurIPS
2017), equation 6. Biased: it shrinks as sets grow, so it stands beside a floor of sets as large.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frechet(a: Tensor, b: Tensor) -> float:
    """‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2(Σ₁Σ₂)^½) of features (n, d) and (m, d), n and m at least 2.

    tr((Σ₁Σ₂)^½) is the sum of the singular values of XYᵀ for centred rows X, Y with Σ₁ = XᵀX, Σ₂ = YᵀY: no
    root of a matrix that may be singular.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError("a Fréchet distance needs two samples on either side")
    a, b = a.double(), b.double()
    x, y = (_centred(each) for each in (a, b))
    between = torch.linalg.svdvals(x @ y.T).sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return float((apart + x.square().sum() + y.square().sum() - 2 * between).item())


def _centred(features: Tensor) -> Tensor:
    """At most d rows whose products sum up to the covariance."""
    deviations = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    rows: Tensor = torch.linalg.qr(deviations, mode="r").R
    return rows
