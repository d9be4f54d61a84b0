"""Pictures between files and networks: uint8 (n, r, r, 3) outside, float32 (n, 3, r, r) in [-1, 1] inside.

And the fixed order in which training pictures are shown.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DRAWN_AT_ONCE = 64


def to_device(pictures: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Pictures (n, r, r, 3) to a uint8 tensor (n, 3, r, r) on the device, channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2)


def to_float(pictures: Tensor) -> Tensor:
    """uint8 (n, 3, r, r) to float32 in [-1, 1]."""
    return (pictures * (1 / 127.5)).sub_(1.0)


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Pictures (n, 3, h, w) in [-1, 1] to uint8 (n, h, w, 3) in [0, 255], on the CPU."""
    scaled = (images.float() + 1.0).mul(127.5).round().clamp(0, 255)
    array: NDArray[np.uint8] = scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


def draw(
    generator: Callable[[Tensor], Tensor], latents: Tensor, device: torch.device | str
) -> NDArray[np.uint8]:
    """Pictures (n, r, r, 3) of latents (n, z), some at a time; `generator` is one in evaluation mode."""
    with torch.inference_mode():
        parts = [to_uint8(generator(part.to(device))) for part in latents.split(DRAWN_AT_ONCE)]
    return np.concatenate(parts)


def mirror(images: Tensor, flags: Tensor) -> Tensor:
    """Mirror the pictures whose flag (n,) is set, left to right."""
    return torch.where(flags.reshape(-1, 1, 1, 1), images.flip(3), images)


class BatchOrder:
    """Which pictures the k-th batch holds: a new permutation each epoch, a function of (seed, position) only.

    Nothing has to be saved for an exact resume but how many pictures were shown.
    """

    def __init__(self, count: int, seed: int, device: torch.device) -> None:
        self.count = count
        self.seed = seed
        self.device = device
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.long)

    def indices(self, shown: int, batch: int) -> Tensor:
        """Indices (batch,) of the pictures after `shown` of them; a batch may span two epochs."""
        parts: list[Tensor] = []
        while batch:
            epoch, start = divmod(shown, self.count)
            part = self._of_epoch(epoch)[start : start + batch]
            parts.append(part)
            shown += len(part)
            batch -= len(part)
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _of_epoch(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            rng = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            self._permutation = torch.randperm(self.count, generator=rng).to(self.device)
            self._epoch = epoch
        return self._permutation
