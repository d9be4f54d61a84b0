"""Generators: latents (n, z) ~ N(0, 1) to pictures (n, 3, r, r) in [-1, 1].

Knows nothing of objectives, data or files. In evaluation mode each picture is a function of its own latent.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.nets.architecture import GeneratorNorm, GeneratorShape, sizes_up_to
from trainer.nets.layers import BatchNorm, PixelNorm, UpConv, gate, initialise, leaky_relu, normal_

SECOND_CONVOLUTIONS = (8, 32)
"""Sizes at which a gated generator convolves twice. They halved every distance that the critic saw for a
tenth of a step's time: the generator was the bottleneck (docs/method.md)."""


class Generator(nn.Module):
    """What every kind has in common: its shape, and how it is called."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        self.shape = shape


def make_generator(shape: GeneratorShape) -> Generator:
    return GatedGenerator(shape) if shape.kind == "gated" else PlainGenerator(shape)


class GatedGenerator(Generator):
    """Gated linear units and skip-layer excitation: a light generator for few photographs.

    After Liu et al. 2021 ('Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image
    Synthesis', section 3.1), with folded upsampling and without its noise. Latents lie on a sphere, so that
    their length carries nothing.
    """

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__(shape)
        sizes = sizes_up_to(shape.resolution)
        self.project = nn.Linear(shape.latent_size, 2 * shape.at(4) * 16, bias=False)
        self.norm = BatchNorm(2 * shape.at(4))
        self.blocks = nn.ModuleDict(
            {
                str(size): _GatedUp(shape.at(size // 2), shape.at(size), second=size in SECOND_CONVOLUTIONS)
                for size in sizes[1:]
            }
        )
        self.excitations = nn.ModuleDict(
            {
                str(size): _Excitation(shape.at(source), shape.at(size))
                for size in sizes[1:]
                if (source := _excited_by(size)) is not None
            }
        )
        self.to_rgb = nn.Conv2d(shape.at(shape.resolution), 3, 3, padding=1)
        initialise(self, gain=1.0)

    def forward(self, latents: Tensor) -> Tensor:
        latents = F.normalize(latents, dim=1) * math.sqrt(latents.shape[1])
        x = self.project(latents).reshape(len(latents), -1, 4, 4)
        x = x.contiguous(memory_format=torch.channels_last)  # each layer keeps its input's layout
        x = gate(self.norm(x))
        maps = {4: x}
        for name, block in self.blocks.items():
            size = int(name)
            x = block(x)
            source = _excited_by(size)
            if source is not None:
                x = self.excitations[name](maps[source], x)
            maps[size] = x
        return torch.tanh(self.to_rgb(x))


def _excited_by(size: int) -> int | None:
    """The size whose map gates the channels at `size`: 4 for 32, 8 for 64 and so on; none below 32."""
    return size // 8 if size >= 32 else None


class _GatedUp(nn.Module):
    """Upsampling convolution, batch norm, gated linear unit; and a second convolution where asked for."""

    def __init__(self, in_channels: int, out_channels: int, *, second: bool) -> None:
        super().__init__()
        self.up = UpConv(in_channels, 2 * out_channels, bias=False)
        self.norm = BatchNorm(2 * out_channels)
        self.conv = nn.Conv2d(out_channels, 2 * out_channels, 3, padding=1, bias=False) if second else None
        self.second_norm = BatchNorm(2 * out_channels) if second else None

    def forward(self, x: Tensor) -> Tensor:
        x = gate(self.norm(self.up(x)))
        if self.conv is not None and self.second_norm is not None:
            x = gate(self.second_norm(self.conv(x)))
        return x


class _Excitation(nn.Module):
    """Gates the channels of a large map by what a small one holds (Liu et al. 2021, equation 1)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.gather = nn.Conv2d(in_channels, out_channels, 4)
        self.gate = nn.Conv2d(out_channels, out_channels, 1)

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        if small.shape[-1] > 4:
            small = F.adaptive_avg_pool2d(small, 4)
        gate: Tensor = self.gate(F.silu(self.gather(small)))
        return large * torch.sigmoid(gate)


class PlainGenerator(Generator):
    """Upsampling convolutions with leaky ReLU between them: the article's kind."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__(shape)
        self.project = nn.Linear(shape.latent_size, shape.at(4) * 16)
        self.norm = _norm(shape.norm, shape.at(4))
        self.blocks = nn.ModuleDict(
            {
                str(size): _PlainUp(shape.at(size // 2), shape.at(size), shape.norm)
                for size in sizes_up_to(shape.resolution)[1:]
            }
        )
        last = shape.at(shape.resolution)
        self.to_rgb = nn.Conv2d(last, 3, 3, padding=1)
        initialise(self)
        normal_(self.to_rgb.weight, 1.0 / math.sqrt(last * 9))

    def forward(self, latents: Tensor) -> Tensor:
        x = self.project(latents).reshape(len(latents), -1, 4, 4)
        x = x.contiguous(memory_format=torch.channels_last)  # each layer keeps its input's layout
        x = leaky_relu(self.norm(x))
        for block in self.blocks.values():
            x = block(x)
        return torch.tanh(self.to_rgb(x))


class _PlainUp(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm: GeneratorNorm) -> None:
        super().__init__()
        self.conv = UpConv(in_channels, out_channels)
        self.norm = _norm(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.norm(self.conv(x)))


def _norm(kind: GeneratorNorm, channels: int) -> nn.Module:
    if kind == "batch":
        return BatchNorm(channels)
    return PixelNorm() if kind == "pixel" else nn.Identity()


def latents_from_seeds(seeds: list[int], latent_size: int) -> Tensor:
    """One latent (z,) for each 63-bit seed, drawn on the CPU so that every machine draws the same."""
    rows = [torch.randn(latent_size, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)
