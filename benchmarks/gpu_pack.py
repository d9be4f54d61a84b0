"""Packs what a borrowed GPU machine lacks into a folder that git ignores: photographs, pretrained weights.

    python -m benchmarks.gpu_pack --data ramen/ [--out build/gpu] [--resolution 256] [--quality 85]

Photographs become WebP files of `--resolution` px in one zip; `benchmarks/gpu.sh` finds the folder by itself.
"""

import argparse
import importlib.util
import io
import shutil
import zipfile
from pathlib import Path

from PIL import Image

from trainer.data.dataset import load_dataset
from trainer.nets.efficientnet import PACKAGE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--quality", type=int, default=85)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset(options.data, options.resolution)
    pictures = [*dataset.training, *dataset.held_out]
    names = [*dataset.training_names, *dataset.held_out_names]
    with zipfile.ZipFile(options.out / "photographs.zip", "w", zipfile.ZIP_STORED) as archive:
        for number, (picture, name) in enumerate(zip(pictures, names, strict=True)):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "WEBP", quality=options.quality, method=4)
            archive.writestr(f"{number:05d}-{Path(name).stem}.webp", buffer.getvalue())
    package = importlib.util.find_spec(PACKAGE)
    assert package is not None
    assert package.submodule_search_locations
    source = Path(package.submodule_search_locations[0])
    shutil.copytree(source, options.out / "site" / PACKAGE, dirs_exist_ok=True)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file()) / 2**20
    print(f"{len(pictures)} photographs and the weights: {size:.1f} MiB in {options.out}")


if __name__ == "__main__":
    main()
