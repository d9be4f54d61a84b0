"""Features without a download: a fixed convolution net with random weights, the same on every machine.

Random convolution nets tell distributions of pictures apart, and better than ImageNet's do where the pictures
are far from ImageNet: Naeem et al., 'Reliable Fidelity and Diversity Metrics for Generative Models' (ICML
2020), section 4.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from functools import cache
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trainer.pictures import to_device, to_float

SEED = 20180507
WEIGHTS_SHA256 = "b2e2fde161ba273f4e8b4ea4ef1cc9c0c00b511c1203fd91cfae1a23e399f97e"
"""Of the weights' little-endian float32 bytes, in order. Figures are comparable between equal hashes only."""
CHANNELS = (16, 32, 48, 64, 64)
FEATURES = 2 * sum(CHANNELS) + 4 * CHANNELS[-1]
STANDARDISE_ON = 1000
LIMIT = 5.0
"""Its standardised features are cut off here: the cube in KID would let a single odd photograph decide."""
_CHUNK = 64


@cache
def weights() -> tuple[NDArray[np.float32], ...]:
    """Kernels (out, in, 3, 3) of each layer, even in [-√(3/fan in), √(3/fan in)]: variance 1/fan in.

    They come from PCG64's raw output, which NumPy promises never to change; its distributions it may.
    Half of the first layer's kernels have mean 0, so that brightness does not drown everything else.
    """
    stream = np.random.PCG64(SEED)
    kernels: list[NDArray[np.float32]] = []
    before = 3
    for channels in CHANNELS:
        fan_in = before * 9
        raw = stream.random_raw(channels * fan_in) >> np.uint64(40)
        even = raw.astype(np.float64) / 2**23 - 1.0
        kernel = (even * np.sqrt(3 / fan_in)).reshape(channels, before, 3, 3)
        if not kernels:
            # Summed by fsum: NumPy's own order of summing differs between processors.
            for filter_ in kernel[: channels // 2]:
                filter_ -= math.fsum(filter_.flat) / filter_.size
        kernels.append(kernel.astype(np.float32))
        before = channels
    return tuple(kernels)


def weights_sha256() -> str:
    """What `WEIGHTS_SHA256` has to be."""
    digest = hashlib.sha256()
    for kernel in weights():
        digest.update(kernel.astype("<f4").tobytes())
    return digest.hexdigest()


class StandardisedNet(ABC):
    """Maps uint8 pictures (n, r, r, 3) to features (n, d) in float32, standardised over photographs.

    Otherwise the few strongest channels would decide every distance.
    """

    limit = math.inf
    """Standardised features are cut off there."""

    def __init__(self, device: str | torch.device, features: int) -> None:
        self.device = torch.device(device)
        self._mean = torch.zeros(features, device=self.device)
        self._deviation = torch.ones(features, device=self.device)

    def standardise(self, training: NDArray[np.uint8]) -> Self:
        """From now on give features with mean 0 and deviation 1 over `training`, of which it looks at 1,000
        evenly spaced pictures. Returns itself."""
        self._standardise_by(self._raw(training[_some_of(training)]))
        return self

    def standardised(self, training: NDArray[np.uint8]) -> Tensor:
        """`standardise`, and the features of all of `training`, each looked at once."""
        raw = self._raw(training)
        self._standardise_by(raw[torch.from_numpy(_some_of(training))])
        return self._features(raw)

    def __call__(self, pictures: NDArray[np.uint8]) -> Tensor:
        return self._features(self._raw(pictures))

    @abstractmethod
    def _raw(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Their features as the net gives them."""

    def _standardise_by(self, raw: Tensor) -> None:
        deviation, mean = torch.std_mean(raw, dim=0, correction=0)
        self._mean, self._deviation = mean, deviation.clamp_min(1e-6)

    def _features(self, raw: Tensor) -> Tensor:
        features = ((raw - self._mean) / self._deviation).clamp(-self.limit, self.limit)
        # what is made of them takes float64, which Apple's GPUs haven't
        return features.cpu() if self.device.type == "mps" else features


def _some_of(training: NDArray[np.uint8]) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, len(training) - 1, STANDARDISE_ON).astype(np.intp))


class FeatureNet(StandardisedNet):
    """The random net; of pictures of 32 to 512 px, with 704 features."""

    limit = LIMIT

    def __init__(self, device: str | torch.device = "cpu") -> None:
        super().__init__(device, FEATURES)
        self._kernels = [torch.from_numpy(kernel).to(self.device) for kernel in weights()]

    @torch.no_grad()
    def _raw(self, pictures: NDArray[np.uint8]) -> Tensor:
        # TF32 and autotuned kernels would make the features differ from one GPU to the next.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            parts = [
                self._forward(to_float(to_device(pictures[start : start + _CHUNK], self.device)))
                for start in range(0, len(pictures), _CHUNK)
            ]
        return torch.cat(parts)

    def _forward(self, images: Tensor) -> Tensor:
        """Mean and deviation over space of every layer, and the last layer's means over a 2 × 2 grid."""
        pooled = []
        for index, kernel in enumerate(self._kernels):
            images = F.conv2d(images, kernel, stride=2 if index else 1, padding=1)
            images = F.relu(images)
            deviation, mean = torch.std_mean(images, dim=(2, 3), correction=0)
            pooled += [mean, deviation]
        pooled.append(F.adaptive_avg_pool2d(images, 2).flatten(1))
        return torch.cat(pooled, dim=1)
