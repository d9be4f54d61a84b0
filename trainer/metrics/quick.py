"""The figures that are cheap enough for the training loop."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.metrics.catalogue import PRETRAINED
from trainer.metrics.colour import colour_distance
from trainer.metrics.diversity import colour_variety, pairwise_diversity
from trainer.metrics.features import FeatureNet
from trainer.metrics.kid import kid, sharp_kid
from trainer.metrics.metric import Metric
from trainer.metrics.pretrained import PretrainedNet
from trainer.metrics.split import floors, make_split, values, with_floors
from trainer.metrics.swd import sliced_wasserstein_by_level

Pictures = NDArray[np.uint8]
SHARP_FAKES = 1_000
FAKES_A_REAL = 4
SHARPEST = "kid" + PRETRAINED
"""What tells the better of two states of a run best."""
DIRECTIONS = 128
"""A quarter of the paper's: the same ones each time, so that evaluations are comparable with one another."""


class QuickFigures:
    """`swd` and its levels, `colour`, `variety`, `kid`, `diversity`, with floors that are computed once."""

    def __init__(
        self,
        training: Pictures,
        held_out: Pictures,
        device: str | torch.device = "cpu",
        *,
        pretrained: PretrainedNet | None = None,
        fakes: int = 256,
    ) -> None:
        """`training`, `held_out`: uint8 (n, r, r, 3). With `pretrained` there is `kid_pretrained` as well.
        `fakes`: how many the figures of pixels take at most.

        Raises TrainerError where fewer than four are held out.
        """
        self.device = torch.device(device)
        self.split = make_split(len(held_out), fakes)
        self.net = FeatureNet(device).standardise(training)
        self._held_out = held_out
        self._features = self.net(held_out)
        self.pretrained = pretrained
        self._floors = {
            **floors(self._of_pictures, held_out, self.split),
            **floors(of_features, self._features, self.split),
        }
        if self.pretrained is not None:
            self._seen = self.pretrained.standardise(training)(held_out)
            self._floors[SHARPEST] = kid(*(self._seen[half] for half in self.split.halves)).mean

    @property
    def fakes(self) -> int:
        """How many fakes a call takes: for `kid` more than a few for each held-out real would not sharpen
        it."""
        return max(self.split.fakes, min(SHARP_FAKES, FAKES_A_REAL * len(self._held_out)))

    def __call__(self, fakes: Pictures) -> dict[str, Metric]:
        """Of uint8 pictures (`self.fakes`, r, r, 3); both `kid` of all of them against all held-out
        reals."""
        features = self.net(fakes)
        figures = {
            **values(self._of_pictures, fakes, self._held_out, self.split),
            **values(of_features, features, self._features, self.split),
        }
        kids = {"kid": sharp_kid(features, self._features)}
        if self.pretrained is not None:
            kids[SHARPEST] = sharp_kid(self.pretrained(fakes), self._seen)
        told = {name: Metric(kid.mean, self._floors[name], kid.deviation) for name, kid in kids.items()}
        return {**with_floors(figures, self._floors), **told}

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
