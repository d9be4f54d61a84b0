"""Held-out photographs in three parts, or one where there are few."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.parts import LEAST, parts_of


@given(st.integers(0, 5_000))
def test_no_photograph_is_in_two_parts_or_all_are_in_each(count: int) -> None:
    parts = parts_of(count)
    each = [parts.choosing, parts.calibrating, parts.judging]
    if parts.apart:
        assert np.array_equal(np.sort(np.concatenate(each)), np.arange(count))
        assert min(map(len, each)) >= LEAST
    else:
        assert all(np.array_equal(rows, np.arange(count)) for rows in each)
        assert count < 3 * LEAST
