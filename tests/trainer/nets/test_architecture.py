"""Shapes as plain values: channels, what JSON gives back, and what can't be."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from tests.shapes import critic_shape, generator_shape, small
from trainer.nets.architecture import RESOLUTIONS, Architecture, channels_for, sizes_up_to


def test_channels_are_counted_from_four_pixels_on() -> None:
    assert sizes_up_to(32) == (4, 8, 16, 32)
    assert channels_for(64, 128) == (128, 128, 64, 32, 16)
    assert channels_for(128, 8) == (8,) * 6
    assert channels_for(32, 2) == (2, 2, 2, 2)


@pytest.mark.parametrize("resolution", RESOLUTIONS[:-1])
def test_a_smaller_networks_channels_begin_a_larger_ones(resolution: int) -> None:
    smaller, larger = channels_for(resolution, 96), channels_for(2 * resolution, 96)
    assert larger[: len(smaller)] == smaller


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_the_resolution_follows_from_the_channels(resolution: int) -> None:
    shape = generator_shape(resolution=resolution, width=64)
    assert shape.resolution == critic_shape(resolution=resolution).resolution == resolution
    assert [shape.at(size) for size in sizes_up_to(resolution)] == list(shape.channels)


def test_json_gives_back_the_same() -> None:
    arch = Architecture(generator_shape("gated", norm="none"), critic_shape("seeing"))
    assert Architecture.from_json(asdict(arch)) == arch


@pytest.mark.parametrize(
    "changes",
    [
        {"generator": {"kind": "residual"}},
        {"generator": {"norm": "layer"}},
        {"generator": {"latent_size": 0}},
        {"generator": {"latent_size": 10**9}},
        {"generator": {"channels": [4, 4, 4]}},
        {"generator": {"channels": [4] * 9}},
        {"generator": {"channels": [4, 4, 4, 0]}},
        {"generator": {"channels": [4, 4, 4, 10**9]}},
        {"generator": {"channels": [4] * 5}},
        {"critic": {"kind": "blind"}},
        {"critic": {"norm": "pixel"}},
        {"critic": {"channels": "four"}},
    ],
)
def test_networks_that_can_not_be(changes: dict[str, dict[str, Any]]) -> None:
    document = asdict(small())
    for network, values in changes.items():
        document[network] |= values
    with pytest.raises(ValueError, match=r".+"):
        Architecture.from_json(document)


def test_what_is_missing_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Architecture.from_json({"generator": asdict(generator_shape())})


def test_both_networks_have_one_resolution() -> None:
    arch = replace(small(), critic=critic_shape(resolution=64))
    with pytest.raises(ValueError, match="not of one resolution"):
        Architecture.from_json(asdict(arch))
