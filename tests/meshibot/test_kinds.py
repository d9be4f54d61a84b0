"""Which kind of post a weekday has."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.errors import UsageError
from meshibot.kinds import PICTURES, Kind, Mix

SATURDAY, SUNDAY, MONDAY = (date(2026, 11, day) for day in (28, 29, 30))


@pytest.mark.parametrize(
    "said",
    [
        "single, sat grid, sun grid9",
        " Saturday grid,single,  sunday  grid9 ",
        {"sat": "grid", "sun": "grid9"},
        {"usual": "single", "Sunday": "grid9", "sat": "grid"},
    ],
)
def test_a_mix_is_written_as_a_line_or_a_table(said: object) -> None:
    mix = Mix.parse(said)
    assert [mix.on(day) for day in (SATURDAY, SUNDAY, MONDAY)] == ["grid", "grid9", "single"]
    assert mix.kinds == {"single", "grid", "grid9"}
    assert str(mix) == "single, sat grid, sun grid9"


@given(st.sampled_from(Kind), st.dictionaries(st.integers(0, 6), st.sampled_from(Kind)))
def test_what_is_written_is_read_again(usual: Kind, days: dict[int, Kind]) -> None:
    mix = Mix(usual, tuple(sorted(days.items())))
    assert Mix.parse(str(mix)) == mix


@pytest.mark.parametrize(
    "said",
    ["", "double", "sat", "sat grid, sat single", "satt grid", "single, grid", {"sat": 4}, {"sat": ["grid"]}],
)
def test_anything_else_is_a_sentence(said: object) -> None:
    with pytest.raises(UsageError, match=r"write it like 'single, sat grid, sun grid9'"):
        Mix.parse(said)


def test_of_every_kind_it_is_known_how_many_pictures_it_takes() -> None:
    assert [PICTURES[kind] for kind in Kind] == [1, 4, 9, 2, 1]
