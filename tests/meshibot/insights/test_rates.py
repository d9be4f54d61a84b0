"""A rate's interval holds the truth about as often as it says, and says how little a few posts tell."""

import random

from hypothesis import given
from hypothesis import strategies as st

from meshibot.insights.rates import LEVEL, dispersion, rate
from testbed.worlds import reactions

COUNTS = st.lists(st.integers(0, 10_000), min_size=1, max_size=30)


@given(COUNTS, st.floats(1.0, 50.0))
def test_the_interval_is_around_the_mean(counts: list[int], phi: float) -> None:
    said = rate(counts, phi)
    assert 0 <= said.low <= said.mean <= said.high
    assert said.posts == len(counts)


@given(COUNTS, st.floats(1.0, 50.0))
def test_more_posts_of_the_same_narrow_it(counts: list[int], phi: float) -> None:
    once, thrice = rate(counts, phi), rate(counts * 3, phi)
    assert thrice.high - thrice.low < once.high - once.low


def test_nobody_reacting_to_one_post_says_little() -> None:
    assert rate([0], 1.0).low == 0
    assert abs(rate([0], 1.0).high - 3.0) < 0.05  # a Poisson's: -ln 0.05
    assert rate([0], 4.0).high > 11


def test_it_holds_the_truth_about_as_often_as_it_says() -> None:
    """Of small groups of posts that vary three times as much as a Poisson, φ being estimated from them."""
    rng = random.Random(7)
    held = total = 0
    for _ in range(150):
        rates = [rng.uniform(1.0, 10.0) for _ in range(6)]
        groups = [[reactions(true, 3.0, rng) for _ in range(rng.randint(1, 12))] for true in rates]
        phi = dispersion(groups)
        for true, counts in zip(rates, groups, strict=True):
            said = rate(counts, phi)
            held += said.low <= true <= said.high
            total += 1
    assert LEVEL - 0.03 <= held / total <= 0.99


def test_counts_that_vary_little_are_not_believed_to_vary_less_than_a_poisson() -> None:
    assert dispersion([[5] * 100]) == 1.0
    assert dispersion([]) == dispersion([[0, 0, 0]]) == 2.0
    assert dispersion([[0, 0, 0, 0, 50, 0, 0]]) > 20
