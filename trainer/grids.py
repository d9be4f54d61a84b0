"""Sheets of pictures: the same latents at every snapshot, so that a training can be watched."""

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.files import atomic_write


def contact_sheet(pictures: NDArray[np.uint8], columns: int | None = None, gap: int = 2) -> Image.Image:
    """Pictures (n, h, w, 3) side by side on white, near square unless `columns` is given."""
    count, height, width, _ = pictures.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), (255, 255, 255))
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet.paste(Image.fromarray(picture), (gap + column * (width + gap), gap + row * (height + gap)))
    return sheet


def write_png(path: Path, image: Image.Image) -> None:
    """Write atomically. Raises TrainerError where the disk refuses."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    atomic_write(path, buffer.getvalue())
