"""Small pictures drawn for the tests: bowls of a few colours, so that no photograph is needed."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw


def draw_bowl(seed: int, size: int = 48) -> Image.Image:
    """A round bowl with soup and two toppings on a table; every seed another one."""
    rng = np.random.default_rng(seed)
    table, bowl, soup, egg = (tuple(int(v) for v in rng.integers(40, 216, 3)) for _ in range(4))
    picture = Image.new("RGB", (size, size), table)
    pen = ImageDraw.Draw(picture)
    margin = int(rng.integers(2, size // 6))
    pen.ellipse((margin, margin, size - margin, size - margin), fill=bowl)
    pen.ellipse((2 * margin, 2 * margin, size - 2 * margin, size - 2 * margin), fill=soup)
    x, y = (int(v) for v in rng.integers(size // 3, size // 2, 2))
    pen.ellipse((x, y, x + size // 6, y + size // 6), fill=egg)
    return picture


def bowls(count: int, size: int = 16, first: int = 0) -> NDArray[np.uint8]:
    """Drawn bowls as the dataset stores them: uint8 (count, size, size, 3)."""
    pictures = [draw_bowl(seed).resize((size, size)) for seed in range(first, first + count)]
    return np.stack([np.asarray(picture, dtype=np.uint8) for picture in pictures])


def write_bowls(folder: Path, count: int, size: int = 48) -> Path:
    """A folder of drawn bowls as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        draw_bowl(seed, size).save(folder / f"bowl-{seed:03d}.png")
    return folder
