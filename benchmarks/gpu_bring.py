"""What of a run comes back from a borrowed machine: all that a second piece needs, and a checkpoint to use.

    python -m benchmarks.gpu_bring RUN OUT

Writes OUT/run.tar.gz.aa, .ab and so on, four at most, of 15 MiB: `cat run.tar.gz.* | tar xz -C RUN` makes a
run folder of them that `trainer fit --resume` goes on with. The newest state comes lighter than it was:
averages and squares of gradients rounded to half their bits, means of gradients left out where Adam does not
use them (beta1 = 0). So what goes on is not bit for bit what it would have been. What is too much, with what
counts most first, stays behind, and that is said.
"""

import argparse
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from benchmarks.ship import halve
from trainer import checkpoint
from trainer.config import FitConfig
from trainer.training.state import newest_state, saved_config

PART = 15 * 2**20
SLACK = 2**17
"""What compression may hold back."""
PARTS = 4
SHEETS = 2


def lighter(path: Path, config: FitConfig) -> bytes:
    """The state, in about half of its bytes, still to be resumed."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: _lighter(name, file.get_tensor(name), config) for name in file.keys()}  # noqa: SIM118
    return serialise(tensors, metadata)


def _lighter(name: str, tensor: Tensor, config: FitConfig) -> Tensor:
    if name.endswith(".exp_avg") and not config.beta1:
        return torch.zeros_like(tensor)
    if name.endswith(".exp_avg_sq"):
        return tensor.bfloat16()
    if "_average." in name and tensor.is_floating_point():
        return tensor.half()
    return tensor


def members(run: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file that comes back, what counts most first."""
    for name in ("config.json", "metrics.jsonl", "data_report.json"):
        if (run / name).exists():
            yield name, (run / name).read_bytes()
    checkpoints = [run / "checkpoints" / f"{name}.safetensors" for name in ("best", "last")]
    steps = set()
    for path in checkpoints:
        if path.exists() and (loaded := checkpoint.load(path)).metadata.step not in steps:
            small = path.with_suffix(".half")
            halve(loaded, small)
            yield f"checkpoints/{path.name}", small.read_bytes()
            small.unlink()
            steps.add(loaded.metadata.step)
    state, document = newest_state(run / "state", print)
    yield f"state/{state.name}", lighter(state, saved_config(document))
    if (run / "report.html").exists():
        yield "report.html", (run / "report.html").read_bytes()
    for sheet in sorted((run / "samples").glob("*.png"))[-SHEETS:]:
        yield f"samples/{sheet.name}", sheet.read_bytes()


def pack(run: Path, room: int = PART * PARTS) -> bytes:
    """All that fits into `room` bytes as a compressed archive; says what stays behind."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w|gz", compresslevel=1) as archive:
        for name, content in members(run):
            weight = len(zlib.compress(content, 1))
            if packed.tell() + weight + SLACK > room:
                print(f"LEFT BEHIND {name}: {weight / 2**20:.1f} MiB more would be too much")
                continue
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    packed = pack(options.run)
    for number, start in enumerate(range(0, len(packed), PART)):
        (options.out / f"run.tar.gz.a{chr(ord('a') + number)}").write_bytes(packed[start : start + PART])
    print(f"{len(packed) / 2**20:.1f} MiB of {options.run} are in {options.out}/run.tar.gz.*")


if __name__ == "__main__":
    main()
