"""The training loop, to be read from top to bottom: resume or start, then cycle, look, show and save."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata as packages
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainer import checkpoint, state
from trainer.checkpoint import Metadata, to_uint8
from trainer.config import FitConfig, differences
from trainer.data import Dataset
from trainer.errors import TrainerError, UsageError
from trainer.files import atomic_write
from trainer.grids import contact_sheet, write_png
from trainer.heldout import HeldOutLook, score_quantiles
from trainer.networks import latents_from_seeds
from trainer.pictures import to_device
from trainer.runlog import RunLog
from trainer.training import Training, architecture, choose_device

GRID_SEEDS = tuple(range(1_000, 1_064))
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
        """Record the critic's losses on training and on held-out reals, averaged over samples."""
        networks = self.training.networks
        train, held = self.look(networks.critic, networks.generator)
        values = {f"training_{name}": value for name, value in asdict(train).items()}
        values |= {f"held_out_{name}": value for name, value in asdict(held).items()}
        self.log.record("evaluation", self.training.step, values)
        self.log.say(
            f"step {self.training.step}: critic loss {train.critic_loss:+.3f} on training, "
            f"{held.critic_loss:+.3f} on held-out photographs"
        )

    def snapshot(self) -> None:
        """Write the grid, the checkpoint, and the state that a resume starts from."""
        training, step = self.training, self.training.step
        grid = sample_grid(training)
        write_png(self.run / "samples" / f"step-{step:08d}.png", grid)
        self.log.picture("samples", step, np.asarray(grid))
        document = make_metadata(training, self.dataset, self.held_out, self.training_hashes)
        for name in (f"step-{step:08d}.safetensors", self.last_checkpoint.name):
            path = self.last_checkpoint.with_name(name)
            checkpoint.save(path, training.networks.ema, training.networks.critic, document)
        for old in sorted(self.last_checkpoint.parent.glob("step-*.safetensors"))[:-NUMBERED_KEPT]:
            old.unlink()
        state.save_state(self.run / "state", training, self.dataset.fingerprint)


def sample_grid(training: Training) -> Image.Image:
    """The same 64 latents through the averaged generator, 8 by 8."""
    latents = latents_from_seeds(list(GRID_SEEDS), training.config.latent_size).to(training.device)
    with torch.inference_mode():
        return contact_sheet(to_uint8(training.networks.ema(latents)))


def make_metadata(
    training: Training, dataset: Dataset, held_out: Tensor, training_hashes: tuple[str, ...]
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
