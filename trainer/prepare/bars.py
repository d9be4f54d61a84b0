"""Letterbox bars: plain stripes along two opposite edges, put there by a player or an editor.

They are no part of the photograph, and a generator that sees them learns to paint them.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[int, int, int, int]

# JPEG leaves a little noise in a plain bar; a wall or a dark table has more.
PLAIN = 12
"""How far from the bar's colour (0 to 255, its most different channel) a pixel of it may be."""
PLAIN_SHARE = 0.97
EDGE_SHARE = 0.6
"""Behind a bar the picture begins along the whole edge; a bowl on a plain ground only touches it."""
LEAST_SHARE = 0.01
MOST_SHARE = 0.4
"""A bar's thickness as a share of the side it narrows."""
BLURRED = 2
"""Rows behind a bar into which JPEG has smeared it, and which go with it."""
MEASURED = 512
"""Longer sides than this are measured on a reduced copy."""


def without_bars(picture: Image.Image) -> Box:
    """The box (left, top, right, bottom) that bars leave of an RGB picture: the whole, where it has none."""
    factor = max(1, max(picture.size) // MEASURED)
    pixels = np.asarray(picture.reduce(factor) if factor > 1 else picture, dtype=np.int16)
    height, width, _ = pixels.shape
    top, bottom = _stripes(pixels)
    left, right = _stripes(pixels[top:bottom].swapaxes(0, 1))
    if (left, right) != (0, width) and (top, bottom) == (0, height):
        # Of a frame, the stripes above and below may only look plain once those at the sides are gone.
        top, bottom = _stripes(pixels[:, left:right])
    full_width, full_height = picture.size
    return (
        left * factor,
        top * factor,
        full_width if right == width else right * factor,
        full_height if bottom == height else bottom * factor,
    )


def _stripes(pixels: NDArray[np.int16]) -> tuple[int, int]:
    """First row, and the one after the last, of (height, width, 3) that are no bar: both sides or neither."""
    height = len(pixels)
    first, last = _thickness(pixels), _thickness(pixels[::-1])
    return (first, height - last) if first and last else (0, height)


def _thickness(pixels: NDArray[np.int16]) -> int:
    """How many rows from the first one on are a plain bar with a sharp end, or 0."""
    height = len(pixels)
    colour = np.median(pixels[0], axis=0).astype(np.int16)
    if (np.abs(pixels[0] - colour).max(axis=1) <= PLAIN).mean() < PLAIN_SHARE:
        return 0  # nearly every photograph, and quickly
    away = np.abs(pixels[: int(height * MOST_SHARE) + 4] - colour).max(axis=2)
    plain = (away <= PLAIN).mean(axis=1) >= PLAIN_SHARE
    if plain.all():
        return 0
    rows = int(np.argmin(plain))
    if rows < max(2, LEAST_SHARE * height):
        return 0
    behind = (away[rows : rows + 4] > PLAIN).mean(axis=1)
    sharp = np.flatnonzero(behind >= EDGE_SHARE)
    return rows + int(sharp[0]) + BLURRED if len(sharp) else 0
