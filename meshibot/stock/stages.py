"""The checkpoints of a run by which a picture is drawn as it was at earlier stages of the training.

Latents belong to a seed, so the same seed gives one picture that becomes better from checkpoint to checkpoint
of one run; in another run it gives another picture. Reads metadata only, and so needs no torch.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from meshibot.errors import MeshibotError, UsageError
from trainer.errors import TrainerError
from trainer.metadata import Metadata, fingerprint_of, read_metadata

EARLIER = 3
"""With the finished picture they fill a grid of two by two."""
SIDE = 512
"""Pixels of each in it."""


def checkpoints_of(run: Path) -> list[Path]:
    """Those that a run kept. Raises MeshibotError where the folder is away, or is none of a run."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        raise MeshibotError(
            f"There are no checkpoints in {run}: set MESHIBOT_RUN to a run folder of trainer fit, or mount "
            "its disk."
        )
    return sorted(folder.glob("*.safetensors"))


def earlier(run: Path, checkpoint: Path) -> tuple[Path, ...]:
    """Three kept checkpoints of a run from before `checkpoint`, which is one of its own, the first one first.

    Raises UsageError where it is none of the run's, or where the run kept too few; MeshibotError where the
    folder is away.
    """
    files = checkpoints_of(run)
    try:
        last = read_metadata(checkpoint)
    except TrainerError as error:
        raise UsageError(str(error)) from error
    if not _is_among(checkpoint, files):
        raise UsageError(
            f"{checkpoint.name} is no checkpoint of the run {run}, so that run never drew its pictures: set "
            "MESHIBOT_CHECKPOINT to one in its checkpoints/ folder."
        )
    kept = {metadata.step: file for file in files if (metadata := _read(file)) and _is_before(metadata, last)}
    if len(kept) < EARLIER:
        raise UsageError(
            f"The run {run} kept {len(kept)} checkpoints from before step {last.step}, and before-and-after "
            f"needs {EARLIER}: take it out of MESHIBOT_KINDS."
        )
    return tuple(kept[step] for step in spread(sorted(kept), last.step))


def spread(steps: Sequence[int], last: int) -> list[int]:
    """Three of the steps, the first among them, as evenly as there are over the logarithm up to `last`.

    What a generator learns in its second thousand steps is seen as well as what it learns in the ten after.
    """
    found = [steps[0]]
    for share in (1 / EARLIER, 2 / EARLIER):
        goal = (1 - share) * math.log(steps[0] + 1) + share * math.log(last + 1)
        left = [step for step in steps if step not in found]
        found.append(min(left, key=lambda step: abs(math.log(step + 1) - goal)))
    return sorted(found)


def _is_among(checkpoint: Path, files: Sequence[Path]) -> bool:
    size = checkpoint.stat().st_size
    alike = [file for file in files if file.stat().st_size == size]
    return bool(alike) and fingerprint_of(checkpoint) in map(fingerprint_of, alike)


def _read(file: Path) -> Metadata | None:
    try:
        return read_metadata(file)
    except TrainerError:
        return None


def _is_before(metadata: Metadata, last: Metadata) -> bool:
    return (
        metadata.step < last.step
        and metadata.latent_size == last.latent_size
        and metadata.data_fingerprint == last.data_fingerprint
    )
