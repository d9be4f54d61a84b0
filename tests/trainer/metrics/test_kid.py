"""KID against scikit-learn's kernel, torch-fidelity where it is there, and a case by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel
from torch import Tensor

from trainer.metrics.kid import Kid, kid, mmd2, sharp_kid


def sample(count: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(count, 12, generator=torch.Generator().manual_seed(seed))


def test_by_hand() -> None:
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    # k(0, 1) = 1, k(1, 2) = 27, and between the sets 1, 1, 8, 27 with mean 9.25.
    assert mmd2(a, b) == pytest.approx(1 + 27 - 2 * 9.25)


def test_is_scikit_learns_cubic_kernel() -> None:
    a, b = sample(20, 1), sample(31, 2, 1.3)
    within_a, within_b, between = (polynomial_kernel(x, y, degree=3) for x, y in ((a, a), (b, b), (a, b)))
    expected = (
        (within_a.sum() - np.trace(within_a)) / (20 * 19)
        + (within_b.sum() - np.trace(within_b)) / (31 * 30)
        - 2 * between.mean()
    )
    assert mmd2(a, b) == pytest.approx(expected, rel=1e-4)


def test_is_torch_fidelitys() -> None:
    try:
        from torch_fidelity.metric_kid import kid_features_to_metric
    except (ImportError, RuntimeError) as error:  # torchvision for another torch raises RuntimeError
        pytest.skip(f"torch-fidelity is not usable here: {error}")
    a, b = sample(40, 1).double(), sample(40, 2, 1.2).double()
    theirs = kid_features_to_metric(a, b, kid_subset_size=40, kid_subsets=1, verbose=False)
    assert mmd2(a, b) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)


def test_is_unbiased() -> None:
    values = [mmd2(sample(8, 2 * k), sample(8, 2 * k + 1)) for k in range(400)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error


def test_subsets_average_to_the_whole_and_repeat() -> None:
    a, b = sample(120, 5), sample(90, 6, 1.5)
    parts = kid(a, b, subset_size=60, subsets=60, seed=3)
    assert parts.mean == pytest.approx(mmd2(a, b), rel=0.2)
    assert parts.deviation > 0
    assert kid(a, b, subset_size=60, subsets=60, seed=3) == parts
    assert kid(a, b).mean == mmd2(a, b)


def test_everything_is_the_one_subset_where_both_are_that_few() -> None:
    a, b = sample(10, 1), sample(30, 2)
    assert kid(a, b, subset_size=30) == Kid(mmd2(a, b), 0.0)
    assert kid(a, b, subset_size=20, subsets=3).deviation > 0
    assert kid(b, a, subset_size=20, subsets=3).deviation > 0


def test_a_sharp_one_is_of_everything_and_as_rough_as_its_blocks_are() -> None:
    """The deviation of the mean of as many blocks: theirs over the root of their number."""
    a, b = sample(21, 1), sample(31, 2)
    blocks = [mmd2(part, b) for part in (a[:6], a[6:12], a[12:18], a[18:])]
    found = sharp_kid(a, b, blocks=4)
    assert found.mean == mmd2(a, b)
    assert found.deviation == pytest.approx(np.std(blocks, ddof=1) / 2)


def test_a_block_of_one_says_nothing_and_one_block_has_no_deviation() -> None:
    a, b = sample(5, 1), sample(9, 2)
    pairs = [mmd2(a[:2], b), mmd2(a[2:4], b)]
    assert sharp_kid(a, b, blocks=3).deviation == pytest.approx(np.std(pairs, ddof=1) / np.sqrt(2))
    assert sharp_kid(a[:3], b, blocks=2).deviation == 0


def test_needs_two() -> None:
    with pytest.raises(ValueError, match="two samples"):
        mmd2(sample(1, 0), sample(5, 0))
