"""Features of a pretrained network: what the random one can't tell, whether a bowl is a bowl.

The network is the one that a seeing critic looks through, and it flatters what was trained through it
(Kynkäänniemi et al. 2023, 'The Role of ImageNet Classes in Fréchet Inception Distance'): good for comparing
runs of one kind, and for telling copies; kinds of critic are compared by the eye.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.metrics.features import STANDARDISE_ON
from trainer.nets.efficientnet import is_installed, load_pretrained
from trainer.nets.vision import PretrainedVision, describe_all

PRETRAINED_FEATURES = 432


class PretrainedNet:
    """Maps uint8 pictures (n, r, r, 3) to features (n, 432): channel means of the two coarsest maps."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        """Raises TrainerError where the weights are missing."""
        self.device = torch.device(device)
        self._vision = PretrainedVision(load_pretrained()).to(self.device)
        self._mean = torch.zeros(PRETRAINED_FEATURES, device=self.device)
        self._deviation = torch.ones(PRETRAINED_FEATURES, device=self.device)

    def standardise(self, training: NDArray[np.uint8]) -> PretrainedNet:
        """From now on give features with mean 0 and deviation 1 over `training`, of which it looks at 1,000.
        Returns itself."""
        chosen = np.unique(np.linspace(0, len(training) - 1, STANDARDISE_ON).astype(int))
        deviation, mean = torch.std_mean(self._raw(training[chosen]), dim=0, correction=0)
        self._mean, self._deviation = mean, deviation.clamp_min(1e-6)
        return self

    def __call__(self, pictures: NDArray[np.uint8]) -> Tensor:
        features = (self._raw(pictures) - self._mean) / self._deviation
        # what is made of them takes float64, which Apple's GPUs haven't
        return features.cpu() if self.device.type == "mps" else features

    def _raw(self, pictures: NDArray[np.uint8]) -> Tensor:
        return describe_all(self._vision, pictures, self.device)


def pretrained_net(device: str | torch.device = "cpu") -> PretrainedNet | None:
    """The net, or None on a machine without its weights: a plain critic is trained without them."""
    return PretrainedNet(device) if is_installed() else None
