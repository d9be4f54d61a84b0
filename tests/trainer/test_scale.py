"""What the critic's word, layout and content come to together."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.scale import Scale


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 100), st.floats(-100, 100), st.floats(0.01, 100), st.floats(-100, 100))
def test_units_of_neither_count(a: float, b: float, c: float, d: float) -> None:
    rng = torch.Generator().manual_seed(2)
    critic, typical, near = torch.randn(3, 50, generator=rng, dtype=torch.float64)
    for others, moved in (
        ((typical,), (c * typical + d,)),
        ((typical, near), (c * typical + d, a * near + d)),
    ):
        plain, other = Scale.of(critic, *others), Scale.of(a * critic + b, *moved)
        assert plain is not None
        assert other is not None
        scores = plain.score(critic, *others)
        assert torch.allclose(other.score(a * critic + b, *moved), scores, atol=1e-6)
        assert scores.mean().item() == pytest.approx(0, abs=1e-9)


def test_a_score_is_the_mean_of_both_in_their_units() -> None:
    scale = Scale(critic_mean=1, critic_deviation=2, typicality_mean=10, typicality_deviation=5)
    critic, typical = torch.tensor([5.0, 1.0]), torch.tensor([20.0, 5.0])
    assert scale.score(critic, typical).tolist() == [2.0, -0.5]
    halved = replace(scale, critic_weight=0.25)
    assert halved.score(critic, typical).tolist() == pytest.approx([(0.25 * 2 + 2) / 1.25, -1 / 1.25])


def test_content_counts_as_much_as_layout_where_a_scale_speaks_of_it() -> None:
    scale = Scale(1, 2, 10, 5, 0.5)
    critic, typical, near = torch.tensor([5.0]), torch.tensor([20.0]), torch.tensor([-8.0])
    assert scale.score(critic, typical, near).equal(scale.score(critic, typical))
    whole = replace(scale, nearness_mean=-2.0, nearness_deviation=4.0)
    assert whole.score(critic, typical, near).tolist() == pytest.approx([(0.5 * 2 + 2 - 1.5) / 2.5])


def test_two_photographs_are_enough_for_a_scale() -> None:
    critic, typical, near = torch.tensor([[0.0, 2.0], [5.0, 1.0], [-1.0, -3.0]])
    scale, whole = Scale.of(critic, typical), Scale.of(critic, typical, near)
    assert scale is not None
    assert whole is not None
    assert scale.numbers == pytest.approx((1.0, math.sqrt(2), 3.0, math.sqrt(8), 0.5))
    assert whole.numbers == pytest.approx((*scale.numbers, -2.0, math.sqrt(2)))


@pytest.mark.parametrize(
    "numbers", [(0.5, 1, -2, 0.25), (0.5, 1, -2, 0.25, 0.75), (0, 1, 0, 1, 1, -9, 2), ()]
)
def test_a_scale_comes_back_from_its_numbers(numbers: tuple[float, ...]) -> None:
    scale = Scale.from_numbers(list(numbers))
    if not numbers:
        assert scale is None
    else:
        assert scale is not None
        assert scale.numbers == (*numbers, 1.0)[: max(5, len(numbers))]
        assert Scale.from_numbers(scale.numbers) == scale


def test_photographs_that_are_all_alike_have_no_scale() -> None:
    assert Scale.of(torch.ones(5), torch.arange(5.0)) is None
    assert Scale.of(torch.arange(5.0), torch.ones(5)) is None
    assert Scale.of(torch.arange(5.0), torch.arange(5.0), torch.ones(5)) is None
    assert Scale.of(torch.zeros(1), torch.zeros(1)) is None


@pytest.mark.parametrize(
    "values",
    [
        *((0, 0, 0, 1), (0, 1, 0, -1), (math.nan, 1, 0, 1), (0, math.inf, 0, 1)),
        *((0, 1, 0, 1, 0), (0, 1, 0, 1, math.nan), (0, 1, 0, 1, 1, 0, 0), (0, 1, 0, 1, 1, math.nan, 1)),
    ],
)
def test_a_scale_that_is_none_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="scale of its scores"):
        Scale(*values)
