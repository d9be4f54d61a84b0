"""What a run shows of itself in files: sheets of samples, and checkpoints with their calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata as packages
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trainer import checkpoint
from trainer.config import FitConfig
from trainer.copies import MOST_TRAINING, CopyTest
from trainer.data.dataset import Dataset
from trainer.data.parts import parts_of
from trainer.data.sources import printable
from trainer.grids import contact_sheet, write_png
from trainer.hashes import perceptual_hash
from trainer.layout import Layout
from trainer.metadata import Metadata
from trainer.metrics.metric import Metric
from trainer.metrics.realism import Realism
from trainer.nets.generator import latents_from_seeds
from trainer.nets.vision import Description, PretrainedVision, describe_all
from trainer.pictures import draw, to_device
from trainer.scale import Scale
from trainer.training.heldout import features_of, scores_of
from trainer.training.training import Training

LAST_CHECKPOINT = "last.safetensors"
BEST_CHECKPOINT = "best.safetensors"
GRID_SEEDS = tuple(range(1_000, 1_064))
QUANTILES = 100
MOST_CALIBRATED_ON = 1_000
"""Held-out photographs, of those that calibrate; they lie in the order of their hashes."""
NUMBERED_KEPT = 10
LICENCE_NOTE = (
    "Trained on the photographs described under provenance; the pictures it makes show no real dish. "
    "Whoever ships this file answers for the right to have trained on them."
)


@dataclass(frozen=True)
class _Described:
    """What the pretrained network makes of a run's photographs."""

    training: Description
    held_out: Description
    """Of those that scores are calibrated on; and of the same mirrored."""
    mirrored: Description


class Snapshots:
    """Writes sheets and checkpoints of the averaged networks into the run folder."""

    def __init__(self, training: Training, dataset: Dataset, run: Path) -> None:
        self.training = training
        self.dataset = dataset
        self.samples = run / "samples"
        self.checkpoints = run / "checkpoints"
        self.parts = parts_of(len(dataset.held_out))
        self.calibrated_on = to_device(self._held_out, training.device)

    def write_sheet(self) -> Image.Image:
        """The same 64 latents through the averaged generator, 8 by 8."""
        sheet = contact_sheet(draw_seeds(self.training, GRID_SEEDS))
        write_png(self.samples / f"step-{self.training.step:08d}.png", sheet)
        return sheet

    def write_checkpoint(self, *names: str, metrics: dict[str, Metric]) -> None:
        """The same file under each name; `metrics` are those of this very step, if any."""
        networks = self.training.networks
        photographs = self._features()
        scale, quantiles = self._calibration(photographs)
        document = self._metadata(scale, quantiles, metrics)
        for name in names:
            checkpoint.save(
                self.checkpoints / name,
                networks.generator_average,
                networks.critic_average,
                networks.vision,
                photographs,
                document,
                self._copies,
                self._layout,
            )

    def _features(self) -> Tensor | None:
        """What a plain critic sees in the held-out photographs; a seeing one scores without."""
        networks = self.training.networks
        if networks.critic.shape.kind == "seeing":
            return None
        return features_of(networks.critic_average, networks.vision, self.calibrated_on)

    def _calibration(self, photographs: Tensor | None) -> tuple[Scale | None, tuple[float, ...]]:
        """The scale of the scores, and quantiles of the held-out photographs' own, as `Checkpoint.score`
        gives them; `photographs`: a plain critic's features."""
        networks = self.training.networks
        if photographs is not None:
            return None, Realism(photographs).quantiles(QUANTILES)
        scores = networks.vision.weighed(
            scores_of(networks.critic_average, networks.vision, self.calibrated_on)
        )
        scale = None
        if self._layout is not None and self._described is not None:
            seen, copies = self._described.held_out, self._copies
            typical = self._layout.typicality(seen.layout).to(scores)
            near = None if copies is None else copies.nearness(seen.content).to(scores)
            scale = Scale.of(scores, typical, near)
            scores = scale.score(scores, typical, near) if scale is not None else scores
        marks = torch.linspace(0, 1, QUANTILES + 1).to(scores)
        return scale, tuple(torch.quantile(scores, marks).tolist())

    def write_numbered(self, *, metrics: dict[str, Metric]) -> None:
        """A checkpoint under its step's number and as the last one; of the numbered ones a few are kept."""
        name = f"step-{self.training.step:08d}.safetensors"
        self.write_checkpoint(name, LAST_CHECKPOINT, metrics=metrics)
        for old in sorted(self.checkpoints.glob("step-*.safetensors"))[:-NUMBERED_KEPT]:
            old.unlink()

    @cached_property
    def _copies(self) -> CopyTest | None:
        """By which a seeing critic's checkpoint knows copies."""
        seen = self._described
        if seen is None:
            return None
        return CopyTest.measured(seen.training.content, seen.held_out.content, seen.mirrored.content)

    @cached_property
    def _layout(self) -> Layout | None:
        """By which it knows where photographs have what."""
        return None if self._described is None else Layout.measured(self._described.training.layout)

    @cached_property
    def _described(self) -> _Described | None:
        """Of a seeing critic's photographs; they are looked at once a run."""
        vision = self.training.networks.vision
        if not isinstance(vision, PretrainedVision):
            return None
        held_out = self._held_out
        parts = (self.dataset.training[:MOST_TRAINING], held_out, held_out[:, :, ::-1])
        return _Described(*(describe_all(vision, part, self.training.device) for part in parts))

    @property
    def _held_out(self) -> NDArray[np.uint8]:
        """The photographs that scores are calibrated on (h, r, r, 3)."""
        return self.dataset.held_out[self.parts.calibrating[:MOST_CALIBRATED_ON]]

    @cached_property
    def _training_hashes(self) -> tuple[str, ...]:
        """By which the bot knows a copy of a training picture."""
        hashes = (perceptual_hash(Image.fromarray(picture)) for picture in self.dataset.training)
        return tuple(f"{each:016x}" for each in hashes)

    def _metadata(
        self, scale: Scale | None, quantiles: tuple[float, ...], metrics: dict[str, Metric]
    ) -> Metadata:
        training, dataset = self.training, self.dataset
        config = training.config
        return Metadata(
            architecture=asdict(config.architecture),
            objective=config.objective,
            preset=config.preset,
            step=training.step,
            images_seen=training.images_seen,
            data_fingerprint=dataset.fingerprint,
            training_pictures=len(dataset.training),
            held_out_pictures=len(dataset.held_out),
            score_quantiles=quantiles,
            score_scale=scale,
            head_weights=training.networks.vision.head_weights,
            held_out_apart=self.parts.apart,
            training_hashes=self._training_hashes,
            metrics=metrics,
            versions={name: packages.version(name) for name in ("torch", "numpy", "safetensors")},
            provenance=_provenance(config, dataset),
            licence_note=LICENCE_NOTE,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def draw_seeds(training: Training, seeds: Sequence[int]) -> NDArray[np.uint8]:
    """Pictures (n, r, r, 3) of the averaged generator, one a seed."""
    latents = latents_from_seeds(list(seeds), training.config.latent_size)
    return draw(training.networks.generator_average, latents, training.device)


def _provenance(config: FitConfig, dataset: Dataset) -> str:
    begun = f", begun as {Path(config.init).name}" if config.init else ""
    return printable(f"{len(dataset.training)} photographs from {Path(config.data).name}{begun}")
