"""Perceptual hashes: made where pictures are sampled, compared as integers everywhere else."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def perceptual_hash(image: "Image") -> str:
    """The 64-bit DCT hash of a picture (pHash, https://www.phash.org) as 16 hexadecimal digits."""
    # Imported here: it brings SciPy along, which the resident daemon must not.
    import imagehash

    return str(imagehash.phash(image.convert("RGB")))


def hamming(a: str, b: str) -> int:
    """How many of the 64 bits differ between two hashes: 0 the same picture, about 32 unrelated ones.

    Raises ValueError for what is no hash of 16 hexadecimal digits.
    """
    if len(a) != 16 or len(b) != 16:
        raise ValueError(f"A perceptual hash has 16 hexadecimal digits, not {a!r} and {b!r}.")
    return (int(a, 16) ^ int(b, 16)).bit_count()
