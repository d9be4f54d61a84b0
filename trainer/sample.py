"""Pictures from a checkpoint to files: one PNG a seed, and a sheet of them all."""

from pathlib import Path

import numpy as np
from PIL import Image

from trainer import checkpoint
from trainer.device import choose_device
from trainer.files import require_file, require_folder
from trainer.grids import contact_sheet, write_png

CHUNK = 64


def write_samples(
    path: Path, count: int, out: Path | None, grid: Path | None, seed: int, device: str
) -> list[Path]:
    """Draw `count` pictures of the seeds from `seed` on; returns what was written.

    Raises CheckpointError for a file that is no checkpoint, TrainerError where something can't be written.
    """
    if out is not None:
        require_folder(out, "--out")
    if grid is not None:
        require_file(grid, "--grid")
    loaded = checkpoint.load(path, str(choose_device(device)))
    written: list[Path] = []
    sheet = []
    for start in range(seed, seed + count, CHUNK):
        seeds = range(start, min(start + CHUNK, seed + count))
        pictures = loaded.draw(seeds)
        if out is not None:
            for picture_seed, picture in zip(seeds, pictures, strict=True):
                written.append(out / f"{picture_seed:06d}.png")
                write_png(written[-1], Image.fromarray(picture))
        if grid is not None:
            sheet.append(pictures)
    if grid is not None:
        write_png(grid, contact_sheet(np.concatenate(sheet)))
        written.append(grid)
    return written
