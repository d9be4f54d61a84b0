"""Differentiable augmentation on the device, the same kinds for reals and fakes (Zhao et al. 2020).

Pictures (n, 3, r, r) in [-1, 1] in, the same shape out. Random numbers are drawn apart from their use, so
that several processes can draw one batch's numbers and each apply its own share.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.nets.vision import mirrored

NUMBERS = 5
"""Uniform numbers a picture needs: brightness, saturation, contrast, two of translation."""


@dataclass(frozen=True)
class Augmentation:
    """How strong each kind is; zero switches it off."""

    colour: float = 0.0
    """1.0 is DiffAugment's range: brightness ±0.5 (of [-1, 1]), saturation ×0..2, contrast ×0.5..1.5."""
    translation: float = 0.0
    """Greatest shift as a share of the side; what comes in is mirrored at the edge."""

    @property
    def active(self) -> bool:
        """Whether it does anything, and needs numbers."""
        return bool(self.colour or self.translation)

    def __call__(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Augment each picture by its own row of `numbers`, (n, NUMBERS) in [0, 1)."""
        if self.colour:
            images = _colour(images, numbers[:, 0:3], self.colour)
        if self.translation:
            images = _translate(images, numbers[:, 3:5], self.translation)
        return images


def draw_numbers(count: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """The uniform numbers of `count` pictures, (count, NUMBERS)."""
    return torch.rand(count, NUMBERS, generator=rng, device=device)


def _colour(images: Tensor, numbers: Tensor, strength: float) -> Tensor:
    """Brightness, saturation and contrast in that order, as in DiffAugment."""
    shift, saturation, contrast = ((numbers[:, i].reshape(-1, 1, 1, 1) - 0.5) * strength for i in range(3))
    images = images + shift
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (1 + 2 * saturation)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (1 + contrast)


def _translate(images: Tensor, numbers: Tensor, share: float) -> Tensor:
    """Whole-pixel shifts by gathering rows and columns; outside, a picture goes on mirrored.

    What were a plain edge, the generator would learn for a thousand steps (docs/experiments.md).
    """
    n, c, _, size = images.shape
    reach = min(max(1, round(size * share)), size - 1)
    offsets = (numbers * (2 * reach + 1)).long() - reach
    steps = torch.arange(size, device=images.device)
    rows = mirrored(offsets[:, 0].reshape(-1, 1, 1, 1) + steps.reshape(1, 1, -1, 1), size)
    columns = mirrored(offsets[:, 1].reshape(-1, 1, 1, 1) + steps.reshape(1, 1, 1, -1), size)
    band = images.gather(2, rows.expand(n, c, size, size))
    return band.gather(3, columns.expand(n, c, size, size))
