"""Our hash is the known one; hashes of look-alikes are near, hashes of strangers far."""

import random

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainer.hashes import perceptual_bits, perceptual_hash


def noise(seed: int, size: int = 64) -> Image.Image:
    """A coarse random pattern in colour: the same for the same seed."""
    pixels = random.Random(seed).randbytes(8 * 8 * 3)
    return Image.frombytes("RGB", (8, 8), pixels).resize((size, size), Image.Resampling.BICUBIC)


def apart(one: Image.Image, other: Image.Image) -> int:
    return (perceptual_hash(one) ^ perceptual_hash(other)).bit_count()


@given(st.integers(0, 10**6), st.sampled_from([32, 64, 100]))
def test_it_is_the_hash_of_imagehash(seed: int, size: int) -> None:
    picture = noise(seed, size)
    assert f"{perceptual_hash(picture):016x}" == str(imagehash.phash(picture))
    np.testing.assert_array_equal(perceptual_bits(picture, 16), imagehash.phash(picture, hash_size=16).hash)


def test_a_look_alike_is_near_and_a_stranger_far() -> None:
    assert apart(noise(1), noise(1).resize((256, 256))) <= 4
    assert apart(noise(1), noise(2)) >= 12


@pytest.mark.parametrize("shade", [0, 1, 127, 255])
def test_a_plain_picture_has_no_bits_by_chance(shade: int) -> None:
    assert perceptual_hash(Image.new("L", (64, 64), shade)) == (1 << 63 if shade else 0)
