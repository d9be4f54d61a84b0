"""What sees: pictures to the views that a critic scores.

A plain critic has one view, the picture itself. A seeing critic has five more: what a frozen, pretrained
network sees in the picture at strides 2 to 32, mixed by a fixed random projection (Sauer et al. 2021,
'Projected GANs Converge Faster', section 3.2). All of it is data: never trained, averaged, clipped or
initialised anew."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.device import widest
from trainer.nets.architecture import SEEN_AT, CriticKind
from trainer.nets.constants import Once
from trainer.nets.efficientnet import TAP_CHANNELS, EfficientNetLite0, load_pretrained
from trainer.nets.layers import widened, working_dtype
from trainer.pictures import to_device, to_float

Views = tuple[Tensor, ...]
"""The picture (n, 3, r, r) in [-1, 1], then the maps (n, c, s, s) of about unit values, the finest first."""

MAP_CHANNELS = {2: 16, 4: 32, 8: 64, 16: 64, 32: 64}
"""Channels of the projected map at each stride."""
SPREAD = 16.0
"""How far two photographs lie apart in each map, root mean square, where slopes are measured: they then mean
the same at each, and the penalty's weight of 10 and target of 1 fit as they are."""
SHIFT = 4
"""Pixels, at the network's input, by which it is moved at random: patterns that keep to its strides are
seen."""
LAYOUT_SIZE = 4
"""Places a side that a picture's layout is told by."""
CALIBRATED_ON = 256
_LEAST_DEVIATION = 1e-4
_CHUNK = 32


def map_shapes(resolution: int) -> dict[str, tuple[int, int]]:
    """Channels and size of each projected map of pictures of `resolution` px, the finest first."""
    seen_at = max(SEEN_AT, resolution)
    return {f"stride{stride}": (channels, seen_at // stride) for stride, channels in MAP_CHANNELS.items()}


@dataclass(frozen=True)
class _Mixing:
    """How one of the network's maps becomes a view, with what the next coarser view adds."""

    across: Tensor
    bias: Tensor
    down: Tensor | None
    """None of the coarsest."""


class Description(NamedTuple):
    """What the pretrained network makes of n pictures."""

    content: Tensor
    """What is in them: means of its two coarsest maps (n, 432)."""
    layout: Tensor
    """And where: its map at stride 16 brought to 4x4 (n, 1792)."""


class Vision(nn.Module):
    """Pictures to views. Holds buffers only; the base class is a plain critic's, whose view is the
    picture."""

    head_weights: tuple[float, ...] = (1.0,)
    """How much each view's score counts in the generator's loss."""

    def lengths(self, resolution: int) -> tuple[float, ...]:
        """How much of each view's distances is a distance where slopes are measured, for pictures of
        `resolution` px: a gradient by the view, times this, is the slope there."""
        return (1.0,)

    def weighed(self, scores: Tensor) -> Tensor:
        """One score (n,) of those of all heads (n, heads), each with its weight in the generator's loss."""
        weights = scores.new_tensor(self.head_weights)
        return scores @ weights / weights.sum()

    def forward(self, pictures: Tensor, offset: Tensor | None = None) -> Views:
        """Of pictures (n, 3, r, r) in [-1, 1]. `offset` (2,) in [0, 1) says how far the network's input is
        moved; without it, not at all. Views are in what they are multiplied in, bf16 under autocast."""
        return (pictures.to(working_dtype(pictures)),)


class PretrainedVision(Vision):
    """The picture, and its projected maps by a frozen EfficientNet-Lite0."""

    head_weights = (2.0, 4.0, 4.0, 2.5, 1.7, 1.0)

    def __init__(self, net: EfficientNetLite0) -> None:
        """`draw` and `calibrate` have to be called, or a state loaded, before it is used."""
        super().__init__()
        self.net = net
        self._mixing: dict[tuple[float, ...], Once[list[_Mixing]]] = defaultdict(Once)
        for stride, coarser in _from_fine_to_coarse():
            channels, seen = MAP_CHANNELS[stride], TAP_CHANNELS[stride]
            self.register_buffer(f"mean{stride}", torch.empty(seen))
            self.register_buffer(f"deviation{stride}", torch.empty(seen))
            self.register_buffer(f"across{stride}", torch.empty(channels, seen, 1, 1))
            if coarser is not None:
                self.register_buffer(f"down{stride}", torch.empty(channels, MAP_CHANNELS[coarser], 1, 1))
            self.register_buffer(f"centre{stride}", torch.empty(channels))
            self.register_buffer(f"scale{stride}", torch.empty(()))

    def draw(self, seed: int) -> None:
        """Draw the projection: variance 1 in, variance 1 out."""
        rng = torch.Generator().manual_seed(seed)
        for stride, coarser in _from_fine_to_coarse():
            for name in (f"across{stride}", *((f"down{stride}",) if coarser else ())):
                mixing = self.get_buffer(name)
                mixing.copy_(torch.randn(mixing.shape, generator=rng) / math.sqrt(mixing.shape[1]))

    def forward(self, pictures: Tensor, offset: Tensor | None = None) -> Views:
        pictures = pictures.to(working_dtype(pictures))
        return (pictures, *self._views(self.net(_as_seen(pictures, offset))))

    def describe(self, pictures: Tensor) -> Description:
        """What the pretrained network makes of pictures (n, 3, r, r)."""
        return _description(self.net(_as_seen(pictures, None)))

    def look(self, pictures: Tensor) -> tuple[Views, Description]:
        """Views and description of pictures (n, 3, r, r), of one look."""
        maps = self.net(_as_seen(pictures, None))
        return (pictures, *self._views(maps)), _description(maps)

    def lengths(self, resolution: int) -> tuple[float, ...]:
        return (1.0, *map(_unit, map_shapes(resolution).values()))

    def _views(self, maps: list[Tensor]) -> list[Tensor]:
        """The network's maps, mixed, centred, and of unit size."""
        channels = MAP_CHANNELS.values()
        return self._project(
            maps, tuple(_unit((c, m.shape[-1])) for c, m in zip(channels, maps, strict=True))
        )

    def _project(self, maps: list[Tensor], units: tuple[float, ...]) -> list[Tensor]:
        """The network's maps, mixed across channels and from coarse to fine; centred, and scaled to `units`
        times SPREAD."""
        dtype = working_dtype(maps[0])
        constants = self._mixing[units](tuple(self._projection()), dtype, lambda: self._mix(units, dtype))
        mixed: list[Tensor] = []
        for seen, mixing in zip(reversed(maps), constants, strict=True):
            x = F.conv2d(seen, mixing.across, mixing.bias)
            if mixing.down is not None:
                below = F.conv2d(mixed[-1], mixing.down)
                x = x + F.interpolate(below, size=x.shape[-2:], mode="bilinear", align_corners=False)
            mixed.append(x)
        return mixed[::-1]

    def _projection(self) -> Iterator[Tensor]:
        """All but the network."""
        return self.buffers(recurse=False)

    def _mix(self, units: tuple[float, ...], dtype: torch.dtype) -> list[_Mixing]:
        """What standardising, mixing, centring and scaling come to as linear maps, the coarsest first.

        With raw maps m, coarser ones M, and u = t(m - c) what is passed on, t = unit x scale:
        m = √½ (across (seen - mean) / deviation + up(down M)), M = U / T + C.
        """
        found: list[_Mixing] = []
        scale_below, centre_below = torch.ones(()), torch.zeros(0)
        for unit, (stride, coarser) in reversed(list(zip(units, _from_fine_to_coarse(), strict=True))):
            get = partial(self._wide, stride)
            scale, half = unit * get("scale"), 1.0 if coarser is None else math.sqrt(0.5)
            across = half * scale * get("across") / get("deviation")[:, None, None]
            bias = -torch.einsum("oiyx,i->o", across, get("mean")) - scale * get("centre")
            down = None
            if coarser is not None:
                down = half * scale * get("down")
                bias = bias + torch.einsum("oiyx,i->o", down, centre_below)
                down = (down / scale_below).to(dtype)
            found.append(_Mixing(across.to(dtype), bias.to(dtype), down))
            scale_below, centre_below = scale, get("centre")
        return found

    def _wide(self, stride: int, name: str) -> Tensor:
        buffer = self.get_buffer(f"{name}{stride}")
        return buffer.to(widest(buffer.device))

    @torch.no_grad()
    def calibrate(self, photographs: Tensor) -> None:
        """Standardise the network's channels, then centre and scale each map, by photographs (n, 3, r, r)."""
        for stride in MAP_CHANNELS:
            self.get_buffer(f"centre{stride}").zero_()
            self.get_buffer(f"scale{stride}").fill_(1.0)
        parts = [self.net(_as_seen(part, None)) for part in photographs.split(_CHUNK)]
        seen = [torch.cat(maps) for maps in zip(*parts, strict=True)]
        for stride, maps in zip(MAP_CHANNELS, seen, strict=True):
            deviation, mean = torch.std_mean(maps, dim=(0, 2, 3))
            self.get_buffer(f"mean{stride}").copy_(mean)
            self.get_buffer(f"deviation{stride}").copy_(deviation.clamp_min(_LEAST_DEVIATION))
        for stride, maps in zip(MAP_CHANNELS, self._project(seen, (1.0,) * len(seen)), strict=True):
            # E‖x - x'‖² of two photographs is twice the summed variance
            apart = maps.var(0).sum().mul(2).sqrt().clamp_min(_LEAST_DEVIATION)
            self.get_buffer(f"centre{stride}").copy_(maps.mean((0, 2, 3)))
            self.get_buffer(f"scale{stride}").copy_(SPREAD / apart)


@torch.inference_mode()
def describe_all(vision: PretrainedVision, pictures: NDArray[np.uint8], device: torch.device) -> Description:
    """`describe` of uint8 pictures (n, r, r, 3), some at a time."""
    parts = [
        vision.describe(to_float(to_device(pictures[at : at + _CHUNK], device)))
        for at in range(0, len(pictures), _CHUNK)
    ]
    return Description(*map(torch.cat, zip(*parts, strict=True)))


def make_vision(kind: CriticKind, seed: int) -> Vision:
    """A critic's eyes, not calibrated yet. Raises TrainerError where pretrained weights are wanted and
    missing."""
    if kind == "plain":
        return Vision()
    vision = PretrainedVision(load_pretrained())
    vision.draw(seed)
    return vision


def _description(maps: list[Tensor]) -> Description:
    """Of the network's maps, in float32 also where these are rounded."""
    coarse, coarsest = map(widened, maps[-2:])
    content = torch.cat([coarse.mean((2, 3)), coarsest.mean((2, 3))], 1)
    return Description(content, F.adaptive_avg_pool2d(coarse, LAYOUT_SIZE).flatten(1))


def _unit(shape: tuple[int, int]) -> float:
    """What makes values of a map of so many channels and that size unit ones, where photographs lie SPREAD
    apart."""
    channels, size = shape
    return math.sqrt(2 * channels * size * size) / SPREAD


def _from_fine_to_coarse() -> list[tuple[int, int | None]]:
    """Each stride with the next coarser one."""
    strides = list(MAP_CHANNELS)
    return list(zip(strides, [*strides[1:], None], strict=True))


def _as_seen(pictures: Tensor, offset: Tensor | None) -> Tensor:
    """Pictures at the size that the network is shown, moved by `offset` with their edges mirrored."""
    size = pictures.shape[-1]
    if size < SEEN_AT:
        pictures = F.interpolate(pictures, size=(SEEN_AT, SEEN_AT), mode="bilinear", align_corners=False)
    if offset is None:
        return pictures
    shifts = _shifts(pictures.shape[-1], pictures.device)
    rows, columns = shifts[(offset * len(shifts)).long()]
    return pictures.index_select(2, rows).index_select(3, columns)


@cache
@torch.inference_mode(False)
def _shifts(size: int, device: torch.device) -> Tensor:
    """Indices of rows or columns for each shift from -SHIFT to SHIFT, (2 SHIFT + 1, size)."""
    steps = torch.arange(-SHIFT, SHIFT + 1, device=device)
    return mirrored(steps[:, None] + torch.arange(size, device=device), size)


def mirrored(indices: Tensor, size: int) -> Tensor:
    """Indices that lie outside, reflected at the first and last ones."""
    indices = indices.abs()
    return torch.where(indices < size, indices, 2 * (size - 1) - indices)
