"""The figures that are cheap enough for the training loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.metrics.colour import colour_distance
from trainer.metrics.diversity import colour_variety, pairwise_diversity
from trainer.metrics.features import FeatureNet
from trainer.metrics.kid import kid
from trainer.metrics.metric import Metric
from trainer.metrics.split import floors, make_split, values, with_floors
from trainer.metrics.swd import sliced_wasserstein_by_level

Pictures = NDArray[np.uint8]
DIRECTIONS = 128
"""A quarter of the paper's: the same ones each time, so that evaluations are comparable with one another."""


class QuickFigures:
    """`swd` and its levels, `colour`, `kid` and `diversity`, with floors that are computed once."""

    def __init__(
        self,
        training: Pictures,
        held_out: Pictures,
        device: str | torch.device = "cpu",
        *,
        fakes: int = 256,
        seed: int = 0,
    ) -> None:
        """`training`, `held_out`: uint8 (n, r, r, 3). `fakes`: how many will be given at most.

        Raises TrainerError where fewer than four are held out.
        """
        self.device = torch.device(device)
        self.split = make_split(len(held_out), fakes, seed=seed)
        self.net = FeatureNet(device).standardise(training)
        self._held_out = held_out
        self._features = self.net(held_out)
        self._floors = {
            **floors(self._of_pictures, held_out, self.split),
            **floors(of_features, self._features, self.split),
        }

    @property
    def fakes(self) -> int:
        """How many fakes a call takes."""
        return self.split.fakes

    def __call__(self, fakes: Pictures) -> dict[str, Metric]:
        """Of uint8 pictures (`self.fakes`, r, r, 3)."""
        figures = {
            **values(self._of_pictures, fakes, self._held_out, self.split),
            **values(of_features, self.net(fakes), self._features, self.split),
        }
        return with_floors(figures, self._floors)

    def _of_pictures(self, pictures: Pictures, reals: Pictures) -> dict[str, float]:
        return of_pictures(pictures, reals, self.device, directions=DIRECTIONS)


def of_pictures(
    pictures: Pictures, reals: Pictures, device: torch.device, *, directions: int
) -> dict[str, float]:
    """Figures of the pixels themselves."""
    return {
        **sliced_wasserstein_by_level(pictures, reals, device=device, directions=directions),
        "colour": colour_distance(pictures, reals),
        "variety": colour_variety(pictures, reals),
    }


def of_features(features: Tensor, reals: Tensor) -> dict[str, float]:
    return {"kid": kid(features, reals).mean, "diversity": pairwise_diversity(features, reals)}


def quick(fakes: Pictures, training: Pictures, held_out: Pictures, **options: Any) -> dict[str, Metric]:
    """`QuickFigures` for one set of fakes."""
    figures = QuickFigures(training, held_out, fakes=len(fakes), **options)
    return figures(fakes[: figures.fakes])
