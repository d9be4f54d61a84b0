"""What a seeing critic's checkpoint scores pictures by: what the critic says, and how typical they are.

A critic tells textures well and compositions badly: a table with three dishes may be as sharp as any bowl.
How near a picture lies to its nearest photographs, in a pretrained network's features, tells the other half.
Counted blind on 100 pictures, the critic alone ranks a good one above a bad one in 69 of 100 pairs, nearness
alone in 73, both together in 81 (docs/experiments.md).
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from trainer.metrics.distances import mean_nearest

NEIGHBOURS = 10


def typicality(components: Tensor, training: Tensor) -> Tensor:
    """Of pictures, (n,): minus the mean distance of each row (n, k) to its nearest of the photographs (t, k);
    the lower, the less typical."""
    return -mean_nearest(components, training, NEIGHBOURS)


@dataclass(frozen=True)
class Scale:
    """Means and deviations of both over held-out photographs: they count alike."""

    critic_mean: float
    critic_deviation: float
    typicality_mean: float
    typicality_deviation: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, astuple(self))):
            raise ValueError("the scale of its scores is not finite")
        if min(self.critic_deviation, self.typicality_deviation) <= 0:
            raise ValueError("the scale of its scores has a deviation that is not positive")

    @classmethod
    def of(cls, critic: Tensor, typical: Tensor) -> Scale | None:
        """By held-out photographs' own values, (h,) each; None where they are all alike."""
        if len(critic) < 2:
            return None
        values = [f(part.double()).item() for part in (critic, typical) for f in (torch.mean, torch.std)]
        return cls(*values) if min(values[1], values[3]) > 0 else None

    def score(self, critic: Tensor, typical: Tensor) -> Tensor:
        """The mean of both in units of their deviations, (n,) as each of them."""
        of_critic = (critic - self.critic_mean) / self.critic_deviation
        of_typicality = (typical - self.typicality_mean) / self.typicality_deviation
        return ((of_critic + of_typicality) / 2).to(critic.dtype)
