"""Generator and critic for 32 to 256 px: what a latent becomes, and what the critic makes of a picture.

Knows nothing of objectives, data or files. Pictures are (n, 3, r, r) in [-1, 1]; latents (n, z) ~ N(0, 1).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.nets.architecture import Architecture, CriticNorm, GeneratorNorm
from trainer.nets.layers import BatchNorm, Convolution, DownConv, PixelNorm, UpConv, leaky_relu, mean_pool


def _norm(kind: GeneratorNorm | CriticNorm, channels: int) -> nn.Module:
    if kind == "batch":
        return BatchNorm(channels)
    return PixelNorm() if kind == "pixel" else nn.Identity()


def _initialise(module: nn.Module) -> None:
    """He initialisation for the leaky ReLU; biases start at zero.

    On the meta device there is nothing to fill, and drawing there makes torch import its compiler: a second.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and not layer.weight.is_meta:
            nn.init.kaiming_normal_(layer.weight, a=0.2)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class _PlainUp(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm: GeneratorNorm) -> None:
        super().__init__()
        self.conv = UpConv(in_channels, out_channels)
        self.norm = _norm(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.norm(self.conv(x)))


class _ResidualUp(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm: GeneratorNorm) -> None:
        super().__init__()
        self.norm1 = _norm(norm, in_channels)
        self.up = UpConv(in_channels, out_channels)
        self.norm2 = _norm(norm, out_channels)
        self.conv = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(leaky_relu(self.norm2(self.up(leaky_relu(self.norm1(x))))))
        # a 1x1 convolution commutes with nearest upsampling: do it on the small side
        skip: Tensor = self.skip(x)
        return torch.add(functional.interpolate(skip, scale_factor=2.0, mode="nearest"), h)


class Generator(nn.Module):
    """Latents (n, z) to pictures (n, 3, r, r) in [-1, 1]; in evaluation mode each from its own."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        base = arch.channels(4)
        self.project = nn.Linear(arch.latent_size, base * 16)
        self.norm = _norm(arch.generator_norm, base) if arch.kind == "plain" else nn.Identity()
        block = _PlainUp if arch.kind == "plain" else _ResidualUp
        sizes = [4 * 2**level for level in range(arch.levels)]
        self.blocks = nn.ModuleList(
            block(arch.channels(size), arch.channels(2 * size), arch.generator_norm) for size in sizes
        )
        last = arch.channels(arch.resolution)
        self.final_norm = _norm(arch.generator_norm, last) if arch.kind == "residual" else nn.Identity()
        self.to_rgb = nn.Conv2d(last, 3, 3, padding=1)
        _initialise(self)
        if not self.to_rgb.weight.is_meta:
            nn.init.normal_(self.to_rgb.weight, std=1.0 / math.sqrt(last * 9))

    def forward(self, latents: Tensor) -> Tensor:
        x = self.project(latents).reshape(latents.shape[0], -1, 4, 4)
        x = x.contiguous(memory_format=torch.channels_last)  # each layer keeps its input's layout
        if self.arch.kind == "plain":
            x = leaky_relu(self.norm(x))
        for block in self.blocks:
            x = block(x)
        if self.arch.kind == "residual":
            x = leaky_relu(self.final_norm(x))
        return torch.tanh(self.to_rgb(x))


class _PlainDown(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm: CriticNorm) -> None:
        super().__init__()
        self.conv = Convolution(in_channels, out_channels, 4, stride=2, padding=1)
        self.norm = _norm(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.norm(self.conv(x)))


class _ResidualDown(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm: CriticNorm) -> None:
        super().__init__()
        self.norm1 = _norm(norm, in_channels)
        self.conv = Convolution(in_channels, in_channels, 3, padding=1)
        self.norm2 = _norm(norm, in_channels)
        self.down = DownConv(in_channels, out_channels)
        self.skip = Convolution(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.down(leaky_relu(self.norm2(self.conv(leaky_relu(self.norm1(x))))))
        skip: Tensor = self.skip(mean_pool(x))
        return torch.add(skip, h)


class Critic(nn.Module):
    """Pictures (n, 3, r, r) to scores (n,): the higher, the more like a photograph."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        sizes = [arch.resolution // 2**level for level in range(arch.levels)]
        plain = arch.kind == "plain"
        first = arch.channels(arch.resolution)
        self.from_rgb = nn.Identity() if plain else Convolution(3, first, 3, padding=1)
        block = _PlainDown if plain else _ResidualDown
        blocks = []
        for level, size in enumerate(sizes):
            in_channels = 3 if plain and level == 0 else arch.channels(size)
            # the picture itself is not normalised: its mean and contrast are part of what is judged
            norm: CriticNorm = "none" if level == 0 else arch.critic_norm
            blocks.append(block(in_channels, arch.channels(size // 2), norm))
        self.blocks = nn.ModuleList(blocks)
        self.score = nn.Linear(arch.channels(4) * 16, 1)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.score(self._maps(images).flatten(1)).squeeze(1)
        return scores

    def features(self, images: Tensor) -> Tensor:
        """What the score is made of, as means over the picture: (n, channels)."""
        return self._maps(images).mean((2, 3))

    def _maps(self, images: Tensor) -> Tensor:
        """The last level's features (n, channels, 4, 4)."""
        x: Tensor = self.from_rgb(images)
        for block in self.blocks:
            x = block(x)
        return leaky_relu(x) if self.arch.kind == "residual" else x


def latents_from_seeds(seeds: list[int], latent_size: int) -> Tensor:
    """One latent (z,) for each 63-bit seed, drawn on the CPU so that every machine draws the same."""
    rows = [torch.randn(latent_size, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)
