"""Between the cycles of a training: looks at held-out photographs, figures, the guard, snapshots.

Called by `trainer.training.fit`, whose loop knows nothing of what is due when.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata as packages
from pathlib import Path
from textwrap import fill

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer import checkpoint
from trainer.checkpoint import CheckpointError, Metadata
from trainer.config import FitConfig
from trainer.data.dataset import Dataset
from trainer.data.sources import printable
from trainer.errors import TrainerError
from trainer.grids import contact_sheet, write_png
from trainer.hashes import perceptual_hash
from trainer.metrics.metric import Metric
from trainer.metrics.quick import QuickFigures
from trainer.metrics.realism import Realism
from trainer.nets.generator import latents_from_seeds
from trainer.pictures import draw, to_device
from trainer.training import state
from trainer.training.guard import Guard, Observation, Verdict
from trainer.training.heldout import HeldOutLook, Look, features_of
from trainer.training.runlog import COLUMNS, RunLog
from trainer.training.training import TickStatistics, Training

LAST_CHECKPOINT = "last.safetensors"
BEST_CHECKPOINT = "best.safetensors"
GRID_SEEDS = tuple(range(1_000, 1_064))
QUANTILES = 100
MOST_CALIBRATED_ON = 1_000
"""Held-out photographs whose features go into a checkpoint; they lie in the order of their hashes."""
FEWEST_HELD_OUT = 8
ENOUGH_FOR_GAP = 50
"""Of fewer held-out photographs the mean score varies too much to speak of memorising."""
BEST_BY = "kid"
NUMBERED_KEPT = 10
LICENCE_NOTE = (
    "Trained on the photographs described under provenance; the pictures it makes show no real dish. "
    "Whoever ships this file answers for the right to have trained on them."
)


class Session:
    """What happens between cycles: status lines, looks at held-out photographs, snapshots."""

    def __init__(self, training: Training, dataset: Dataset, run: Path, log: RunLog, guard: Guard) -> None:
        self.training = training
        self.dataset = dataset
        self.run = run
        self.log = log
        self.guard = guard
        self.best_state = state.best_state(run / "state")
        self.held_out = to_device(dataset.held_out, training.device)
        self.look = HeldOutLook(
            training.photographs.pictures,
            self.held_out,
            training.config.latent_size,
            training.objective,
            training.networks.vision,
        )
        self.checkpoints = run / "checkpoints"
        self.has_figures = len(dataset.held_out) >= FEWEST_HELD_OUT
        if training.config.eval_every and not self.has_figures:
            log.say(f"Fewer than {FEWEST_HELD_OUT} photographs are held out: no figures, and no best.")
        self.metrics: dict[str, Metric] = {}
        self.metrics_step = -1
        self.best = _best_so_far(self.checkpoints / BEST_CHECKPOINT)

    @cached_property
    def _figures(self) -> QuickFigures:
        """The figures of an evaluation, with their floors: seconds that the first step does not wait for."""
        return QuickFigures(self.dataset.training, self.dataset.held_out, self.training.device)

    @cached_property
    def _training_hashes(self) -> tuple[str, ...]:
        """By which the bot knows a copy of a training picture."""
        hashes = (perceptual_hash(Image.fromarray(picture)) for picture in self.dataset.training)
        return tuple(f"{each:016x}" for each in hashes)

    def after_cycle(self) -> None:
        """Do what is due after this step."""
        config, step = self.training.config, self.training.step
        self.log.advance(step)
        statistics = None
        if step % config.log_every == 0:
            statistics = self.training.take_statistics()
            self.log.tick(
                step,
                config.batch,
                {**statistics.critic, "generator_loss": statistics.generator_loss, **_by_head(statistics)},
                self.training.time_left,
            )
        if evaluation_due(self.training):
            self.evaluate(statistics or self.training.statistics())
            self.log.restart_clock(self.training.step)
        if self.training.step < step:
            return  # the guard went back
        if config.snap and step % config.snap == 0 and not self.training.done:
            self.snapshot()
            self.log.restart_clock(step)

    def evaluate(self, statistics: TickStatistics) -> None:
        """Record losses on training and on held-out reals, and figures; then go back, or keep the best.

        `statistics` are those of the training batches since the last tick but this step's.
        """
        networks = self.training.networks
        look = self.look(networks.critic, networks.generator)
        train, held = look.training, look.held_out
        self.log.record("evaluation", self.training.step, _told(look, networks.critic.head_names))
        self.log.say(
            f"step {self.training.step}: critic loss {train.critic_loss:+.3f} on training, "
            f"{held.critic_loss:+.3f} on held-out photographs"
        )
        if self.has_figures:
            self._judge()
        verdict = self._ask_guard(look, statistics)
        setbacks = self.training.setbacks + (verdict is not None)
        # told before anything is raised: the others wait for it
        self.training.workers.follow(setbacks)
        if verdict is not None:
            self._go_back(verdict, setbacks)
        elif self.guard.calm:
            self._keep_if_best()

    def _ask_guard(self, look: Look, statistics: TickStatistics) -> Verdict | None:
        if not self.training.config.guard:
            return None
        figures = {name: metric.value for name, metric in self.metrics.items()}
        return self.guard.look(
            Observation(
                critic_loss=look.training.critic_loss,
                penalty=look.training.penalty,
                generator_loss=statistics.generator_loss,
                wasserstein=statistics.critic["wasserstein"],
                separation=look.separation,
                spread=look.spread,
                slope=look.slope,
                gap=look.gap if len(self.held_out) >= ENOUGH_FOR_GAP else 0.0,
                distance=figures.get("swd"),
                diversity=figures.get("diversity"),
                variety=figures.get("variety"),
            )
        )

    def _keep_if_best(self) -> None:
        """Keep the state to go back to and the checkpoint; without figures the latest is the best."""
        if not self.has_figures:
            self._save_best_state()
        elif self.metrics[BEST_BY].value < self.best:
            self.best = self.metrics[BEST_BY].value
            self._save_checkpoints(BEST_CHECKPOINT)
            self._save_best_state()

    def _go_back(self, verdict: Verdict, setbacks: int) -> None:
        """Restore the best state with lower learning rates and new random numbers, or give up."""
        training, step = self.training, self.training.step
        if setbacks > training.config.setbacks:
            self.log.record(
                "guard", step, {"decision": "stop", "sign": verdict.sign, "reason": verdict.explanation}
            )
            kept = f"; its checkpoints are kept in {self.checkpoints}" if self.checkpoints.exists() else ""
            raise TrainerError(
                f"Training collapsed at step {step}: {verdict.explanation}. It has gone back {setbacks - 1} "
                f"times and stops here{kept}. Try lower --critic-lr and --generator-lr, another --seed or "
                "more photographs."
            )
        go_back(training, self.best_state, setbacks, self.log.say)
        self.guard.start_over()
        factor = training.config.setback_lr**setbacks
        self.log.record(
            "guard",
            step,
            {
                "decision": "go back",
                "sign": verdict.sign,
                "reason": verdict.explanation,
                "to_step": training.step,
                "lr_factor": factor,
            },
        )
        self.log.say(
            f"step {step}: {verdict.explanation}; going back to step {training.step} with {factor:g} times "
            f"the learning rates and new random numbers ({setbacks} of {training.config.setbacks})"
        )
        state.save_setback(self.run / "state", training, self._surroundings())

    def _save_best_state(self) -> None:
        state.write_state(self.best_state, self.training, self._surroundings())

    def _surroundings(self) -> state.Surroundings:
        return state.Surroundings(self.dataset.fingerprint, self.guard, self.log.length)

    def _judge(self) -> None:
        """Figures of fakes of fixed latents, each with its floor."""
        pictures = _pictures(self.training, range(self._figures.fakes))
        self.metrics = self._figures(pictures)
        step = self.metrics_step = self.training.step
        self.log.record("figures", step, {name: metric.value for name, metric in self.metrics.items()})
        figures = ", ".join(
            f"{name} {metric.value:.3g} (floor {metric.floor:.3g})"
            for name, metric in self.metrics.items()
            if not name.startswith("swd_")  # its levels are in metrics.jsonl
        )
        self.log.say(fill(f"step {step}: {figures}", COLUMNS, subsequent_indent="  "))

    def begin(self) -> None:
        """Write what a new run has: its first grid, and a state to resume from and to go back to."""
        self._write_grid()
        self._save_states()

    def snapshot(self) -> None:
        """Write the grid, the checkpoint, and the state that a resume starts from."""
        self._write_grid()
        self._save_checkpoints(f"step-{self.training.step:08d}.safetensors", LAST_CHECKPOINT)
        for old in sorted(self.checkpoints.glob("step-*.safetensors"))[:-NUMBERED_KEPT]:
            old.unlink()
        self._save_states()

    def _save_states(self) -> None:
        """The one to resume from, and one to go back to where there is none."""
        state.save_state(self.run / "state", self.training, self._surroundings())
        if not self.best_state.exists():
            self._save_best_state()

    def _write_grid(self) -> None:
        grid, step = sample_grid(self.training), self.training.step
        write_png(self.run / "samples" / f"step-{step:08d}.png", grid)
        self.log.picture("samples", step, np.asarray(grid))

    def _save_checkpoints(self, *names: str) -> None:
        networks = self.training.networks
        current = self.metrics if self.metrics_step == self.training.step else {}
        photographs = features_of(
            networks.critic_average, networks.vision, self.held_out[:MOST_CALIBRATED_ON]
        )
        quantiles = Realism(photographs).quantiles(QUANTILES)
        document = make_metadata(self.training, self.dataset, quantiles, self._training_hashes, current)
        for name in names:
            checkpoint.save(
                self.checkpoints / name,
                networks.generator_average,
                networks.critic_average,
                networks.vision,
                photographs,
                document,
            )


class Follower:
    """Between the cycles of another process than the first: takes part, and follows its decisions."""

    def __init__(self, training: Training, run: Path) -> None:
        self.training = training
        self.best_state = state.best_state(run / "state")

    def after_cycle(self) -> None:
        """Keep the statistics' intervals, and go back when the first process does."""
        training, config = self.training, self.training.config
        if training.step % config.log_every == 0:
            training.take_statistics()
        if evaluation_due(training):
            setbacks = training.workers.follow()
            if config.setbacks >= setbacks > training.setbacks:
                go_back(training, self.best_state, setbacks)

    def begin(self) -> None:
        """The first process's work alone."""

    def snapshot(self) -> None:
        """The first process's work alone."""


def _by_head(statistics: TickStatistics) -> dict[str, float]:
    """Wasserstein distance and penalty of each head, where there are several."""
    return {
        f"{name}.{head}": values[name]
        for head, values in statistics.heads.items()
        for name in ("wasserstein", "penalty")
    }


def _told(look: Look, heads: Sequence[str]) -> dict[str, float]:
    """A look as it stands in metrics.jsonl."""
    values = {"separation": look.separation, "gap": look.gap}
    for kind, losses in (("training", look.training), ("held_out", look.held_out)):
        values |= {
            f"{kind}_critic_loss": losses.critic_loss,
            f"{kind}_wasserstein": losses.wasserstein,
            f"{kind}_penalty": losses.penalty,
        }
    if len(heads) > 1:
        values |= {f"separation.{head}": value for head, value in zip(heads, look.separations, strict=True)}
        values |= {f"gap.{head}": value for head, value in zip(heads, look.gaps, strict=True)}
    return values


def evaluation_due(training: Training) -> bool:
    """Now and then, and after the last step whatever it is: a run that has ended has a best checkpoint."""
    every = training.config.eval_every
    return bool(every) and (training.step % every == 0 or training.done)


def go_back(
    training: Training, path: Path, setbacks: int, say: Callable[[str], None] = lambda text: None
) -> None:
    """Restore a state with the learning rates of the n-th setback and new random numbers.

    Where that state is damaged or gone, the newest readable one. Raises TrainerError where there is none.
    """
    if state.read_document(path) is None:
        say(f"{path.name}, to which the guard would go back, is damaged or gone: taking the newest state.")
        path, _ = state.newest_state(path.parent, say)
    state.restore_state(path, training)
    training.set_back(setbacks)
    training.draw_anew()


def sample_grid(training: Training) -> Image.Image:
    """The same 64 latents through the averaged generator, 8 by 8."""
    return contact_sheet(_pictures(training, GRID_SEEDS))


def _pictures(training: Training, seeds: Sequence[int]) -> NDArray[np.uint8]:
    """Pictures (n, r, r, 3) of the averaged generator, one a seed."""
    latents = latents_from_seeds(list(seeds), training.config.latent_size)
    return draw(training.networks.generator_average, latents, training.device)


def make_metadata(
    training: Training,
    dataset: Dataset,
    quantiles: tuple[float, ...],
    training_hashes: tuple[str, ...],
    metrics: dict[str, Metric],
) -> Metadata:
    """What the checkpoint says of itself, with the critic's calibration on held-out reals."""
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
        training_hashes=training_hashes,
        metrics=metrics,
        versions={name: packages.version(name) for name in ("torch", "numpy", "safetensors")},
        provenance=_provenance(config, dataset),
        licence_note=LICENCE_NOTE,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _provenance(config: FitConfig, dataset: Dataset) -> str:
    begun = f", begun as {Path(config.init).name}" if config.init else ""
    return printable(f"{len(dataset.training)} photographs from {Path(config.data).name}{begun}")


def _best_so_far(path: Path) -> float:
    """The figure of the best checkpoint that an earlier part of this run kept; infinite where none is."""
    try:
        return checkpoint.read_metadata(path).metrics[BEST_BY].value
    except (CheckpointError, KeyError):
        return math.inf
