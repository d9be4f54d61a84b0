"""Critics: views of pictures to scores, one a head; the higher, the more like a photograph.

A view is what `trainer.nets.vision` makes of pictures: the picture itself and, for a seeing critic, what a
pretrained network sees in it. What sees is fixed and kept apart; all that is here is trained.
Knows nothing of objectives, data or files.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.nets.architecture import CriticNorm, CriticShape, sizes_up_to
from trainer.nets.layers import BatchNorm, Convolution, exact, initialise, leaky_relu, stack, widened
from trainer.nets.vision import Views, map_shapes

MOST_HEAD_CHANNELS = 64


class Critic(nn.Module):
    """Views of n pictures to scores (n, heads): one head a view, with no weights in common."""

    fold: Tensor

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
        self.register_buffer("fold", _mean_matrix(), persistent=False)
        initialise(self)

    @property
    def head_names(self) -> tuple[str, ...]:
        return tuple(self.heads)

    def forward(self, views: Views) -> Tensor:
        picture, *others = self.heads.values()
        of_picture, *of_others = self._maps(views)
        with exact(of_picture):  # bf16 would round the drift term away
            wide = torch.promote_types(of_picture.dtype, torch.float32)
            rows = of_picture.to(wide, memory_format=torch.contiguous_format).flatten(1)
            scores: Tensor = picture.score(rows)
            if not others:
                return scores
            return torch.cat([scores, self._mean_scores([head.score for head in others], of_others)], 1)

    def _mean_scores(self, layers: list[nn.Conv2d | nn.Linear], maps: list[Tensor]) -> Tensor:
        """Means (n, heads) of each layer's 3x3 convolution of its map (n, c, 4, 4).

        Linear in a map of 4x4: one small product for all heads in place of a convolution and a mean for each.
        """
        rows = widened(stack([each.permute(0, 2, 3, 1).flatten(1) for each in maps]))
        kernels = torch.stack([layer.weight.permute(0, 2, 3, 1).reshape(9, -1) for layer in layers])
        folded = (self.fold.to(kernels.dtype) @ kernels).reshape(len(layers), -1, 1)
        biases = torch.stack([layer.bias for layer in layers if layer.bias is not None])
        return torch.baddbmm(biases[:, None], rows, folded).squeeze(2).T

    def _maps(self, views: Views) -> list[Tensor]:
        return [head.maps(view) for head, view in zip(self.heads.values(), views, strict=True)]

    def features(self, views: Views) -> Tensor:
        """What the scores are made of, as means over the picture: (n, channels of all heads)."""
        return torch.cat([maps.mean((2, 3)) for maps in self._maps(views)], 1)

    def feature_size(self) -> int:
        """How many features there are."""
        return sum(head.feature_channels for head in self.heads.values())


def _mean_matrix() -> Tensor:
    """How often each place of a 4x4 map is met by each tap of a 3x3 kernel that goes over it, with a border
    of zeros, as a share of all places: (16, 9)."""
    met = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]], device="cpu")
    return torch.kron(met, met) / 16


class Head(nn.Module):
    """One view (n, c, s, s) to features that lie in maps of 4x4; `Critic` makes scores of them."""

    blocks: nn.ModuleDict
    score: nn.Conv2d | nn.Linear
    feature_channels: int

    def maps(self, view: Tensor) -> Tensor:
        """The last level's features (n, feature_channels, 4, 4)."""
        for block in self.blocks.values():
            view = block(view)
        return view


class _PictureHead(Head):
    """Of pictures (n, 3, r, r): convolutions of stride 2 down to 4x4; scored by a linear layer."""

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


class _MapHead(Head):
    """Of maps (n, c, s, s): convolutions of stride 2 down to 4x4; scored by the mean of a convolution."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
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
