"""Simulated years of `MESHIBOT_SCHEDULE=auto`: whether it finds the better hour, and what looking costs.

    python -m benchmarks.hours [--years 200]

A post's reactions are negative binomial, of variance φ times the mean, and heard four days after its hours
were drawn: hours are drawn two days ahead, and a first day has to be over and read. One of the allowed
hours is better than all others. It is found where most posts of the year's last quarter went to it; the
cost is what that quarter has less than if every post had gone to it, in expected reactions.
"""

import argparse
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


WORLDS = (
    World(2, 6.0, 1.5),
    World(4, 6.0, 1.5),
    World(8, 6.0, 1.5),
    World(16, 6.0, 1.5),
    World(8, 6.0, 1.3),
    World(8, 6.0, 2.0),
    World(8, 2.0, 2.0),
    World(8, 30.0, 1.5),
    World(8, 6.0, 1.5, posts=3),
)


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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--years", type=int, default=200)
    years = parser.parse_args().years
    print("hours  posts/day  usual  best     phi  found    cost, last quarter  cost, whole year")
    for world in WORLDS:
        lived = [live(world, seed) for seed in range(years)]
        print(
            f"{world.hours:5}  {world.posts:9}  {world.usual:5.0f}  x{world.better:<6} {world.phi:4.0f}"
            f"  {mean(year.found for year in lived):6.1%}  {mean(year.cost for year in lived):18.1%}"
            f"  {mean(year.whole for year in lived):16.1%}"
        )


if __name__ == "__main__":
    main()
