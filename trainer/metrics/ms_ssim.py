"""Multi-scale structural similarity, whose mean over pairs of fakes rises when they grow alike.

Wang, Simoncelli and Bovik, 'Multi-scale structural similarity for image quality assessment' (2003); between
random pairs as a sign of mode collapse: Odena, Olah and Shlens (ICML 2017), section 4.2.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trainer.pictures import to_device

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the levels, finest first."""
WINDOW = 11
SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_CHUNK = 64


def mean_pair_similarity(
    pictures: NDArray[np.uint8], *, device: str | torch.device = "cpu", pairs: int = 256, seed: int = 0
) -> float:
    """Mean MS-SSIM over `pairs` random pairs of different members of uint8 (n, r, r, 3). Low is diverse."""
    rng = np.random.Generator(np.random.PCG64(seed))
    first = rng.integers(0, len(pictures), pairs)
    second = (first + rng.integers(1, len(pictures), pairs)) % len(pictures)
    total = 0.0
    for start in range(0, pairs, _CHUNK):
        part = slice(start, start + _CHUNK)
        a, b = (
            to_device(pictures[chosen[part]], torch.device(device)).float().contiguous()
            for chosen in (first, second)
        )
        total += ms_ssim(a, b).sum().item()
    return total / pairs


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """MS-SSIM (n,) of pictures (n, 3, r, r) in [0, 255], r at least 16 · 2.

    The window shrinks with levels smaller than itself, its σ along with it, so that small pictures have five
    levels as well. Negative similarities count as 0, for their powers are no real numbers.
    """
    product = torch.ones(len(a), device=a.device)
    for level, weight in enumerate(WEIGHTS):
        similarity, contrast = _ssim(a, b)
        last = level == len(WEIGHTS) - 1
        product = product * (similarity if last else contrast).clamp_min(0) ** weight
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return product


def _ssim(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Means (n,) over channels and places of SSIM, and of its contrast and structure part alone."""
    kernel = _window(min(WINDOW, a.shape[-1]), a)

    def smooth(images: Tensor) -> Tensor:
        return F.conv2d(images, kernel, groups=images.shape[1])

    mean_a, mean_b = smooth(a), smooth(b)
    variance_a, variance_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    covariance = smooth(a * b) - mean_a * mean_b
    contrast = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return (luminance * contrast).mean((1, 2, 3)), contrast.mean((1, 2, 3))


def _window(size: int, like: Tensor) -> Tensor:
    """Normal weights (c, 1, size, size) that sum to 1."""
    sigma = SIGMA * size / WINDOW
    places = torch.arange(size, device=like.device, dtype=like.dtype) - (size - 1) / 2
    line = torch.exp(-0.5 * (places / sigma) ** 2)
    window = line[:, None] * line
    return (window / window.sum()).expand(like.shape[1], 1, size, size)
