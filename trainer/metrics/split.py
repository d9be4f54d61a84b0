"""What is compared with what: every figure and its floor come from sets of the same size.

Most distances between samples shrink as the samples grow. A value over 5,000 pictures beside a floor over 100
would say nothing, so groups of fakes are as large as the halves of the held-out reals, and the value is the
mean over groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError
from trainer.metrics.metric import Metric

FEWEST = 4
MOST = 256

Figures = Callable[[Any, Any], dict[str, float]]
"""From candidates and reference, pictures or features, to named figures."""


@dataclass(frozen=True)
class Split:
    """Indices: two disjoint halves of the held-out reals, and groups of fakes of the same `size`."""

    halves: tuple[NDArray[np.intp], NDArray[np.intp]]
    groups: tuple[slice, ...]

    @property
    def size(self) -> int:
        return len(self.halves[0])

    @property
    def fakes(self) -> int:
        """How many fakes the groups take in all."""
        return self.groups[-1].stop if self.groups else 0


def make_split(held_out: int, fakes: int, *, most: int = MOST, seed: int = 0) -> Split:
    """Halves of at most `most` reals, drawn with `seed`, and an even number of groups of fakes.

    Raises TrainerError where there are fewer than four of either.
    """
    if held_out < FEWEST:
        raise TrainerError(
            f"Judging takes at least {FEWEST} held-out photographs, and here are {held_out}: add photographs."
        )
    if fakes < FEWEST:
        raise TrainerError(f"Judging takes at least {FEWEST} pictures, not {fakes}: ask for more.")
    size = min(held_out // 2, fakes // 2, most)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(held_out)
    groups = fakes // (2 * size) * 2
    return Split(
        (np.sort(order[:size]), np.sort(order[size : 2 * size])),
        tuple(slice(k * size, (k + 1) * size) for k in range(groups)),
    )


def floors(figures: Figures, held_out: Any, split: Split) -> dict[str, float]:
    """The figures of one half of the held-out reals against the other."""
    return figures(held_out[split.halves[0]], held_out[split.halves[1]])


def values(figures: Figures, fakes: Any, held_out: Any, split: Split) -> dict[str, float]:
    """The figures of each group of fakes against the halves in turn, averaged."""
    rounds = [figures(fakes[group], held_out[split.halves[k % 2]]) for k, group in enumerate(split.groups)]
    return {name: sum(each[name] for each in rounds) / len(rounds) for name in rounds[0]}


def with_floors(values: dict[str, float], floors: dict[str, float]) -> dict[str, Metric]:
    return {name: Metric(value, floors[name]) for name, value in values.items()}
