"""How much like a photograph the critic finds a picture, by its features rather than by its output.

A Wasserstein critic's output says where a generator makes too little, and of its pictures the highest are the
rarest (docs/experiments.md). What the critic has learned to see is in its features: a picture that lies among
photographs there is one that it can't tell from them.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 3
_TINY = 1e-9


class Realism:
    """The realism score of Kynkäänniemi et al. 2019 (https://arxiv.org/abs/1904.06991, section 5, eq. 3).

    A photograph's sphere reaches to its third nearest other; those in the denser half are asked. The score is
    the greatest ratio of a sphere's radius to the picture's distance from its centre: 1 on its surface, more
    inside. Features are measured in units of their spread over the photographs.
    """

    def __init__(self, photographs: Tensor) -> None:
        """`photographs`: the critic's features (m, d) of photographs it was not trained on, m at least 1."""
        self._mean = photographs.mean(0)
        spread = photographs.std(0, unbiased=False)
        # what hardly varies over the photographs is no yardstick
        self._spread = spread.clamp_min(0.05 * float(spread.mean())).clamp_min(1e-6)
        points = self._standardised(photographs)
        neighbours = min(NEIGHBOURS, len(points) - 1)
        apart = _distances(points, points)
        # each is its own nearest; alone it has no other
        radii = apart.kthvalue(neighbours + 1, dim=1).values if neighbours else apart.new_ones(1)
        dense = radii <= radii.median()
        self._centres, self._radii = points[dense], radii[dense]
        self._own = self._ratio(apart.fill_diagonal_(torch.inf)[:, dense])

    def __call__(self, features: Tensor) -> Tensor:
        """Scores (n,) of the critic's features (n, d) of pictures."""
        return self._ratio(_distances(self._standardised(features), self._centres))

    def quantiles(self, count: int) -> tuple[float, ...]:
        """The photographs' own scores, each against the others, at probabilities 0, 1/count, ..., 1."""
        marks = torch.linspace(0, 1, count + 1, device=self._own.device)
        return tuple(torch.quantile(self._own, marks).tolist())

    def _standardised(self, features: Tensor) -> Tensor:
        return (features - self._mean) / self._spread

    def _ratio(self, apart: Tensor) -> Tensor:
        return (self._radii / (apart + _TINY)).amax(1)


def _distances(points: Tensor, others: Tensor) -> Tensor:
    """Distances (n, m), computed so that a batch's other members don't change them."""
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")
