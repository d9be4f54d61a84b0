"""From a run to what the package ships: the checkpoint in half precision, its pictures, and how choosy it is.

    python -m benchmarks.ship RUN [--checkpoint best] [--out FOLDER]

Writes `ramen.safetensors`, `samples.png` (chosen by the bot) and `timeline.gif` (the same latents
over the run), and prints what half precision changed and a table of how many pictures pass at which
`MESHIBOT_MIN_QUANTILE`.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.eye import posted
from trainer import checkpoint
from trainer.checkpoint import Checkpoint
from trainer.grids import contact_sheet, write_png

CANDIDATES = 2_048
SHOWN = 24
SEED = 0
SHOWN_AT = 256
"""Pixels a side."""
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
FRAMES = 20
FRAME = 0.5
"""Seconds a snapshot is shown; the last is shown four times as long."""


def halve(loaded: Checkpoint, path: Path) -> None:
    """Store the weights as float16, and say what that changes of 64 pictures."""
    parts = (loaded.generator, loaded.critic, loaded.vision, loaded.photographs, loaded.metadata)
    checkpoint.save(path, *parts, loaded.copies, loaded.layout, half=True)
    half = checkpoint.load(path)
    seeds = range(64)
    before, after = loaded.sample(seeds), half.sample(seeds)
    pixels = (before - after).abs().max().item()
    scores = (loaded.score(before) - half.score(after)).abs().max().item()
    size = path.stat().st_size / 2**20
    print(f"{path}: {size:.1f} MiB; of 64 pictures no pixel changed by more than {pixels:.4f} (of 2), "
          f"no score by more than {scores:.4f}.\n")  # fmt: skip


def acceptance(loaded: Checkpoint) -> None:
    """How many candidates pass."""
    scores = torch.cat([loaded.score(loaded.sample(range(i, i + 16))) for i in range(0, CANDIDATES, 16)])
    print("| `MIN_QUANTILE` | candidates that pass |\n|---|---|")
    for quantile in QUANTILES:
        share = (scores >= loaded.metadata.score_at(quantile)).float().mean().item()
        print(f"| {quantile:g} | {share:.0%} |")


def chosen(checkpoint: Path) -> Image.Image:
    """Pictures that the bot would post."""
    size = (SHOWN_AT, SHOWN_AT)
    large = [picture.resize(size, Image.Resampling.LANCZOS) for picture in posted(checkpoint, SHOWN, SEED)]
    return contact_sheet(np.stack([np.asarray(picture) for picture in large]), columns=6)


def timeline(samples: Path, path: Path) -> None:
    """The upper half of snapshots' sheets as frames of one loop, closer together where most changes."""
    steps = np.array(sorted(int(file.stem.removeprefix("step-")) for file in samples.glob("step-*.png")))
    wanted = steps[-1] * np.linspace(0, 1, FRAMES) ** 2
    shown = sorted({int(steps[np.abs(steps - step).argmin()]) for step in wanted})
    print(f"\nFrames of the steps {', '.join(map(str, shown))}.")
    sheets = [Image.open(samples / f"step-{step:08d}.png").convert("RGB") for step in shown]
    halves = [sheet.crop((0, 0, sheet.width, sheet.height // 2)) for sheet in sheets]
    frames = [half.quantize(128, dither=Image.Dither.NONE) for half in halves]
    durations = [1000 * FRAME] * (len(frames) - 1) + [4000 * FRAME]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--out", type=Path, default=Path("shipped"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    loaded = checkpoint.load(options.run / "checkpoints" / f"{options.checkpoint}.safetensors")
    small = options.out / "ramen.safetensors"
    halve(loaded, small)
    acceptance(loaded)
    write_png(options.out / "samples.png", chosen(small))
    timeline(options.run / "samples", options.out / "timeline.gif")


if __name__ == "__main__":
    main()
