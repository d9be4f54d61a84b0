"""All figures at once, each with its floor, and the closest pairs of fakes and training photographs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.metrics.catalogue import PRETRAINED
from trainer.metrics.critic_gap import CriticScores, critic_gap, overfitting_ratio
from trainer.metrics.features import FeatureNet, StandardisedNet
from trainer.metrics.frechet import frechet
from trainer.metrics.kid import kid
from trainer.metrics.memorisation import ClosestPair, nearest_pairs, ratios, share_of_copies
from trainer.metrics.metric import Metric
from trainer.metrics.ms_ssim import mean_pair_similarity
from trainer.metrics.nearest import nearest_neighbour_accuracy
from trainer.metrics.prdc import prdc
from trainer.metrics.pretrained import pretrained_net
from trainer.metrics.quick import of_features, of_pictures
from trainer.metrics.split import Figures, Split, floors, make_split, values, with_floors
from trainer.metrics.swd import DIRECTIONS

Pictures = NDArray[np.uint8]
CLOSEST = 16


@dataclass(frozen=True)
class PictureFigures:
    """Figures by name, and the fakes that most resemble a training photograph, most suspicious first: by
    pretrained features where they are there."""

    metrics: dict[str, Metric]
    closest: tuple[ClosestPair, ...]
    group_size: int
    """Pictures on either side of each comparison, floors included."""


class PictureSuite:
    """Judges pictures against the same photographs again and again: their features are taken once."""

    def __init__(self, training: Pictures, held_out: Pictures, *, device: str | torch.device = "cpu") -> None:
        """`training` (t, r, r, 3): what was trained on; `held_out` (h, r, r, 3): what is compared with."""
        self.device = torch.device(device)
        self.held_out = held_out
        self.seen = _Seen(FeatureNet(self.device), training, held_out)
        pretrained = pretrained_net(self.device)
        self.pretrained = _Seen(pretrained, training, held_out) if pretrained else None

    def __call__(self, fakes: Pictures, scores: CriticScores | None = None) -> PictureFigures:
        """Figures of uint8 fakes (n, r, r, 3); `scores` adds the critic's gap and r_v.

        Raises TrainerError where fewer than four fakes or held-out reals are there.
        """
        split = make_split(len(self.held_out), len(fakes))
        closest_by = self.seen.figures(_features, fakes, split)
        metrics = {
            **with_floors(
                values(self._pixels, fakes, self.held_out, split),
                floors(self._pixels, self.held_out, split),
            ),
            **closest_by.metrics,
            **(_critic(scores, split) if scores else {}),
        }
        if self.pretrained is not None:
            closest_by = self.pretrained.figures(_pretrained, fakes, split)
            metrics |= {name + PRETRAINED: metric for name, metric in closest_by.metrics.items()}
        return PictureFigures(metrics, closest_by.closest, split.size)

    def _pixels(self, pictures: Pictures, reals: Pictures) -> dict[str, float]:
        return {
            **of_pictures(pictures, reals, self.device, directions=DIRECTIONS),
            "ms_ssim": mean_pair_similarity(pictures, device=self.device),
        }


class _Seen:
    """What a net sees in the photographs, and what follows from it for fakes."""

    def __init__(self, net: StandardisedNet, training: Pictures, held_out: Pictures) -> None:
        self.net = net
        self.training = net.standardised(training)
        self.held_out = net(held_out)
        self.mirrored = net(held_out[:, :, ::-1])

    def figures(self, figures: Figures, fakes: Pictures, split: Split) -> PictureFigures:
        """With the pairs that lie closest by these features."""
        # A mirrored copy is a copy: the trainer shows photographs mirrored, and features are not blind to it.
        views = [self.net(fakes), self.net(fakes[:, :, ::-1])]
        metrics = {
            **with_floors(
                values(figures, views[0], self.held_out, split), floors(figures, self.held_out, split)
            ),
            **_memorisation(views, self.training, self.held_out, self.mirrored, split),
        }
        pairs = sorted(nearest_pairs(views, self.training, self.held_out), key=lambda pair: pair.ratio)
        return PictureFigures(metrics, tuple(pairs[:CLOSEST]), split.size)


def evaluate_pictures(
    fakes: Pictures,
    training: Pictures,
    held_out: Pictures,
    scores: CriticScores | None = None,
    *,
    device: str | torch.device = "cpu",
) -> PictureFigures:
    """`PictureSuite` for one set of fakes."""
    make_split(len(held_out), len(fakes))  # refuses before the long work
    return PictureSuite(training, held_out, device=device)(fakes, scores)


def _features(features: Tensor, reals: Tensor) -> dict[str, float]:
    neighbours = prdc(features, reals)
    return {
        **of_features(features, reals),
        "precision": neighbours.precision,
        "recall": neighbours.recall,
        "density": neighbours.density,
        "coverage": neighbours.coverage,
        "nearest_neighbour": nearest_neighbour_accuracy(features, reals),
    }


def _pretrained(features: Tensor, reals: Tensor) -> dict[str, float]:
    neighbours = prdc(features, reals)
    return {
        "kid": kid(features, reals).mean,
        "frechet": frechet(features, reals),
        "precision": neighbours.precision,
        "recall": neighbours.recall,
    }


def _memorisation(
    views: list[Tensor], training: Tensor, held_out: Tensor, mirrored: Tensor, split: Split
) -> dict[str, Metric]:
    """Every fake against all training reals and each half of the held-out ones, and the halves likewise."""
    a, b = (torch.from_numpy(half).to(held_out.device) for half in split.halves)
    fakes = torch.cat([ratios(views, training, held_out[half]) for half in (a, b)])
    reals = torch.cat(
        [ratios([held_out[one], mirrored[one]], training, held_out[other]) for one, other in ((a, b), (b, a))]
    )
    return {
        "memorisation": Metric(fakes.median().item(), reals.median().item()),
        "copies": Metric(share_of_copies(fakes, reals), share_of_copies(reals, reals)),
    }


def _critic(scores: CriticScores, split: Split) -> dict[str, Metric]:
    """The floor takes one half of the held-out reals for the training's."""
    a, b = (scores.held_out[half] for half in split.halves)
    halves = CriticScores(a, b, scores.fakes)
    return {
        "critic_gap": Metric(critic_gap(scores), critic_gap(halves)),
        "r_v": Metric(overfitting_ratio(scores), overfitting_ratio(halves)),
    }
