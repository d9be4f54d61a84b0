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

from trainer.metrics.features import StandardisedNet
from trainer.nets.efficientnet import is_installed, load_pretrained
from trainer.nets.vision import PretrainedVision, describe_all

PRETRAINED_FEATURES = 432


class PretrainedNet(StandardisedNet):
    """The pretrained net; its 432 features are channel means of the two coarsest maps."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        """Raises TrainerError where the weights are missing."""
        super().__init__(device, PRETRAINED_FEATURES)
        self._vision = PretrainedVision(load_pretrained()).to(self.device)

    def _raw(self, pictures: NDArray[np.uint8]) -> Tensor:
        return describe_all(self._vision, pictures, self.device).content


def pretrained_net(device: str | torch.device = "cpu") -> PretrainedNet | None:
    """The net, or None on a machine without its weights: a plain critic is trained without them."""
    return PretrainedNet(device) if is_installed() else None
