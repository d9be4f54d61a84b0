"""How many pictures one would be glad to have posted, counted blind.

    python -m benchmarks.eye sheets CHECKPOINT --out FOLDER [--count 100] [--seed 0] [--side 512]
    python -m benchmarks.eye count FOLDER

The first draws as many pictures in each of WAYS, shuffles them, and writes numbered sheets. Look at those,
and write the numbers of the pictures that you would rather not have posted to FOLDER/refused.txt, divided by
white space. The second says how many of each way are left, with the standard error of such a count. Which
picture came which way stands in FOLDER/key.json: don't look before.

The bot's are drawn and chosen by the bot itself, at its default of MESHIBOT_MIN_QUANTILE, without those that
look alike or are copies.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from meshibot.config import DEFAULT_MIN_QUANTILE
from meshibot.stock.sampler import SamplingRequest
from meshibot.stock.sampling import sample
from trainer import checkpoint
from trainer.grids import contact_sheet, write_png

WAYS = ("unfiltered", "the bot's")
FIRST_SEED = 1_000_000
WIDEST = 2_048
"""Pixels of a sheet, about."""


def draw(file: Path, count: int, seed: int) -> list[list[Image.Image]]:
    """For each of WAYS so many pictures, no latent in two of them."""
    unfiltered = checkpoint.load(file).draw(range(FIRST_SEED, FIRST_SEED + count))
    return [[Image.fromarray(picture) for picture in unfiltered], posted(file, count, seed)]


def posted(file: Path, count: int, seed: int) -> list[Image.Image]:
    """So many, as the bot draws and chooses them."""
    with tempfile.TemporaryDirectory() as folder:
        found = sample(SamplingRequest(file, Path(folder), count, DEFAULT_MIN_QUANTILE, seed))
        return [Image.open(picture.file).convert("RGB") for picture in found.pictures]


def numbered(picture: Image.Image, number: int, side: int) -> NDArray[np.uint8]:
    """The picture at `side` x `side`, on white with its number under it."""
    card = Image.new("RGB", (side, side + 14), (255, 255, 255))
    card.paste(picture.resize((side, side), Image.Resampling.LANCZOS))
    ImageDraw.Draw(card).text((2, side + 1), str(number), (0, 0, 0))
    return np.asarray(card)


def write_sheets(parts: Sequence[Sequence[Image.Image]], out: Path, seed: int, side: int) -> None:
    """Shuffled, numbered pictures of all ways, and the key."""
    pictures = [(way, picture) for way, part in zip(WAYS, parts, strict=True) for picture in part]
    order = np.random.default_rng(seed).permutation(len(pictures))
    columns = max(1, WIDEST // side)
    size = columns * max(1, columns // 2)
    for sheet, start in enumerate(range(0, len(order), size)):
        rows = enumerate(order[start : start + size], start)
        cards = [numbered(pictures[index][1], number, side) for number, index in rows]
        write_png(out / f"sheet-{sheet:02}.png", contact_sheet(np.stack(cards), columns))
    (out / "key.json").write_text(json.dumps([pictures[index][0] for index in order]))


def count_kept(folder: Path) -> None:
    """Print the share of each way that was not refused."""
    key = json.loads((folder / "key.json").read_text())
    refused = {int(word) for word in (folder / "refused.txt").read_text().split()}
    print("| way | pictures | glad to have posted | standard error |\n|---|---|---|---|")
    for way in WAYS:
        kept = [number not in refused for number, of in enumerate(key) if of == way]
        share = sum(kept) / len(kept)
        print(f"| {way} | {len(kept)} | {share:.0%} | {math.sqrt(share * (1 - share) / len(kept)):.1%} |")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sheets = commands.add_parser("sheets")
    sheets.add_argument("checkpoint", type=Path)
    sheets.add_argument("--out", type=Path, required=True)
    sheets.add_argument("--count", type=int, default=100)
    sheets.add_argument("--seed", type=int, default=0)
    sheets.add_argument("--side", type=int, default=512, help="pixels at which a picture is looked at")
    commands.add_parser("count").add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "sheets":
        parts = draw(options.checkpoint, options.count, options.seed)
        write_sheets(parts, options.out, options.seed, options.side)
    else:
        count_kept(options.folder)


if __name__ == "__main__":
    main()
