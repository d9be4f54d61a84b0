"""Sliced Wasserstein against SciPy's one-dimensional distance and pyramid, and closed forms."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from scipy.stats import wasserstein_distance

from tests.trainer.metrics.pictures import blurred, discs
from trainer.metrics.swd import (
    laplacian_pyramid,
    patch_sets,
    sliced_wasserstein,
    sliced_wasserstein_by_level,
)


def test_is_scipys_distance_in_every_direction() -> None:
    rng = torch.Generator().manual_seed(1)
    a, b = torch.randn(50, 5, generator=rng), torch.rand(50, 5, generator=rng)
    lines = torch.randn(40, 5, generator=torch.Generator().manual_seed(7))
    lines = lines / lines.norm(dim=1, keepdim=True)
    expected = np.mean([wasserstein_distance(a @ line, b @ line) for line in lines])
    assert sliced_wasserstein(a, b, directions=40, seed=7) == pytest.approx(expected, rel=1e-5)


def test_shift_in_one_dimension_is_the_shift() -> None:
    a = torch.randn(30, 1, generator=torch.Generator().manual_seed(0))
    assert sliced_wasserstein(a, a + 2.5, directions=9) == pytest.approx(2.5, rel=1e-5)


def test_pyramid_is_burt_and_adelsons() -> None:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 255
    taps = np.array([1, 4, 6, 4, 1]) / 16
    kernel = np.outer(taps, taps)
    detail, rest = laplacian_pyramid(image)
    for channel in range(3):
        plane = image[0, channel].double().numpy()
        small = convolve(plane, kernel, mode="mirror")[::2, ::2]
        wide = np.zeros((32, 32))
        wide[::2, ::2] = small
        np.testing.assert_allclose(rest[0, channel], small, atol=1e-3)
        np.testing.assert_allclose(
            detail[0, channel], plane - convolve(wide, 4 * kernel, mode="mirror"), atol=1e-3
        )


def test_patches_are_normalised_by_channel() -> None:
    sets = patch_sets(discs(6, 64), torch.device("cpu"), patches=20)
    assert list(sets) == [64, 32, 16]
    for patches in sets.values():
        assert patches.shape == (120, 147)
        channels = patches.reshape(120, 3, 49)
        assert channels.mean((0, 2)).abs().max() < 1e-4
        assert (channels.std((0, 2), correction=0) - 1).abs().max() < 1e-4


def test_blur_shows_at_the_fine_level_and_equal_sets_are_at_zero() -> None:
    reals, others = discs(16, seed=1), discs(16, seed=2)
    floor = sliced_wasserstein_by_level(reals, others)
    blur = sliced_wasserstein_by_level(reals, blurred(others))
    assert list(floor) == ["swd", "swd_32", "swd_16"]
    assert blur["swd_32"] > 2 * floor["swd_32"]
    assert floor["swd"] == pytest.approx((floor["swd_32"] + floor["swd_16"]) / 2)
    assert set(sliced_wasserstein_by_level(reals, reals).values()) == {0.0}


def test_refuses_unequal_sets() -> None:
    with pytest.raises(ValueError, match="equal size"):
        sliced_wasserstein_by_level(discs(4), discs(5))
    with pytest.raises(ValueError, match="equal size"):
        sliced_wasserstein(torch.zeros(3, 2), torch.zeros(4, 2))
