"""Sliced Wasserstein distance between the patches of two sets, by level of a Laplacian pyramid.

Karras et al., 'Progressive Growing of GANs for Improved Quality, Stability, and Variation' (ICLR 2018),
section 5 and appendix B; the pyramid is that of Burt and Adelson (1983).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trainer.pictures import to_device

PATCH = 7
PATCHES = 128
DIRECTIONS = 512
SMALLEST_LEVEL = 16
SCALE = 1000.0
"""The paper's tables show the distance times 10³."""
_DIRECTIONS_AT_ONCE = 64
_PICTURES_AT_ONCE = 128


def sliced_wasserstein_by_level(
    pictures: NDArray[np.uint8],
    others: NDArray[np.uint8],
    *,
    device: str | torch.device = "cpu",
    directions: int = DIRECTIONS,
) -> dict[str, float]:
    """The mean of the levels, and each by its side, finest first: `swd`, `swd_64`, ..., `swd_16`.

    `pictures`, `others`: uint8 (n, r, r, 3), the same n. Patches are normalised in each set and channel,
    so a colour cast is invisible here: see `trainer.metrics.colour`.
    """
    if len(pictures) != len(others):
        raise ValueError("sliced Wasserstein compares sets of equal size")
    device = torch.device(device)
    pair = [patch_sets(each, device) for each in (pictures, others)]
    figures = {
        f"swd_{side}": SCALE * sliced_wasserstein(a, b, directions=directions)
        for (side, a), b in zip(pair[0].items(), pair[1].values(), strict=True)
    }
    return {"swd": sum(figures.values()) / len(figures), **figures}


def sliced_wasserstein(a: Tensor, b: Tensor, *, directions: int = DIRECTIONS, seed: int = 0) -> float:
    """Mean over random directions of the W1 distance between the projections of `a` and `b`, both (n, d).

    In one dimension, and with as many points on either side, W1 is the mean difference of sorted values.
    """
    if a.shape != b.shape:
        raise ValueError("sliced Wasserstein compares sets of equal size")
    rng = torch.Generator().manual_seed(seed)
    lines = F.normalize(torch.randn(directions, a.shape[1], generator=rng), dim=1).to(a.device)
    total = sum(
        (_sorted_rows(part @ a.T) - _sorted_rows(part @ b.T)).abs().mean(1).sum().item()
        for part in lines.split(_DIRECTIONS_AT_ONCE)
    )
    return float(total / directions)


def _sorted_rows(values: Tensor) -> Tensor:
    """Rows in ascending order; NumPy sorts several times faster than torch where there is no GPU."""
    if values.device.type != "cpu":
        return values.sort(dim=1).values
    array: NDArray[Any] = values.numpy()
    array.sort(axis=1)
    return values


def patch_sets(
    pictures: NDArray[np.uint8], device: torch.device, *, patches: int = PATCHES
) -> dict[int, Tensor]:
    """Normalised patches (n × patches, 3 × 7 × 7) of each level, by the level's side, finest first."""
    rng = torch.Generator().manual_seed(0)
    gathered: dict[int, list[Tensor]] = {}
    for start in range(0, len(pictures), _PICTURES_AT_ONCE):
        chunk = to_device(pictures[start : start + _PICTURES_AT_ONCE], device).float().contiguous()
        for level in laplacian_pyramid(chunk):
            gathered.setdefault(level.shape[-1], []).append(_random_patches(level, patches, rng))
    return {side: _normalised(torch.cat(parts)) for side, parts in gathered.items()}


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """Details of (n, 3, r, r) at r, r/2, ..., and at last the low-pass remainder of side 16."""
    levels = []
    while images.shape[-1] > SMALLEST_LEVEL:
        smaller = _blur(images)[..., ::2, ::2]
        levels.append(images - _enlarge(smaller))
        images = smaller
    return [*levels, images]


def _blur(images: Tensor) -> Tensor:
    """Burt and Adelson's binomial 5 × 5 filter, mirrored at the edges."""
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=images.device) / 16
    kernel = (taps[:, None] * taps).expand(images.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=images.shape[1])


def _enlarge(images: Tensor) -> Tensor:
    """Twice the side: zeros between the pixels, then the same filter with four times the weight."""
    count, channels, height, width = images.shape
    wide = images.new_zeros(count, channels, 2 * height, 2 * width)
    wide[..., ::2, ::2] = images
    return 4 * _blur(wide)


def _random_patches(images: Tensor, patches: int, rng: torch.Generator) -> Tensor:
    """(n × patches, 3, 7, 7) at places drawn evenly among those where a patch fits."""
    count, _, height, width = images.shape
    windows = images.unfold(2, PATCH, 1).unfold(3, PATCH, 1)
    rows = torch.randint(height - PATCH + 1, (count, patches), generator=rng).to(images.device)
    columns = torch.randint(width - PATCH + 1, (count, patches), generator=rng).to(images.device)
    which = torch.arange(count, device=images.device)[:, None]
    return windows[which, :, rows, columns].flatten(0, 1)


def _normalised(patches: Tensor) -> Tensor:
    """Each colour channel of the whole set to mean 0 and deviation 1; flattened to (n, 3 × 7 × 7)."""
    deviation, mean = torch.std_mean(patches, dim=(0, 2, 3), keepdim=True, correction=0)
    return ((patches - mean) / deviation.clamp_min(1e-8)).flatten(1)
