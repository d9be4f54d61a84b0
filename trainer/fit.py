"""The training loop, to be read from top to bottom: resume or start, then cycle, look, show and save."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata as packages
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trainer import checkpoint, state
from trainer.checkpoint import CheckpointError, Metadata, Metric, to_uint8
from trainer.config import FitConfig, differences
from trainer.data import Dataset
from trainer.errors import TrainerError, UsageError
from trainer.files import atomic_write
from trainer.grids import contact_sheet, write_png
from trainer.heldout import HeldOutLook, score_quantiles
from trainer.metrics.quick import QuickFigures
from trainer.networks import latents_from_seeds
from trainer.pictures import to_device
from trainer.runlog import RunLog
from trainer.training import Training, architecture, choose_device

GRID_SEEDS = tuple(range(1_000, 1_064))
CHUNK = 64
FEWEST_HELD_OUT = 8
BEST_BY = "kid"
NUMBERED_KEPT = 10
LICENCE_NOTE = (
    "Trained on the photographs described under provenance; the pictures it makes show no real dish. "
    "Whoever ships this file answers for the right to have trained on them."
)


@dataclass(frozen=True)
class FitResult:
    """Where a fit stopped, and the checkpoint it left."""

    step: int
    finished: bool
    checkpoint: Path


def fit(
    config: FitConfig, dataset: Dataset, run: Path, *, resume: bool, say: Callable[[str], None]
) -> FitResult:
    """Train until `config.steps` or Ctrl-C, leaving a run folder that can be resumed exactly.

    Raises UsageError where a run is in the way or differs, TrainerError where nothing can be resumed or
    written.
    """
    device = choose_device(config.device)
    training = Training(config, to_device(dataset.training, device))
    if resume:
        _restore(training, dataset, run, say)
    elif (run / "state").exists():
        raise UsageError(f"{run} holds a run already: add --resume to go on with it, or give another --out.")
    _write_config(run, config)
    with RunLog(run, config.steps, resume_at=training.step) as log, _stop_on_interrupt() as stopped:
        session = _Session(training, dataset, run, log)
        if training.step == 0:
            session.snapshot()
        while training.step < config.steps and not stopped():
            training.cycle()
            session.after_cycle()
        session.snapshot()
    return FitResult(training.step, training.step >= config.steps, session.last_checkpoint)


class _Session:
    """What happens between cycles: status lines, looks at held-out photographs, snapshots."""

    def __init__(self, training: Training, dataset: Dataset, run: Path, log: RunLog) -> None:
        self.training = training
        self.dataset = dataset
        self.run = run
        self.log = log
        self.held_out = to_device(dataset.held_out, training.device)
        self.look = HeldOutLook(
            training.pictures, self.held_out, training.config.latent_size, training.objective
        )
        self.training_hashes = _perceptual_hashes(dataset)
        self.last_checkpoint = run / "checkpoints" / "last.safetensors"
        self.figures = self._make_figures()
        self.metrics: dict[str, Metric] = {}
        self.metrics_step = -1
        self.best = _best_so_far(self.last_checkpoint.with_name("best.safetensors"))

    def _make_figures(self) -> QuickFigures | None:
        """The figures of an evaluation, with their floors; none without evaluations or enough held out."""
        if not self.training.config.eval_every:
            return None
        if len(self.dataset.held_out) < FEWEST_HELD_OUT:
            self.log.say(f"Fewer than {FEWEST_HELD_OUT} photographs are held out: no figures, and no best.")
            return None
        return QuickFigures(self.dataset.training, self.dataset.held_out, self.training.device)

    def after_cycle(self) -> None:
        """Do what is due after this step."""
        config, step = self.training.config, self.training.step
        self.log.advance(step)
        if step % config.log_every == 0:
            statistics = self.training.take_statistics()
            self.log.tick(
                step, config.batch, {**statistics.critic, "generator_loss": statistics.generator_loss}
            )
        if config.eval_every and step % config.eval_every == 0:
            self.evaluate()
            self.log.restart_clock(step)
        if config.snap and step % config.snap == 0 and step < config.steps:
            self.snapshot()
            self.log.restart_clock(step)

    def evaluate(self) -> None:
        """Record the critic's losses on training and on held-out reals, and the figures; keep the best."""
        networks = self.training.networks
        train, held = self.look(networks.critic, networks.generator)
        values = {f"training_{name}": value for name, value in asdict(train).items()}
        values |= {f"held_out_{name}": value for name, value in asdict(held).items()}
        self.log.record("evaluation", self.training.step, values)
        self.log.say(
            f"step {self.training.step}: critic loss {train.critic_loss:+.3f} on training, "
            f"{held.critic_loss:+.3f} on held-out photographs"
        )
        if self.figures is not None:
            self._judge(self.figures)

    def _judge(self, figures: QuickFigures) -> None:
        """Figures of fakes of fixed latents, each with its floor; a new best is kept as a checkpoint."""
        pictures = _pictures(self.training, range(figures.fakes))
        self.metrics = figures(pictures)
        step = self.metrics_step = self.training.step
        self.log.record("figures", step, {name: metric.value for name, metric in self.metrics.items()})
        self.log.say(
            f"step {step}: "
            + ", ".join(f"{name} {m.value:.4g} (floor {m.floor:.4g})" for name, m in self.metrics.items())
        )
        if self.metrics[BEST_BY].value < self.best:
            self.best = self.metrics[BEST_BY].value
            self._save_checkpoints("best.safetensors")

    def snapshot(self) -> None:
        """Write the grid, the checkpoint, and the state that a resume starts from."""
        training, step = self.training, self.training.step
        grid = sample_grid(training)
        write_png(self.run / "samples" / f"step-{step:08d}.png", grid)
        self.log.picture("samples", step, np.asarray(grid))
        self._save_checkpoints(f"step-{step:08d}.safetensors", self.last_checkpoint.name)
        for old in sorted(self.last_checkpoint.parent.glob("step-*.safetensors"))[:-NUMBERED_KEPT]:
            old.unlink()
        state.save_state(self.run / "state", training, self.dataset.fingerprint)

    def _save_checkpoints(self, *names: str) -> None:
        networks = self.training.networks
        current = self.metrics if self.metrics_step == self.training.step else {}
        document = make_metadata(self.training, self.dataset, self.held_out, self.training_hashes, current)
        for name in names:
            checkpoint.save(self.last_checkpoint.with_name(name), networks.ema, networks.critic, document)


def sample_grid(training: Training) -> Image.Image:
    """The same 64 latents through the averaged generator, 8 by 8."""
    return contact_sheet(_pictures(training, GRID_SEEDS))


def _pictures(training: Training, seeds: Sequence[int]) -> NDArray[np.uint8]:
    """Pictures (n, r, r, 3) of the averaged generator, one a seed."""
    latents = latents_from_seeds(list(seeds), training.config.latent_size).to(training.device)
    with torch.inference_mode():
        return np.concatenate([to_uint8(training.networks.ema(part)) for part in latents.split(CHUNK)])


def make_metadata(
    training: Training,
    dataset: Dataset,
    held_out: Tensor,
    training_hashes: tuple[str, ...],
    metrics: dict[str, Metric],
) -> Metadata:
    """What the checkpoint says of itself, with the critic's calibration on held-out reals."""
    config = training.config
    return Metadata(
        architecture=asdict(architecture(config)),
        objective=config.objective,
        preset=config.preset,
        step=training.step,
        images_seen=training.images_seen,
        data_fingerprint=dataset.fingerprint,
        training_pictures=len(dataset.training),
        held_out_pictures=len(dataset.held_out),
        score_quantiles=score_quantiles(training.networks.critic, held_out),
        training_hashes=training_hashes,
        metrics=metrics,
        versions={name: packages.version(name) for name in ("torch", "numpy", "safetensors")},
        provenance=f"{len(dataset.training)} photographs from {Path(config.data).name}",
        licence_note=LICENCE_NOTE,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _perceptual_hashes(dataset: Dataset) -> tuple[str, ...]:
    """Hashes of the training pictures, so that the bot can refuse a copy; empty without ImageHash."""
    try:
        import imagehash
    except ImportError:
        return ()
    return tuple(str(imagehash.phash(Image.fromarray(picture))) for picture in dataset.training)


def _best_so_far(path: Path) -> float:
    """The figure of the best checkpoint that an earlier part of this run kept; infinite where none is."""
    try:
        return checkpoint.read_metadata(path).metrics[BEST_BY].value
    except (CheckpointError, KeyError):
        return math.inf


def _restore(training: Training, dataset: Dataset, run: Path, say: Callable[[str], None]) -> None:
    path, document = state.newest_state(run / "state", say)
    found = differences(state.saved_config(document), training.config)
    if found:
        raise UsageError(
            f"{run} can't be resumed with other settings ({'; '.join(found)}): drop those options."
        )
    if document["data_fingerprint"] != dataset.fingerprint:
        raise UsageError(f"{run} was trained on other photographs: give the folder it began with as --data.")
    state.restore_state(path, training)
    say(f"Resumed at step {training.step} from {path.name}.")


def read_run_config(run: Path) -> FitConfig:
    """The settings a run was started with. Raises TrainerError where the folder is no run."""
    path = run / "config.json"
    try:
        return FitConfig.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise TrainerError(f"{run} is not a run folder: give the --out of an earlier trainer fit.") from None


def _write_config(run: Path, config: FitConfig) -> None:
    text = json.dumps(config.to_json(), indent=2, ensure_ascii=False)
    atomic_write(run / "config.json", text.encode() + b"\n")


@contextmanager
def _stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask the loop to end after the step in hand; a second Ctrl-C does not wait."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
