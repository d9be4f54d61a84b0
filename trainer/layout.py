"""How typical a picture's layout is, which a seeing critic's checkpoint scores by beside the critic's word.

A critic tells textures well and compositions badly: three bowls that flow together may be as sharp as one.
Where in a picture a pretrained network sees what tells the other half. Counted blind on 100 pictures that the
critic had chosen and 100 that nobody had, layouts alone rank a good picture above a bad one in 98 and 93 of a
hundred pairs, the critic alone in 58 and 80 (docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

COMPONENTS = 32
"""Directions in which photographs vary most; of 16 to 256 they rank best, and 50 photographs give 16."""
FEWEST = 4
"""Photographs: of fewer nothing is typical."""
_LEAST_DEVIATION = 1e-3
_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Layout:
    """Where photographs have what: a Gaussian of the pretrained network's map, place by place.

    It varies in a few directions, and by one variance in all others: probabilistic principal components
    (Tipping and Bishop 1999, section 3). Each number is standardised first, as it has no unit.
    """

    mean: Tensor
    """Of the maps (d,)."""
    deviation: Tensor
    """Of each number (d,)."""
    directions: Tensor
    """Of length one, at right angles (d, k)."""
    variances: Tensor
    """In these directions (k,)."""
    rest: Tensor
    """The variance (,) in each other one."""

    @classmethod
    def measured(cls, maps: Tensor) -> Layout | None:
        """By photographs' own (n, d), as `PretrainedVision.look` gives them; None where they are too few."""
        count, size = maps.shape
        if count < FEWEST:
            return None
        deviation, mean = torch.std_mean(maps, dim=0)
        deviation = deviation.clamp_min(_LEAST_DEVIATION)
        _, lengths, directions = torch.linalg.svd((maps - mean) / deviation, full_matrices=False)
        variances = lengths.square() / (count - 1)
        kept = min(COMPONENTS, count // 2, size - 1)
        rest = variances[kept:].sum() / (size - kept)
        least = maps.new_tensor(_LEAST_VARIANCE)
        return cls(
            mean, deviation, directions[:kept].T, variances[:kept].clamp_min(least), rest.clamp_min(least)
        )

    def typicality(self, maps: Tensor) -> Tensor:
        """Of pictures' maps (n, d): minus the Mahalanobis distance from the mean (n,), at most 0."""
        x = (maps - self.mean) / self.deviation
        along = x @ self.directions
        beside = (x.square().sum(1) - along.square().sum(1)).clamp_min(0)
        return -((along.square() / self.variances).sum(1) + beside / self.rest).sqrt()

    def to_tensors(self) -> dict[str, Tensor]:
        """By the names of their fields."""
        return dict(vars(self))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Layout:
        """Raises ValueError where they are not those of a layout."""
        if set(tensors) != set(cls.__dataclass_fields__):
            raise ValueError("it lacks a part of what layouts are told by")
        layout = cls(**tensors)
        size, components = layout.directions.shape if layout.directions.ndim == 2 else (0, 0)
        shapes = [tuple(tensor.shape) for tensor in (layout.mean, layout.deviation, layout.variances)]
        if not size or shapes != [(size,), (size,), (components,)] or layout.rest.ndim:
            raise ValueError("what layouts are told by has the wrong shape")
        if any(bool((each <= 0).any()) for each in (layout.deviation, layout.variances, layout.rest)):
            raise ValueError("what layouts are told by has no width")
        return layout
