"""The hours that `auto` chooses: allowed ones, never more than asked for, and the better one in the end."""

import random
from statistics import mean

from hypothesis import given
from hypothesis import strategies as st

from meshibot.insights.hours import Heard, choose
from testbed.worlds import World, live

HEARD = st.builds(Heard, st.integers(0, 23), st.integers(0, 1000), st.floats(0, 4000))


@given(
    st.lists(st.integers(0, 23), min_size=1, unique=True),
    st.integers(1, 30),
    st.lists(HEARD, max_size=40),
    st.integers(0, 100),
)
def test_allowed_hours_only_and_never_more_than_asked(
    allowed: list[int], count: int, heard: list[Heard], seed: int
) -> None:
    hours = choose(allowed, count, heard, random.Random(seed))
    assert len(set(hours)) == len(hours) == min(count, len(allowed))
    assert set(hours) <= set(allowed)
    assert hours == sorted(hours)


def test_with_nothing_heard_every_hour_has_its_chance() -> None:
    rng = random.Random(3)
    assert {choose(range(24), 1, [], rng)[0] for _ in range(400)} == set(range(24))
    silent = [Heard(12, 0, 1.0)] * 5
    assert len({choose(range(24), 1, silent, rng)[0] for _ in range(400)}) > 20


def test_what_was_heard_long_ago_gives_way() -> None:
    """Noon was the better hour for a year; since then evening is."""
    before = [Heard(hour, 20 if hour == 12 else 5, 1000.0 + day) for day in range(100) for hour in (12, 21)]
    since = [Heard(hour, 20 if hour == 21 else 5, float(day)) for day in range(60) for hour in (12, 21)]
    rng = random.Random(0)
    assert mean(choose([12, 21], 1, before, rng) == [12] for _ in range(50)) > 0.9
    assert mean(choose([12, 21], 1, before + since, rng) == [21] for _ in range(50)) > 0.9


def test_simulated_years_find_the_better_hour() -> None:
    """A few of them: benchmarks/hours.py has 200 of each world, and what they cost."""
    lived = [live(World(4, 6.0, 1.5), seed, days=240) for seed in range(6)]
    assert sum(year.found for year in lived) >= 5
    assert mean(year.cost for year in lived) < 0.08
