"""The realism score: by hand, and what has to hold for any features."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.metrics.realism import Realism


def cloud(count: int, size: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def test_by_hand_in_one_dimension() -> None:
    """The third others lie at 4, 3, 2, 4 and 11: the last point, beyond the median, is not asked."""
    points = torch.tensor([[0.0], [1.0], [2.0], [4.0], [12.0]])
    realism = Realism(points)
    radii = {0.0: 4.0, 1.0: 3.0, 2.0: 2.0, 4.0: 4.0}
    for x in (2.5, -7.0, 30.0):
        wanted = max(radius / abs(x - centre) for centre, radius in radii.items())
        assert realism(torch.tensor([[x]])).item() == pytest.approx(wanted, rel=1e-4)


def test_features_count_in_units_of_their_spread() -> None:
    """One that is ten times as large as another does not decide alone; nor does where it lies."""
    scale, shift = torch.tensor([1.0, 5.0, 0.5, 3.0]), torch.tensor([0.0, 3.0, 8.0, -2.0])
    photographs, pictures = cloud(50), cloud(20, seed=1)
    scaled = Realism(photographs * scale + shift)(pictures * scale + shift)
    torch.testing.assert_close(scaled, Realism(photographs)(pictures), rtol=1e-3, atol=1e-3)


def test_what_hardly_varies_over_photographs_is_no_yardstick() -> None:
    """Five of its own spreads, and a two-hundredth of the others', are next to nothing."""
    photographs, pictures = cloud(50, 3), cloud(20, 3, seed=1)
    narrow = torch.tensor([1.0, 1.0, 1e-4])
    moved = pictures * narrow + torch.tensor([0.0, 0.0, 5e-4])
    realism = Realism(photographs * narrow)
    torch.testing.assert_close(realism(moved), realism(pictures * narrow), rtol=0.05, atol=0)


def test_what_lies_among_photographs_scores_above_what_lies_apart() -> None:
    realism = Realism(cloud(50))
    among, apart = realism(cloud(20, seed=1)), realism(cloud(20, seed=1) + 20)
    assert among.min() > apart.max()


def test_a_photograph_scores_above_all_and_its_quantiles_leave_it_out() -> None:
    photographs = cloud(30)
    realism = Realism(photographs)
    marks = realism.quantiles(10)
    assert realism(photographs).max() > 1_000
    assert len(marks) == 11
    assert list(marks) == sorted(marks)
    assert marks[-1] < 100


def test_quantiles_are_those_of_as_many_pictures_as_good() -> None:
    """Of others from the same distribution half score above the median."""
    realism = Realism(cloud(400))
    above = (realism(cloud(400, seed=1)) >= realism.quantiles(2)[1]).float().mean()
    assert 0.35 < above < 0.65


def test_a_score_does_not_depend_on_the_batch() -> None:
    realism, pictures = Realism(cloud(40)), cloud(33, seed=2)
    assert torch.equal(realism(pictures)[5:6], realism(pictures[5:6]))


@given(st.integers(1, 6), st.booleans())
def test_few_or_equal_photographs_give_numbers(count: int, equal: bool) -> None:
    photographs = torch.ones(count, 3) if equal else cloud(count, 3)
    realism = Realism(photographs)
    assert torch.isfinite(realism(torch.cat([photographs, cloud(4, 3, seed=3)]))).all()
    marks = torch.tensor(realism.quantiles(4))
    assert torch.isfinite(marks).all()
    assert (marks.diff() >= 0).all()
