"""Hashes of look-alikes are near, hashes of strangers far, and comparing needs no library."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from meshibot.hashes import hamming, perceptual_hash

HASHES = st.integers(min_value=0, max_value=2**64 - 1).map("{:016x}".format)


def noise(seed: int) -> Image.Image:
    """A coarse random pattern: the same for the same seed."""
    import random

    return Image.frombytes("L", (8, 8), random.Random(seed).randbytes(64)).resize(
        (64, 64), Image.Resampling.BICUBIC
    )


def test_a_look_alike_is_near_and_a_stranger_far() -> None:
    original = perceptual_hash(noise(1))
    assert len(original) == 16
    assert hamming(original, perceptual_hash(noise(1).resize((256, 256)))) <= 4
    assert hamming(original, perceptual_hash(noise(2))) >= 12


@given(HASHES, HASHES, HASHES)
def test_hamming_is_a_metric(a: str, b: str, c: str) -> None:
    assert hamming(a, a) == 0
    assert hamming(a, b) == hamming(b, a)
    assert hamming(a, c) <= hamming(a, b) + hamming(b, c)
    assert 0 <= hamming(a, b) <= 64


def test_every_bit_counts_once() -> None:
    assert hamming("0" * 16, "f" * 16) == 64
    assert hamming("0" * 15 + "1", "0" * 16) == 1


@pytest.mark.parametrize("bad", ["", "abc", "0" * 17, "g" * 16])
def test_what_is_no_hash_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"hexadecimal|invalid literal"):
        hamming(bad, "0" * 16)
