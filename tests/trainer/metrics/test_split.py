"""Halves and groups: disjoint, of one size, the same for a seed; and what is too few."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import TrainerError
from trainer.metrics.split import floors, make_split, values


@given(
    held_out=st.integers(4, 400),
    fakes=st.integers(4, 900),
    most=st.integers(2, 300),
    seed=st.integers(0, 9),
)
def test_halves_and_groups(held_out: int, fakes: int, most: int, seed: int) -> None:
    split = make_split(held_out, fakes, most=most, seed=seed)
    a, b = split.halves
    assert len(a) == len(b) == split.size <= most
    assert len({*a, *b}) == 2 * split.size
    assert max(*a, *b) < held_out
    assert len(split.groups) >= 2
    assert len(split.groups) % 2 == 0
    taken = [index for group in split.groups for index in range(fakes)[group]]
    assert taken == list(range(split.fakes))
    assert split.fakes == len(split.groups) * split.size <= fakes
    again = make_split(held_out, fakes, most=most, seed=seed)
    assert np.array_equal(again.halves[0], a)


def test_values_are_means_over_groups_against_the_halves_in_turn() -> None:
    split = make_split(4, 8)
    reals = np.array([10.0, 20.0, 30.0, 40.0])
    fakes = np.arange(8.0)

    def difference(candidates: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        return {"d": float(candidates.mean() - reference.mean())}

    assert values(difference, fakes, reals, split) == {"d": pytest.approx(3.5 - 25.0)}
    a, b = split.halves
    assert floors(difference, reals, split) == {"d": pytest.approx(reals[a].mean() - reals[b].mean())}


@pytest.mark.parametrize(
    ("held_out", "fakes", "word"), [(3, 100, "held-out photographs"), (100, 3, "at least 4 pictures")]
)
def test_too_few(held_out: int, fakes: int, word: str) -> None:
    with pytest.raises(TrainerError, match=word):
        make_split(held_out, fakes)
