"""How quick sampling is: `trainer sample` against a loop of single calls, and `meshibot stock fill`.

    python -m benchmarks.sampling [--count 512] [--rounds 5]

The loop is what most scripts do: a latent, a call, a PNG, and again. Both write the same files, in turn; the
medians count. `meshibot stock fill` of four pictures looks at 64 candidates, and is measured as a process.
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

import torch
from PIL import Image

from benchmarks.bot import run_command
from benchmarks.step import seconds
from meshibot.config import shipped_checkpoint
from meshibot.stock.sampler import CANDIDATES
from testbed.command import Command
from trainer import checkpoint
from trainer.pictures import to_uint8
from trainer.sample import write_samples

TARGET_CANDIDATES = 64


def one_by_one(path: Path, count: int, out: Path) -> None:
    """A call for each picture."""
    loaded = checkpoint.load(path)
    out.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        picture = to_uint8(loaded.sample([seed]))[0]
        Image.fromarray(picture).save(out / f"{seed:06d}.png")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="meshibot-bench-"))
    try:
        shipped, cpu = shipped_checkpoint(), torch.device("cpu")
        loop, ours = [], []
        for _ in range(options.rounds):
            loop.append(seconds(lambda: one_by_one(shipped, options.count, folder / "loop"), cpu))
            ours.append(
                seconds(lambda: write_samples(shipped, options.count, folder / "ours", None, 0, "cpu"), cpu)
            )
        slow, quick = options.count / statistics.median(loop), options.count / statistics.median(ours)
        print("| | pictures/s | ratio |\n|---|---|---|")
        print(f"| a loop of single calls | {slow:.0f} | |")
        print(f"| `trainer sample --n {options.count}` | {quick:.0f} | {quick / slow:.2f} |")
        bot = Command(folder / "bot", {"MIN_QUANTILE": "0"})
        bot.folder.mkdir()
        fills = []
        for _ in range(options.rounds):
            shutil.rmtree(bot.home, ignore_errors=True)
            bot("db", "upgrade")
            fills.append(run_command(bot, "stock", "fill", "--target", str(TARGET_CANDIDATES // CANDIDATES)))
        print(f"\n`meshibot stock fill` of {TARGET_CANDIDATES} candidates: "
              f"{statistics.median(run.wall for run in fills):.2f} s, "
              f"{statistics.median(run.cpu for run in fills):.2f} s of a core.")  # fmt: skip
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
