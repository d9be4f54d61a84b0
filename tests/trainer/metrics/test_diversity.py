"""Diversity and MS-SSIM: closed forms, SciPy's pairwise distances, and MS-SSIM written out with SciPy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import correlate2d
from scipy.spatial.distance import pdist

from tests.trainer.metrics.pictures import discs
from trainer.metrics.diversity import colour_variety, pairwise_diversity
from trainer.metrics.ms_ssim import WEIGHTS, mean_pair_similarity, ms_ssim


def test_diversity_is_the_ratio_of_scipys_mean_distances() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = torch.rand(12, 3, generator=rng), torch.randn(17, 3, generator=rng)
    expected = pdist(a.double()).mean() / pdist(b.double()).mean()
    assert pairwise_diversity(a, b) == pytest.approx(expected, rel=1e-9)
    assert pairwise_diversity(2 * b, b) == pytest.approx(2.0)
    assert pairwise_diversity(b[:1].repeat(9, 1), b) == pytest.approx(0.0, abs=1e-6)


def test_variety_sees_colours_and_no_texture() -> None:
    """Two colours with noise are as varied as themselves; one colour with noise is not."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 40, (20, 16, 16, 3))
    two = (noise + np.where(np.arange(20) % 2, 0, 200)[:, None, None, None]).astype(np.uint8)
    one = noise.astype(np.uint8)
    assert colour_variety(two, two) == pytest.approx(1.0)
    assert colour_variety(one, two) < 0.1
    blocks = two.astype(float).reshape(20, 4, 4, 4, 4, 3).mean((2, 4)).reshape(20, -1)
    reference = one.astype(float).reshape(20, 4, 4, 4, 4, 3).mean((2, 4)).reshape(20, -1)
    assert colour_variety(two, one) == pytest.approx(pdist(blocks).mean() / pdist(reference).mean())


Plane = NDArray[np.float64]


def plain_ms_ssim(a: Plane, b: Plane) -> float:
    """Of one pair (3, r, r), straight from the paper, with windows that shrink along with the level."""
    product = 1.0
    for level, weight in enumerate(WEIGHTS):
        size = min(11, a.shape[-1])
        places = np.arange(size) - (size - 1) / 2
        line = np.exp(-(places**2) / (2 * (1.5 * size / 11) ** 2))
        window = np.outer(line, line) / line.sum() ** 2
        luminances, contrasts = [], []
        for x, y in zip(a, b, strict=True):
            mx, my, xx, yy, xy = (
                correlate2d(each, window, mode="valid") for each in (x, y, x * x, y * y, x * y)
            )
            vx, vy, vxy = xx - mx**2, yy - my**2, xy - mx * my
            contrasts.append((2 * vxy + 58.5225) / (vx + vy + 58.5225))
            luminances.append((2 * mx * my + 6.5025) / (mx**2 + my**2 + 6.5025))
        contrast = np.array(contrasts)
        value = (contrast * luminances).mean() if level == 4 else contrast.mean()
        product *= max(value, 0.0) ** weight
        a, b = ((p[:, ::2, ::2] + p[:, 1::2, ::2] + p[:, ::2, 1::2] + p[:, 1::2, 1::2]) / 4 for p in (a, b))
    return product


@pytest.mark.parametrize("side", [32, 64])
def test_ms_ssim_is_the_papers(side: int) -> None:
    rng = np.random.default_rng(0)
    a = discs(4, side).transpose(0, 3, 1, 2).astype(float)
    b = np.clip(a + rng.normal(0, 20, a.shape), 0, 255)
    found = ms_ssim(torch.from_numpy(a), torch.from_numpy(b))
    expected = [plain_ms_ssim(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert 0.1 < min(expected) < 0.99
    torch.testing.assert_close(ms_ssim(torch.from_numpy(a), torch.from_numpy(a)), torch.ones(4).double())


def test_pairs_of_one_picture_are_at_one_and_different_ones_below() -> None:
    pictures = discs(20)
    same = np.repeat(pictures[:1], 20, axis=0)
    assert mean_pair_similarity(same, pairs=30) == pytest.approx(1.0, abs=1e-5)
    different = mean_pair_similarity(pictures, pairs=30)
    assert different < 0.6
    assert mean_pair_similarity(pictures, pairs=30) == different


def test_a_picture_is_never_paired_with_itself() -> None:
    two = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
    assert mean_pair_similarity(two, pairs=40) < 0.5
