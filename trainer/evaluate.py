"""Judges a checkpoint against photographs: figures with floors, and the pictures nearest to training ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from trainer import checkpoint
from trainer.checkpoint import Checkpoint
from trainer.data.dataset import Dataset, load_dataset
from trainer.data.parts import judging_part
from trainer.data.sources import printable
from trainer.device import choose_device
from trainer.files import require_file
from trainer.grids import contact_sheet, write_png
from trainer.metrics.catalogue import about
from trainer.metrics.critic_gap import CriticScores
from trainer.metrics.features import weights_sha256
from trainer.metrics.inception import inception_figures, require_torch_fidelity
from trainer.metrics.memorisation import ClosestPair
from trainer.metrics.metric import Metric
from trainer.metrics.split import floors, make_split, values, with_floors
from trainer.metrics.suite import PictureFigures, evaluate_pictures
from trainer.pictures import to_device
from trainer.training.heldout import scores_of

Pictures = NDArray[np.uint8]
FAKES = 512
FIRST_SEED = 0
FEW = 50
_CHUNK = 64
_SCORED = 2048


@dataclass(frozen=True)
class Closest:
    """A seed whose picture is suspiciously near to a training photograph; names are paths in the data."""

    seed: int
    training: str
    held_out: str
    ratio: float
    """Distance to the training photograph over that to the nearest held-out one; 0 is a copy."""


@dataclass(frozen=True)
class EvaluationReport:
    """What `trainer evaluate` found."""

    checkpoint: str
    fingerprint: str
    step: int
    objective: str
    preset: str
    data: str
    data_fingerprint: str
    fakes: int
    first_seed: int
    held_out: int
    """Held-out photographs that the figures are taken on."""
    group_size: int
    features_sha256: str
    metrics: dict[str, Metric]
    closest: tuple[Closest, ...]
    notes: tuple[str, ...]
    """What to keep in mind when reading the figures, in sentences."""

    def to_json(self) -> dict[str, Any]:
        """Figures with floor and direction; a figure that is not finite is null."""
        return {
            **{name: value for name, value in vars(self).items() if name not in ("metrics", "closest")},
            "notes": list(self.notes),
            "metrics": {
                name: {
                    "value": _finite(metric.value),
                    "floor": _finite(metric.floor),
                    "better": about(name).better,
                }
                for name, metric in self.metrics.items()
            },
            "closest": [vars(pair) for pair in self.closest],
        }

    def table(self) -> Table:
        """For a terminal: figure, value, floor, which way is better, what it means."""
        table = Table(title=f"{printable(self.checkpoint)}, step {self.step:,}, {self.fakes} pictures")
        table.add_column("figure", no_wrap=True)
        table.add_column("value", justify="right", no_wrap=True)
        table.add_column("floor", justify="right", no_wrap=True)
        table.add_column("better", no_wrap=True)
        table.add_column("meaning")
        for name, metric in self.metrics.items():
            which = about(name)
            table.add_row(name, _short(metric.value), _short(metric.floor), which.word, which.meaning)
        table.caption = (
            f"Floor: the same between two halves of the held-out photographs, {self.group_size} a side."
        )
        return table


def evaluate(
    path: Path,
    data: Path,
    *,
    count: int = FAKES,
    first_seed: int = FIRST_SEED,
    device: str = "auto",
    inception: bool = False,
    pairs: Path | None = None,
    cache: Path | None = None,
) -> EvaluationReport:
    """Judge `count` pictures of the checkpoint, of the seeds from `first_seed` on, against the photographs.

    `inception` adds FID and KID on Inception features; `pairs` is a PNG to draw the closest pairs on: each
    picture, the training and the held-out photograph nearest to it, two such rows side by side. `cache` is
    that of `load_dataset`. Raises CheckpointError, UsageError and TrainerError with what keeps it from being
    judged.
    """
    if inception:
        require_torch_fidelity()
    if pairs is not None:
        require_file(pairs, "--pairs")
    chosen = choose_device(device)
    loaded = checkpoint.load(path, str(chosen))
    dataset = load_dataset(data, loaded.metadata.resolution, cache=cache)
    dataset, notes = _judged_against(loaded, dataset)
    make_split(len(dataset.held_out), count)  # refuses before the long work
    fakes = loaded.draw(range(first_seed, first_seed + count))
    scores = _score(loaded, fakes, dataset, chosen)
    found = evaluate_pictures(fakes, dataset.training, dataset.held_out, scores, device=chosen)
    if pairs is not None:
        write_png(pairs, _drawn(found, fakes, dataset))
    metrics = dict(found.metrics)
    if inception:
        metrics |= _inception(fakes, dataset.held_out, chosen)
    return EvaluationReport(
        checkpoint=str(path),
        fingerprint=loaded.fingerprint,
        step=loaded.metadata.step,
        objective=loaded.metadata.objective,
        preset=loaded.metadata.preset,
        data=str(data),
        data_fingerprint=dataset.fingerprint,
        fakes=count,
        first_seed=first_seed,
        group_size=found.group_size,
        features_sha256=weights_sha256(),
        metrics=metrics,
        closest=tuple(_name(pair, dataset, first_seed) for pair in found.closest),
        notes=(*notes, *_notes(loaded, dataset, found)),
        held_out=len(dataset.held_out),
    )


def _judged_against(loaded: Checkpoint, dataset: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """The photographs with those held out that may judge this checkpoint, and a note that says which."""
    if not loaded.metadata.held_out_apart or loaded.metadata.data_fingerprint != dataset.fingerprint:
        note = (
            "The held-out photographs that judge here may have chosen the checkpoint and calibrated its "
            "filter as well: take the figures as somewhat flattering."
        )
        return dataset, (note,)
    held_out, names = judging_part(dataset)
    note = (
        f"Judged against {len(held_out)} held-out photographs that neither chose the checkpoint nor "
        "calibrated its filter."
    )
    return replace(dataset, held_out=held_out, held_out_names=names), (note,)


def _score(loaded: Checkpoint, fakes: Pictures, dataset: Dataset, device: torch.device) -> CriticScores:
    """At most 2,048 training photographs, evenly spaced: more would not sharpen a mean that matters."""
    some = np.unique(np.linspace(0, len(dataset.training) - 1, _SCORED).astype(int))

    def score(pictures: Pictures) -> NDArray[np.float32]:
        parts = [
            scores_of(loaded.critic, loaded.vision, to_device(part, device)).mean(1).cpu().numpy()
            for part in np.array_split(pictures, range(_CHUNK, len(pictures), _CHUNK))
        ]
        return np.concatenate(parts)

    return CriticScores(score(dataset.training[some]), score(dataset.held_out), score(fakes))


def _inception(fakes: Pictures, held_out: Pictures, device: torch.device) -> dict[str, Metric]:
    """With groups and halves like every other figure, so that value and floor have the same bias."""

    def figures(pictures: Pictures, reals: Pictures) -> dict[str, float]:
        return inception_figures(pictures, reals, device=device)

    split = make_split(len(held_out), len(fakes))
    return with_floors(values(figures, fakes, held_out, split), floors(figures, held_out, split))


def _drawn(found: PictureFigures, fakes: Pictures, dataset: Dataset) -> Image.Image:
    trios = [
        (fakes[pair.fake], dataset.training[pair.training], dataset.held_out[pair.held_out])
        for pair in found.closest
    ]
    return contact_sheet(np.stack([picture for trio in trios for picture in trio]), columns=6)


def _name(pair: ClosestPair, dataset: Dataset, first_seed: int) -> Closest:
    return Closest(
        first_seed + pair.fake,
        dataset.training_names[pair.training],
        dataset.held_out_names[pair.held_out],
        pair.ratio,
    )


def _notes(loaded: Checkpoint, dataset: Dataset, found: PictureFigures) -> tuple[str, ...]:
    notes = []
    if loaded.metadata.data_fingerprint != dataset.fingerprint:
        notes.append(
            "These are not the photographs the checkpoint was trained on: memorisation, copies, critic_gap "
            "and r_v say nothing."
        )
    if found.group_size < FEW:
        notes.append(
            f"Only {found.group_size} pictures a side are compared: take the figures as rough "
            f"(more held-out photographs, or more pictures, sharpen them)."
        )
    return tuple(notes)


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"
