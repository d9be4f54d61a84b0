"""How many pictures one would be glad to have posted, counted blind.

    python -m benchmarks.eye sheets CHECKPOINT --out FOLDER [--count 100] [--seed 0]
    python -m benchmarks.eye count FOLDER

The first draws as many pictures in each of WAYS, shuffles them, and writes numbered sheets. Look at those,
and write the numbers of the pictures that you would rather not have posted to FOLDER/refused.txt, divided by
white space. The second says how many of each way are left, with the standard error of such a count. Which
picture came which way stands in FOLDER/key.json: don't look before.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.filters import GROUP, best_of, candidates
from meshibot.stock.sampler import CANDIDATES
from trainer import checkpoint
from trainer.grids import contact_sheet, write_png

WAYS = ("unfiltered", "the bot's", f"best of {GROUP}")
SIDE = 128
ROWS, COLUMNS = 5, 10


def draw(file: Path, count: int) -> list[NDArray[np.uint8]]:
    """For each of WAYS pictures (count, r, r, 3), no latent in two of them."""
    loaded = checkpoint.load(file)
    groups = (1, CANDIDATES, GROUP)
    pictures, _, scores = candidates(loaded, sum(groups) * count)
    chosen, start = [], 0
    for group in groups:
        own = slice(start, start + group * count)
        chosen.append(pictures[own][best_of(group)(scores[own])])
        start = own.stop
    return chosen


def numbered(picture: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """The picture at SIDE x SIDE, on white with its number under it."""
    card = Image.new("RGB", (SIDE, SIDE + 14), (255, 255, 255))
    card.paste(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    ImageDraw.Draw(card).text((2, SIDE + 1), str(number), (0, 0, 0))
    return np.asarray(card)


def write_sheets(file: Path, out: Path, count: int, seed: int) -> None:
    """Shuffled, numbered pictures of all ways, and the key."""
    parts = draw(file, count)
    pictures = np.concatenate(parts)
    ways = [way for way, part in zip(WAYS, parts, strict=True) for _ in part]
    order = np.random.default_rng(seed).permutation(len(pictures))
    cards = np.stack([numbered(pictures[index], number) for number, index in enumerate(order)])
    for sheet, start in enumerate(range(0, len(cards), ROWS * COLUMNS)):
        write_png(out / f"sheet-{sheet}.png", contact_sheet(cards[start : start + ROWS * COLUMNS], COLUMNS))
    (out / "key.json").write_text(json.dumps([ways[index] for index in order]))


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
    commands.add_parser("count").add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "sheets":
        write_sheets(options.checkpoint, options.out, options.count, options.seed)
    else:
        count_kept(options.folder)


if __name__ == "__main__":
    main()
