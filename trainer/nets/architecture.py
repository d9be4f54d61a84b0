"""The shape of both networks as plain values. Needs no torch: settings and checkpoints are checked by it."""

import math
from dataclasses import dataclass
from typing import Literal

RESOLUTIONS = (32, 64, 128, 256)
NetworkKind = Literal["plain", "residual"]
GeneratorNorm = Literal["batch", "pixel", "none"]
CriticNorm = Literal["batch", "none"]
KINDS: tuple[NetworkKind, ...] = ("plain", "residual")
MOST_WIDTH = 1024
MOST_LATENTS = 8192


@dataclass(frozen=True)
class Architecture:
    """Everything needed to build both networks. Kept in the checkpoint's metadata."""

    resolution: int = 64
    width: int = 64
    latent_size: int = 128
    kind: NetworkKind = "plain"
    generator_norm: GeneratorNorm = "pixel"
    critic_norm: CriticNorm = "none"

    @property
    def levels(self) -> int:
        """How many times the resolution halves on the way from the picture to 4x4."""
        return int(math.log2(self.resolution)) - 2

    def channels(self, size: int) -> int:
        """Feature channels at `size` x `size`: half the width at the picture's own size, where they cost
        most, then doubling as the size halves, up to eight times the width."""
        return max(1, self.width * min(16, self.resolution // size) // 2)
