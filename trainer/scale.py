"""How the critic's word, layout and content come to one score; plain numbers, for files that keep them.

Counted blind at 512 px on 140 pictures of the checkpoint that ships, content ranks a good picture above a bad
one in 80 of a hundred pairs, layout in 64, the critic in 48, all three in 77; on the coarser pictures of
before layout did best (docs/experiments.md). So each has its say.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

CRITIC_WEIGHT = 0.5
"""Where layout and content have 1 each. Among pictures that pass by these the critic's word says little."""
_COUNTS = (4, 5, 7)
"""Of the numbers that files have: without a weight, without content, and all."""


@dataclass(frozen=True)
class Scale:
    """Means and deviations of each over held-out photographs, and how much the critic counts."""

    critic_mean: float
    critic_deviation: float
    typicality_mean: float
    typicality_deviation: float
    """Of layouts (`Layout.typicality`)."""
    critic_weight: float = 1.0
    """Where the others have 1, as it was before there was a weight."""
    nearness_mean: float | None = None
    nearness_deviation: float | None = None
    """Of content (`CopyTest.nearness`); None where it does not count, as before."""

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.numbers)):
            raise ValueError("the scale of its scores is not finite")
        widths = (self.critic_deviation, self.typicality_deviation, self.critic_weight)
        if min(*widths, 1.0 if self.nearness_deviation is None else self.nearness_deviation) <= 0:
            raise ValueError("the scale of its scores has a deviation or a weight that is not positive")

    @property
    def numbers(self) -> tuple[float, ...]:
        """As files have them, in the order of the fields."""
        return tuple(number for number in astuple(self) if number is not None)

    @classmethod
    def from_numbers(cls, said: Any) -> Scale | None:
        """Those of a file; None for no numbers, which say that there is none.

        Raises TypeError or ValueError where they are not those of a scale."""
        numbers = tuple(map(float, said))
        if not numbers:
            return None
        if len(numbers) not in _COUNTS:
            raise ValueError("the scale of its scores is not means, deviations and a weight")
        return cls(*numbers)

    @classmethod
    def of(cls, critic: Tensor, typical: Tensor, near: Tensor | None = None) -> Scale | None:
        """By held-out photographs' own values, (h,) each; None where they are all alike."""
        if len(critic) < 2:
            return None
        parts = [critic, typical] if near is None else [critic, typical, near]
        wide = [part.cpu().double() for part in parts]  # Apple's GPUs have no float64
        found = [(part.mean().item(), part.std().item()) for part in wide]
        if not min(deviation for _, deviation in found) > 0:
            return None
        of_critic, of_layout, *of_content = found
        return cls(*of_critic, *of_layout, CRITIC_WEIGHT, *(of_content[0] if of_content else ()))

    def score(self, critic: Tensor, typical: Tensor, near: Tensor | None = None) -> Tensor:
        """The weighted mean of all in units of their deviations, (n,) as each of them. `near` is looked at
        where it counts."""
        total = self.critic_weight * (critic - self.critic_mean) / self.critic_deviation
        total = total + (typical - self.typicality_mean) / self.typicality_deviation
        weights = self.critic_weight + 1
        if near is not None and self.nearness_mean is not None and self.nearness_deviation is not None:
            total = total + (near - self.nearness_mean) / self.nearness_deviation
            weights += 1
        return (total / weights).to(critic.dtype)
