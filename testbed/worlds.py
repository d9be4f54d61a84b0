"""Simulated years of `MESHIBOT_SCHEDULE=auto`, where one of the allowed hours is better than all others.

A post's reactions are negative binomial, of variance φ times the mean, and heard four days after its hours
were drawn: hours are drawn two days ahead, and a first day has to be over and read. The better hour is found
where most posts of the year's last quarter went to it; the cost is what that quarter has less than if every
post had gone to it, in expected reactions.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from meshibot.insights.hours import Heard, choose

DELAY = 4
"""Days."""


@dataclass(frozen=True)
class World:
    """What is to be found out."""

    hours: int
    """That are allowed."""
    usual: float
    """Reactions a post."""
    better: float
    """How many times as many at the best hour."""
    phi: float = 3.0
    posts: int = 1
    """A day."""


@dataclass(frozen=True)
class Year:
    """How one went."""

    found: bool
    cost: float
    """Share of the expected reactions in the last quarter."""
    whole: float
    """The same over the whole year."""


def live(world: World, seed: int, days: int = 365) -> Year:
    """One year. The best hour is drawn as well."""
    rng = random.Random(seed)
    allowed = sorted(rng.sample(range(24), world.hours))
    best = rng.choice(allowed)
    rates = {hour: world.usual * (world.better if hour == best else 1.0) for hour in allowed}
    heard: list[tuple[int, Heard]] = []
    chosen: list[list[int]] = []
    for day in range(days):
        known = [Heard(each.hour, each.reactions, day - at) for at, each in heard if at <= day - DELAY]
        hours = choose(allowed, world.posts, known, rng)
        chosen.append(hours)
        heard += [(day, Heard(hour, reactions(rates[hour], world.phi, rng), 0.0)) for hour in hours]
    quarter = chosen[-(days // 4) :]
    counts = Counter(hour for hours in quarter for hour in hours)
    return Year(counts.most_common(1)[0][0] == best, _cost(quarter, rates), _cost(chosen, rates))


def _cost(chosen: Sequence[Sequence[int]], rates: dict[int, float]) -> float:
    """Against the best hours that are fixed: with several posts a day the best, and some of the others."""
    most = sum(sorted(rates.values(), reverse=True)[: len(chosen[0])])
    return 1 - mean(sum(rates[hour] for hour in hours) for hours in chosen) / most


def reactions(rate: float, phi: float, rng: random.Random) -> int:
    """Negative binomial: a Poisson's count, whose rate is gamma-distributed."""
    rate = rng.gammavariate(rate / (phi - 1), phi - 1)
    passed, count = rng.expovariate(1.0), 0
    while passed < rate:
        passed, count = passed + rng.expovariate(1.0), count + 1
    return count
