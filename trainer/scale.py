"""How the critic's word and typicality come to one score; plain numbers, for files that keep them."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

CRITIC_WEIGHT = 0.5
"""Where typicality has 1. Among pictures whose layout is typical, the critic's word says little
(docs/experiments.md)."""
_WITHOUT_WEIGHT = 4
"""Numbers of a scale in files from before there was a weight."""


@dataclass(frozen=True)
class Scale:
    """Means and deviations of both over held-out photographs, and how much the critic counts."""

    critic_mean: float
    critic_deviation: float
    typicality_mean: float
    typicality_deviation: float
    critic_weight: float = 1.0
    """Where typicality has 1, as it was before there was a weight."""

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, astuple(self))):
            raise ValueError("the scale of its scores is not finite")
        if min(self.critic_deviation, self.typicality_deviation, self.critic_weight) <= 0:
            raise ValueError("the scale of its scores has a deviation or a weight that is not positive")

    @classmethod
    def from_numbers(cls, said: Any) -> Scale | None:
        """As files have them, in the order of the fields; None for no numbers, which say that there is none.

        Raises TypeError or ValueError where they are not those of a scale."""
        numbers = tuple(map(float, said))
        if not numbers:
            return None
        if not _WITHOUT_WEIGHT <= len(numbers) <= len(fields(cls)):
            raise ValueError("the scale of its scores is not two means, two deviations and a weight")
        return cls(*numbers)

    @classmethod
    def of(cls, critic: Tensor, typical: Tensor) -> Scale | None:
        """By held-out photographs' own values, (h,) each; None where they are all alike."""
        if len(critic) < 2:
            return None
        (mean, deviation), (other_mean, other_deviation) = (
            (part.mean().item(), part.std().item())
            for part in (critic.cpu().double(), typical.cpu().double())  # Apple's GPUs have no float64
        )
        if not min(deviation, other_deviation) > 0:
            return None
        return cls(mean, deviation, other_mean, other_deviation, CRITIC_WEIGHT)

    def score(self, critic: Tensor, typical: Tensor) -> Tensor:
        """The weighted mean of both in units of their deviations, (n,) as each of them."""
        of_critic = (critic - self.critic_mean) / self.critic_deviation
        of_typicality = (typical - self.typicality_mean) / self.typicality_deviation
        weight = self.critic_weight
        return ((weight * of_critic + of_typicality) / (weight + 1)).to(critic.dtype)
