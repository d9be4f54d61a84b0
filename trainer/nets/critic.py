"""Critics: views of pictures to scores, one a head; the higher, the more like a photograph.

A view is what `trainer.nets.vision` makes of pictures: the picture itself and, for a seeing critic, what a
pretrained network sees in it. What sees is fixed and kept apart; all that is here is trained.
Knows nothing of objectives, data or files.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.nets.architecture import CriticNorm, CriticShape, sizes_up_to
from trainer.nets.layers import BatchNorm, Convolution, initialise, leaky_relu, widened
from trainer.nets.vision import SPREAD, Views, map_shapes

MOST_HEAD_CHANNELS = 64


class Critic(nn.Module):
    """Views of n pictures to scores (n, heads): one head a view, with no weights in common."""

    def __init__(self, shape: CriticShape) -> None:
        super().__init__()
        self.shape = shape
        heads: dict[str, Head] = {"picture": _PictureHead(shape)}
        if shape.kind == "seeing":
            heads |= {
                name: _MapHead(channels, size)
                for name, (channels, size) in map_shapes(shape.resolution).items()
            }
        self.heads: Mapping[str, Head] = nn.ModuleDict(heads)  # type: ignore[assignment]
        initialise(self)

    @property
    def head_names(self) -> tuple[str, ...]:
        return tuple(self.heads)

    def forward(self, views: Views) -> Tensor:
        pairs = zip(self.heads.values(), views, strict=True)
        return torch.stack([head(view) for head, view in pairs], 1)

    def features(self, views: Views) -> Tensor:
        """What the scores are made of, as means over the picture: (n, channels of all heads)."""
        pairs = zip(self.heads.values(), views, strict=True)
        return torch.cat([head.maps(view).mean((2, 3)) for head, view in pairs], 1)

    def feature_size(self) -> int:
        """How many features there are."""
        return sum(head.feature_channels for head in self.heads.values())


class Head(nn.Module):
    """One view (n, c, s, s) to scores (n,), by features that lie in maps."""

    feature_channels: int

    def maps(self, view: Tensor) -> Tensor:
        """The last level's features (n, feature_channels, h, h)."""
        raise NotImplementedError


class _PictureHead(Head):
    """Pictures (n, 3, r, r) to scores (n,): convolutions of stride 2 down to 4x4, then one linear layer."""

    def __init__(self, shape: CriticShape) -> None:
        super().__init__()
        sizes = sizes_up_to(shape.resolution)[:0:-1]  # the picture's own first
        self.blocks = nn.ModuleDict()
        for size in sizes:
            # the picture itself is not normalised: its mean and contrast are part of what is judged
            first = size == shape.resolution
            self.blocks[str(size)] = _Down(
                3 if first else shape.at(size), shape.at(size // 2), "none" if first else shape.norm
            )
        self.feature_channels = shape.at(4)
        self.score = nn.Linear(shape.at(4) * 16, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        maps = self.maps(pictures)
        with torch.autocast(maps.device.type, enabled=False):  # bf16 would round the drift term away
            scores: Tensor = self.score(widened(maps).flatten(1))
        return scores.squeeze(1)

    def maps(self, pictures: Tensor) -> Tensor:
        x = pictures
        for block in self.blocks.values():
            x = block(x)
        return x


class _MapHead(Head):
    """Maps (n, c, s, s) to scores (n,): convolutions of stride 2 down to 4x4, a map of scores, its mean."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        # two photographs' maps lie SPREAD apart; inside, values are of unit size, as the initialisation wants
        self.gain = math.sqrt(2 * channels * size * size) / SPREAD
        self.blocks = nn.ModuleDict()
        width = channels
        while size > 4:
            self.blocks[str(size)] = _Down(channels, width, "none")
            channels, size, width = width, size // 2, min(2 * width, max(width, MOST_HEAD_CHANNELS))
        if not self.blocks:
            self.blocks[str(size)] = _Level(channels, width)
            channels = width
        self.feature_channels = channels
        self.score = Convolution(channels, 1, 3, padding=1)

    def forward(self, view: Tensor) -> Tensor:
        maps = self.maps(view)
        with torch.autocast(maps.device.type, enabled=False):  # bf16 would round the drift term away
            scores: Tensor = self.score(widened(maps))
        return scores.mean((1, 2, 3))

    def maps(self, view: Tensor) -> Tensor:
        x = view * self.gain
        for block in self.blocks.values():
            x = block(x)
        return x


class _Down(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm: CriticNorm) -> None:
        super().__init__()
        self.conv = Convolution(in_channels, out_channels, 4, stride=2, padding=1)
        self.norm = BatchNorm(out_channels) if norm == "batch" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.norm(self.conv(x)))


class _Level(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = Convolution(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.conv(x))
