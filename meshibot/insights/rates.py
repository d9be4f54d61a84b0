"""Reactions a post, with an interval that is honest about few posts. Pure.

Reactions are counts that vary more than a Poisson's: one post in twenty is shared. So a variance of φ times
the mean is reckoned with (quasi-Poisson, McCullagh & Nelder 1989, chapter 6), φ pooled over all groups,
because one group alone has too few posts to say it. The interval is the Poisson's by Byar's approximation
(Breslow & Day 1987, volume II, equation 2.13), of counts that are divided by φ: also where nobody reacted
it has a width.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

LEVEL = 0.9
"""How often an interval holds the rate that it is about."""

_USUAL = 2.0
_CONFIDENCE = 4
"""So many posts' worth of belief that φ is the usual one."""


@dataclass(frozen=True)
class Rate:
    """Reactions a post: the mean of some posts, and between what the true rate is likely to lie."""

    posts: int
    mean: float
    low: float
    high: float


def dispersion(groups: Iterable[Sequence[int]]) -> float:
    """φ: by Pearson's χ² within the groups, drawn to the usual one where there are few posts; at least 1."""
    chi_squared, freedom = _USUAL * _CONFIDENCE, _CONFIDENCE
    for counts in groups:
        mean = sum(counts) / len(counts) if counts else 0.0
        if mean > 0:
            chi_squared += sum((count - mean) ** 2 for count in counts) / mean
            freedom += len(counts) - 1
    return max(1.0, chi_squared / freedom)


def rate(counts: Sequence[int], phi: float) -> Rate:
    """The rate of a group with at least one post."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    total = sum(counts) / phi
    low = _byar(total, -z) if total > 0 else 0.0
    return Rate(
        len(counts),
        sum(counts) / len(counts),
        low * phi / len(counts),
        _byar(total + 1, z) * phi / len(counts),
    )


def _byar(count: float, z: float) -> float:
    return count * max(0.0, 1 - 1 / (9 * count) + z / (3 * math.sqrt(count))) ** 3
