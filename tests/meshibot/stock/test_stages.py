"""Which of a run's checkpoints show how a picture came to be."""

from hypothesis import given
from hypothesis import strategies as st

from meshibot.stock.stages import EARLIER, spread


def test_steps_are_spread_over_their_logarithm() -> None:
    every = list(range(1000, 15_000, 1000))
    assert spread(every, 16_000) == [1000, 3000, 6000]
    assert spread([4000, 4750, 5000, 6000, 7000, 8000, 9000, 10_000], 14_459) == [4000, 6000, 9000]


@given(st.lists(st.integers(0, 10**7), min_size=EARLIER, unique=True), st.integers(1, 10**7))
def test_three_different_ones_are_found_and_the_first_is_among_them(steps: list[int], more: int) -> None:
    found = spread(sorted(steps), max(steps) + more)
    assert found == sorted(set(found))
    assert len(found) == EARLIER
    assert set(found) <= set(steps)
    assert found[0] == min(steps)
