"""Precision, recall, density and coverage: are the fakes real, and are all the reals there.

Kynkäänniemi et al., 'Improved Precision and Recall Metric for Assessing Generative Models' (NeurIPS 2019);
Naeem et al., 'Reliable Fidelity and Diversity Metrics for Generative Models' (ICML 2020), equations 1 to 4.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trainer.metrics.distances import distances

NEIGHBOURS = 5


@dataclass(frozen=True)
class Prdc:
    """All in [0, 1] but `density`, which has no such bound and is around 1 for equal distributions."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(fakes: Tensor, reals: Tensor, *, neighbours: int = NEIGHBOURS) -> Prdc:
    """Of features (n, d) and (m, d). A ball around each point reaches to its k-th nearest of the same set.

    Where a set has no more than `neighbours` members, all but the point itself are its neighbours.
    """
    between = distances(reals, fakes)
    k = min(neighbours, len(reals) - 1)
    real_reach, fake_reach = _reach(reals, neighbours), _reach(fakes, neighbours)
    in_real_ball = between < real_reach[:, None]
    return Prdc(
        precision=in_real_ball.any(0).double().mean().item(),
        recall=(between < fake_reach).any(1).double().mean().item(),
        density=in_real_ball.double().sum(0).mean().item() / k,
        coverage=in_real_ball.any(1).double().mean().item(),
    )


def _reach(features: Tensor, neighbours: int) -> Tensor:
    """Distance (n,) of each row to its k-th nearest other row; a row's own zero is the smallest of all."""
    k = min(neighbours, len(features) - 1)
    within = distances(features, features).fill_diagonal_(0.0)
    return within.kthvalue(k + 1, dim=1).values
