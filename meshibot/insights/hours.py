"""At which hours to post, learned from how people answered: Thompson sampling. Pure.

For each allowed hour a rate is drawn from what is believed of it, and the hours with the highest are taken
(W. R. Thompson 1933, https://doi.org/10.1093/biomet/25.3-4.285; several at once as Komiyama et al. 2015,
https://arxiv.org/abs/1506.00779). What is believed is a gamma distribution of the rate, for counts of
variance φ times the mean, see `rates`; before the first post, the rate of all posts, worth one post. It is
drawn from more narrowly than it is believed, which costs less where there is only a year (Chapelle & Li
2011, 'posterior reshaping'). What was heard long ago counts less: audiences change.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from meshibot.insights.rates import dispersion

HALF_LIFE = 365.0
"""Days after which a post counts half."""
_PRIOR = 1.0
"""Posts that the belief before the first is worth."""
_RESHAPED = 0.25
"""Of the variance of what is believed."""


@dataclass(frozen=True)
class Heard:
    """A post whose first day is over."""

    hour: int
    """0 to 23, on the account's clocks."""
    reactions: int
    age: float
    """Days."""


def choose(allowed: Sequence[int], count: int, heard: Sequence[Heard], rng: random.Random) -> list[int]:
    """`count` different hours of those allowed, the earliest first; all of them where there are no more."""
    counts: list[list[int]] = [[] for _ in range(24)]
    reactions, posts = [0.0] * 24, [0.0] * 24
    for each in heard:
        weight = 0.5 ** (each.age / HALF_LIFE)
        counts[each.hour].append(each.reactions)
        reactions[each.hour] += weight * each.reactions
        posts[each.hour] += weight
    narrow = _RESHAPED * dispersion(counts)
    usual = sum(reactions) / sum(posts) if any(reactions) else 1.0

    def drawn(hour: int) -> float:
        shape = (reactions[hour] + _PRIOR * usual) / narrow
        return rng.gammavariate(shape, narrow / (posts[hour] + _PRIOR))

    rates = {hour: drawn(hour) for hour in allowed}
    return sorted(sorted(allowed, key=lambda hour: rates[hour], reverse=True)[:count])
