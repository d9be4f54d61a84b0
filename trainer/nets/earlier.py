"""Files of earlier formats: how their networks were described and what their tensors were called. Needs no
torch.

Until format 2 there was one kind of network for both, its channels were counted from the picture's own size,
and blocks were numbered in the order of computing."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from trainer.nets.architecture import sizes_up_to

_NAMES_2 = {"judge": "critic_average", "ema": "generator_average"}
HEAD_WEIGHTS = {1: (1.0,), 6: (2.0, 4.0, 4.0, 2.5, 1.7, 1.0)}
"""How much each of so many heads counted before checkpoints said it."""
T = TypeVar("T")


def architecture_2(old: Mapping[str, Any]) -> dict[str, Any]:
    """An architecture of format 2 in today's words. Raises KeyError, TypeError or ValueError where it is
    none."""
    kind = old.get("kind", "plain")
    if kind != "plain":
        raise ValueError(f"its networks are {kind}, which this version no longer has")
    resolution, width = int(old["resolution"]), int(old["width"])
    if resolution not in (32, 64, 128, 256) or not 1 <= width <= 1024:
        raise ValueError("its resolution or width is out of range")
    channels = channels_2(resolution, width)
    return {
        "generator": {
            "kind": kind,
            "latent_size": old["latent_size"],
            "channels": channels,
            "norm": old.get("generator_norm", "pixel"),
        },
        "critic": {"kind": kind, "channels": channels, "norm": old.get("critic_norm", "none")},
    }


def settings_2(old: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run of then in today's words; today's as they are. Raises as `architecture_2` does."""
    if "width" not in old:
        return dict(old)
    shapes = architecture_2(old)
    rest = {name: value for name, value in old.items() if name not in ("kind", "width")}
    return {
        **rest,
        "generator": shapes["generator"]["kind"],
        "critic": shapes["critic"]["kind"],
        "channels": shapes["generator"]["channels"],
        "critic_channels": shapes["critic"]["channels"],
    }


def channels_2(resolution: int, width: int) -> list[int]:
    """Half the width at the picture's own size, then doubling as the size halves, up to eight times the
    width."""
    return [max(1, width * min(16, resolution // size) // 2) for size in sizes_up_to(resolution)]


def names_2(tensors: Mapping[str, T], resolution: int) -> dict[str, T]:
    """Tensors of format 2 by today's names; those of a later format as they are."""
    if any(name.startswith("critic.heads.") for name in tensors):
        return dict(tensors)
    return {_renamed(name, resolution): tensor for name, tensor in tensors.items()}


def _renamed(name: str, resolution: int) -> str:
    network, _, rest = name.partition(".")
    if network in ("critic", "judge"):
        sizes = sizes_up_to(resolution)[:0:-1]
        rest = "heads.picture." + re.sub(r"^blocks\.(\d+)", lambda m: f"blocks.{sizes[int(m[1])]}", rest)
    elif network in ("generator", "ema"):
        sizes = sizes_up_to(resolution)[1:]
        rest = re.sub(r"^blocks\.(\d+)", lambda m: f"blocks.{sizes[int(m[1])]}", rest)
    else:
        return name
    return f"{_NAMES_2.get(network, network)}.{rest}"
