"""The shape of both networks as plain values. Needs no torch: settings and checkpoints are checked by it.

Channels are counted from the 4x4 end, and a network's blocks are named by the size they end at or begin with:
a generator of 64 px is the beginning of one of 128 px.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

RESOLUTIONS = (32, 64, 128, 256, 512)
GeneratorKind = Literal["plain", "gated"]
CriticKind = Literal["plain", "seeing"]
GeneratorNorm = Literal["batch", "pixel", "none"]
CriticNorm = Literal["batch", "none"]
MOST_CHANNELS = 2048
MOST_LATENTS = 8192
HEADS: dict[CriticKind, int] = {"plain": 1, "seeing": 6}
"""How many each kind of critic has: one for the picture itself, one for each map that it sees."""
SEEN_AT = 128
"""Pixels a side, at least, at which the pretrained network of a seeing critic is shown a picture."""


def sizes_up_to(resolution: int) -> tuple[int, ...]:
    """4, 8, ..., resolution."""
    return tuple(4 << level for level in range((resolution // 4).bit_length()))


def channels_for(resolution: int, width: int) -> tuple[int, ...]:
    """Feature channels at 4, 8, ..., `resolution` pixels: `width` at 4 and 8, halving from there, 8 at
    least."""
    return tuple(max(min(8, width), width * 8 // max(8, size)) for size in sizes_up_to(resolution))


class _Levels:
    """Channels by size, from 4 pixels up to the picture's own."""

    channels: tuple[int, ...]

    @property
    def resolution(self) -> int:
        return 2 << len(self.channels)

    def at(self, size: int) -> int:
        """Feature channels at `size` x `size`."""
        return self.channels[sizes_up_to(self.resolution).index(size)]


@dataclass(frozen=True)
class GeneratorShape(_Levels):
    """Everything needed to build a generator."""

    kind: GeneratorKind
    latent_size: int
    channels: tuple[int, ...]
    """At 4, 8, ... pixels, up to the picture's own size."""
    norm: GeneratorNorm = "batch"


@dataclass(frozen=True)
class CriticShape(_Levels):
    """Everything needed to build a critic.

    Each critic looks at the picture itself; a seeing one looks at it through a pretrained network as well.
    """

    kind: CriticKind
    channels: tuple[int, ...]
    """Of the head that looks at the picture itself, at 4, 8, ... pixels, up to the picture's own size."""
    norm: CriticNorm = "none"


@dataclass(frozen=True)
class Architecture:
    """Both networks. Kept in the checkpoint's metadata."""

    generator: GeneratorShape
    critic: CriticShape

    @property
    def resolution(self) -> int:
        return self.generator.resolution

    @property
    def latent_size(self) -> int:
        return self.generator.latent_size

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Architecture":
        """Raises KeyError, TypeError or ValueError for networks that can't be."""
        generator, critic = document["generator"], document["critic"]
        arch = cls(
            GeneratorShape(
                _one_of(generator["kind"], GeneratorKind),
                int(generator["latent_size"]),
                tuple(map(int, generator["channels"])),
                _one_of(generator["norm"], GeneratorNorm),
            ),
            CriticShape(
                _one_of(critic["kind"], CriticKind),
                tuple(map(int, critic["channels"])),
                _one_of(critic["norm"], CriticNorm),
            ),
        )
        _check(arch)
        return arch


def _one_of(value: Any, allowed: Any) -> Any:
    if value not in get_args(allowed):
        raise ValueError(f"{value!r} is not one of {', '.join(get_args(allowed))}")
    return value


def _check(arch: Architecture) -> None:
    for shape in (arch.generator, arch.critic):
        if not 4 <= len(shape.channels) <= len(sizes_up_to(RESOLUTIONS[-1])):
            raise ValueError(f"its resolution is not one of {', '.join(map(str, RESOLUTIONS))}")
        if not all(1 <= count <= MOST_CHANNELS for count in shape.channels):
            raise ValueError("its channels are out of range")
    if arch.generator.resolution != arch.critic.resolution:
        raise ValueError("its generator and critic are not of one resolution")
    if not 1 <= arch.latent_size <= MOST_LATENTS:
        raise ValueError("its latent_size is out of range")
