"""Whether a picture is a copy of a photograph that was trained on, by a pretrained network's features; and
how typical its content is by the same.

The measure is that of `trainer.metrics.memorisation`: a picture's distance to the nearest training
photograph over that to the nearest held-out one, over the picture and its mirror image. Photographs that were
never shown have such ratios too, and the limit is a low quantile of theirs: the share of innocent pictures
that is refused is known. A checkpoint carries what it takes in half precision, 64 numbers a photograph and no
photograph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.metrics.distances import distances
from trainer.metrics.memorisation import ratios
from trainer.nets.layers import exact
from trainer.nets.vision import PretrainedVision, describe_all

FALSE_ALARMS = 0.02
"""The share of held-out photographs that would be taken for copies. Measured on 3,658 photographs of ramen:
mirrored copies are all found, 99.8 % of paler ones, 91 % of those cropped by a tenth, 77 % of those brought
to half their size and back; of the pictures of a generator that does not copy, none of 400."""
COMPONENTS = 64
FEWEST = 8
"""Held-out photographs: of fewer a low quantile is no limit."""
NEIGHBOURS = 10
"""Photographs that content is compared with; of 5, 10 and 30 these rank best (docs/experiments.md)."""
MOST_TRAINING = 20_000
"""Training photographs that are compared with; 64 numbers each."""


@dataclass(frozen=True)
class CopyTest:
    """What is compared with what, in the principal components of standardised features."""

    mean: Tensor
    """Of the features over the training photographs (432,)."""
    basis: Tensor
    """From features to components (432, k)."""
    training: Tensor
    """Components of the training photographs (t, k)."""
    held_out: Tensor
    """Components of held-out photographs (h, k)."""
    limit: Tensor
    """The ratio (,) below which a picture is a copy."""

    @classmethod
    def measured(cls, of_training: Tensor, of_held_out: Tensor, of_mirrored: Tensor) -> CopyTest | None:
        """By the content of photographs (t, 432), of some not trained on (h, 432), and of these mirrored;
        None where they are too few."""
        if len(of_held_out) < FEWEST:
            return None
        deviation, mean = torch.std_mean(of_training, dim=0, correction=0)
        deviation = deviation.clamp_min(1e-6)
        _, _, directions = torch.linalg.svd((of_training - mean) / deviation, full_matrices=False)
        basis = directions[:COMPONENTS].T / deviation[:, None]
        training, held_out, mirrored = (
            _stored((part - mean) @ basis) for part in (of_training, of_held_out, of_mirrored)
        )
        own = _own_ratios(training, held_out, mirrored)
        limit = torch.quantile(own, FALSE_ALARMS)
        return cls(mean, basis, training, held_out, limit)

    def components(self, described: Tensor) -> Tensor:
        """Of what the network made of pictures (n, 432): (n, k)."""
        with exact(described):
            return (described - self.mean) @ self.basis

    def nearness(self, described: Tensor) -> Tensor:
        """How typical the content of pictures (n, 432) is (n,): minus the mean distance to the ten nearest
        training photographs."""
        apart = distances(self.components(described), self.training)
        return -apart.topk(min(NEIGHBOURS, len(self.training)), largest=False).values.mean(1)

    def finds(self, vision: PretrainedVision, pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of uint8 pictures (n, r, r, 3) are copies, (n,)."""
        found: NDArray[np.bool_] = (self.ratios(vision, pictures) < self.limit).cpu().numpy()
        return found

    def ratios(self, vision: PretrainedVision, pictures: NDArray[np.uint8]) -> Tensor:
        """How near the pictures are to training photographs, measured by held-out ones, (n,); 0 is a copy."""
        views = [
            self.components(describe_all(vision, view, self.mean.device).content)
            for view in (pictures, pictures[:, :, ::-1])
        ]
        return ratios(views, self.training, self.held_out)

    def to_tensors(self) -> dict[str, Tensor]:
        """By the names of their fields."""
        return dict(vars(self))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> CopyTest:
        """Raises ValueError where they are not those of a test."""
        if set(tensors) != set(cls.__dataclass_fields__):
            raise ValueError("it lacks a part of what copies are found by")
        test = cls(**tensors)
        size, components = test.basis.shape if test.basis.ndim == 2 else (0, 0)
        tables = (test.training, test.held_out)
        if test.mean.shape != (size,) or test.limit.ndim or not size:
            raise ValueError("what copies are found by has the wrong shape")
        if any(table.ndim != 2 or table.shape[1] != components or not len(table) for table in tables):
            raise ValueError("what copies are found by has the wrong shape")
        return test


def _own_ratios(training: Tensor, held_out: Tensor, mirrored: Tensor) -> Tensor:
    """Of each held-out photograph, with the others for held-out ones, (h,)."""
    views = (held_out, mirrored)
    to_training = torch.stack([distances(view, training).amin(1) for view in views]).amin(0)
    among = torch.stack([distances(view, held_out) for view in views]).amin(0).fill_diagonal_(torch.inf)
    return to_training / among.amin(1).clamp_min(1e-12)


def _stored(components: Tensor) -> Tensor:
    """As they come back from a file in half precision, so that the limit is that of the file."""
    return components.half().float()
