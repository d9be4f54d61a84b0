"""Packs what a borrowed GPU machine lacks into a folder that git ignores: photographs, pretrained weights.

    python -m benchmarks.gpu_pack --data ramen/ [--out build/gpu] [--resolution 256] [--quality 85]
                                  [--held-out 150]

Photographs become WebP files of `--resolution` px in one zip; `benchmarks/gpu.sh` finds the folder by itself.
What is held out here is held out there: the split goes by the hash of a file, so a number in its Exif is
counted up until the hash lies on the right side.
"""

import argparse
import hashlib
import importlib.util
import io
import itertools
import shutil
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.dataset import is_held_out, load_dataset
from trainer.nets.efficientnet import PACKAGE

DESCRIPTION = 0x010E
"""Exif's tag of a picture's description."""


def webp(picture: NDArray[np.uint8], quality: int, low: bool) -> bytes:
    """The picture as WebP, with a SHA-256 among those that are held out, or not."""
    for number in itertools.count():
        exif, buffer = Image.Exif(), io.BytesIO()
        exif[DESCRIPTION] = str(number)
        Image.fromarray(picture).save(buffer, "WEBP", quality=quality, method=6, exif=exif)
        content = buffer.getvalue()
        if is_held_out(hashlib.sha256(content).hexdigest()) == low:
            return content
    raise AssertionError  # a count has no end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--quality", type=int, default=85)
    parser.add_argument("--held-out", type=int, help="So many at most; all by default.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset(options.data, options.resolution)
    held_out, training = dataset.held_out[: options.held_out], dataset.training
    named = [
        *((picture, name, True) for picture, name in zip(held_out, dataset.held_out_names, strict=False)),
        *((picture, name, False) for picture, name in zip(training, dataset.training_names, strict=True)),
    ]
    with zipfile.ZipFile(options.out / "photographs.zip", "w", zipfile.ZIP_STORED) as archive:
        for number, (picture, name, low) in enumerate(named):
            content = webp(picture, options.quality, low)
            archive.writestr(f"{number:05d}-{Path(name).stem}.webp", content)
    package = importlib.util.find_spec(PACKAGE)
    assert package is not None
    assert package.submodule_search_locations
    source = Path(package.submodule_search_locations[0])
    shutil.copytree(source, options.out / "site" / PACKAGE, dirs_exist_ok=True)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file()) / 2**20
    found = f"{len(named)} photographs, {len(held_out)} of them held out"
    print(f"{found}, and the weights: {size:.1f} MiB in {options.out}")


if __name__ == "__main__":
    main()
