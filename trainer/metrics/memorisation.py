"""Memorisation: do fakes lie nearer to the training photographs than photographs that were never shown do?

In the spirit of the three-sample test of Meehan et al., 'A Non-Parametric Test to Detect Data-Copying in
Generative Models' (AISTATS 2020). Dividing by the distance to held-out photographs keeps plain, smooth
pictures from passing for copies: they are near to everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.metrics.distances import distances

COPY_QUANTILE = 0.05
_CHUNK = 256


@dataclass(frozen=True)
class ClosestPair:
    """A fake and its nearest training photograph, by index, beside its nearest held-out photograph."""

    fake: int
    training: int
    held_out: int
    training_distance: float
    held_out_distance: float

    @property
    def ratio(self) -> float:
        return self.training_distance / max(self.held_out_distance, 1e-12)


def nearest_pairs(views: Sequence[Tensor], training: Tensor, held_out: Tensor) -> list[ClosestPair]:
    """For each candidate its nearest photographs, over its `views` (n, d): itself and its mirror image, say.

    `training` (t, d), `held_out` (h, d). In the order of the candidates.
    """
    to_training, to_held_out = _nearest(views, training), _nearest(views, held_out)
    return [
        ClosestPair(index, *pair)
        for index, pair in enumerate(
            zip(
                to_training.indices.tolist(),
                to_held_out.indices.tolist(),
                to_training.values.tolist(),
                to_held_out.values.tolist(),
                strict=True,
            )
        )
    ]


def ratios(views: Sequence[Tensor], training: Tensor, held_out: Tensor) -> Tensor:
    """Distance to the nearest training photograph over that to the nearest held-out one, (n,).

    How large that is without memorisation depends on how many of either there are: see it beside its floor.
    """
    return _nearest(views, training).values / _nearest(views, held_out).values.clamp_min(1e-12)


def share_of_copies(candidates: Tensor, reals: Tensor) -> float:
    """The share of `candidates` (n,) whose ratio is below the 5 % quantile of the reals' own ratios (m,)."""
    mark = torch.quantile(reals.double(), COPY_QUANTILE)
    return float((candidates < mark).double().mean().item())


@dataclass(frozen=True)
class _Nearest:
    values: Tensor
    indices: Tensor


def _nearest(views: Sequence[Tensor], photographs: Tensor) -> _Nearest:
    """The smallest distance (n,) over all views and photographs, and whose it is."""
    parts = []
    for start in range(0, len(views[0]), _CHUNK):
        between = torch.stack([distances(view[start : start + _CHUNK], photographs) for view in views])
        parts.append(between.amin(0).min(dim=1))
    return _Nearest(torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts]))
