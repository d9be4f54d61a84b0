"""Held-out photographs in three parts, or one where there are few."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.drawings import bowls
from trainer.data import parts
from trainer.data.dataset import Dataset
from trainer.data.parts import LEAST, judging_part, parts_of


@given(st.integers(0, 5_000))
@example(3 * LEAST - 1)
@example(3 * LEAST)
def test_no_photograph_is_in_two_parts_or_all_are_in_each(count: int) -> None:
    found = parts_of(count)
    each = [found.choosing, found.calibrating, found.judging]
    if found.apart:
        assert np.array_equal(np.sort(np.concatenate(each)), np.arange(count))
        assert min(map(len, each)) >= LEAST
    else:
        assert all(np.array_equal(rows, np.arange(count)) for rows in each)
        assert count < 3 * LEAST


@pytest.mark.parametrize(("count", "judging"), [(5, [0, 1, 2, 3, 4]), (6, [2, 5])])
def test_what_judges_keeps_its_names(count: int, judging: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "LEAST", 2)
    pictures = bowls(count)
    names = tuple(map(str, range(count)))
    dataset = Dataset(pictures[:0], pictures, (), names, (), 0, "drawn", from_cache=False)
    held_out, named = judging_part(dataset)
    assert np.array_equal(held_out, pictures[judging])
    assert named == tuple(map(str, judging))
