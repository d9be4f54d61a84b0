"""Does the guard see collapse, and is it silent otherwise? Trainings that are made to fail, and healthy ones.

    python -m benchmarks.guard_trials --data FOLDER [--critic plain|seeing] [--seeds 3] [--first-seed 0]
                                      [--healthy 10] [--first-healthy 0] [--steps 600]

Prints a table in Markdown: of each kind of failure how many seeds were caught, by which sign and at which
step, and the KID then; and how many healthy trainings were left alone. Networks are small (32 px, width 8),
failures are real: each is provoked by a setting or a layer, nothing is simulated. A trial is the beginning of
a long run, so learning rates don't fall, and it ends at the guard's first word.
"""

import argparse
import contextlib
import io
import json
import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from trainer.config import FitConfig, make_config
from trainer.data.dataset import Dataset, load_dataset
from trainer.errors import TrainerError
from trainer.nets.architecture import CriticShape
from trainer.nets.critic import Critic
from trainer.nets.vision import Views
from trainer.training import training
from trainer.training.fit import fit

RESOLUTION = 32
FAKES = 256
"""An evaluation's: no figure that the guard looks at is sharper for more, and they are most of a trial."""
GENERATORS = {"plain": "plain", "seeing": "gated"}
"""Beside each kind of critic."""
SMALL: dict[str, Any] = {
    "width": 8, "batch": 16, "lr_decay": 0.0, "eval_every": 25, "snap": 0, "log_every": 25,
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A way to fail: what is changed in a healthy configuration, or in its photographs."""

    name: str
    change: Callable[[FitConfig], FitConfig]
    objective: str = "wgan-gp"
    two_colours: bool = False
    critic: type[Critic] = Critic


def same(config: FitConfig) -> FitConfig:
    return config


class ScoreNormalisedCritic(Critic):
    """Batch norm over the scores as well: photographs and fakes then have the same mean in each batch."""

    def __init__(self, shape: CriticShape) -> None:
        super().__init__(shape)
        self.norm = torch.nn.BatchNorm1d(len(self.head_names))

    def forward(self, views: Views) -> Tensor:
        scores: Tensor = self.norm(super().forward(views))
        return scores


FAILURES = (
    Kind(
        "learning rates ×30",
        lambda c: replace(c, critic_lr=30 * c.critic_lr, generator_lr=30 * c.generator_lr),
    ),
    Kind(
        "batch norm up to the critic's scores",
        lambda c: replace(c, critic_norm="batch"),
        critic=ScoreNormalisedCritic,
    ),
    Kind("clipping off in WGAN", lambda c: replace(c, clip=1e9), objective="wgan"),
    Kind("gradient penalty off", lambda c: replace(c, penalty_weight=0.0, drift_weight=0.0)),
    Kind("generator's learning rate ×100", lambda c: replace(c, generator_lr=100 * c.generator_lr)),
    Kind("weights clipped to ±1e-5 in WGAN", lambda c: replace(c, clip=1e-5), objective="wgan"),
    Kind("gradient penalty ×1000", lambda c: replace(c, penalty_weight=1_000 * c.penalty_weight)),
    Kind("critic's learning rate ÷1000", lambda c: replace(c, critic_lr=c.critic_lr / 1_000)),
    Kind("photographs of two colours", same, two_colours=True),
)
HEALTHY = (
    ("modern", "wgan-gp"),
    ("modern", "dcgan"),
    ("modern", "wgan"),
    ("article", "wgan-gp"),
    ("modern", "wgan-gp"),
)


def two_colours(dataset: Dataset) -> Dataset:
    """As many pictures, each all red or all blue."""
    rng = np.random.default_rng(0)

    def paint(pictures: Any) -> Any:
        colours = np.array([[200, 40, 30], [30, 40, 200]], dtype=np.uint8)[rng.integers(0, 2, len(pictures))]
        return np.broadcast_to(colours[:, None, None, :], pictures.shape).copy()

    return replace(dataset, training=paint(dataset.training), held_out=paint(dataset.held_out))


@dataclass(frozen=True)
class Outcome:
    """The guard's first word, or None where it was silent to the end; and the last KID."""

    word: dict[str, Any] | None
    kid: float

    def __str__(self) -> str:
        if self.word is None:
            return f"silent (kid {self.kid:.2f})"
        return f"{self.word['sign']} ({self.word['step']}, kid {self.kid:.2f})"


def trial(config: FitConfig, dataset: Dataset, critic: type[Critic] = Critic) -> Outcome:
    """Train until the guard's first word."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        with (
            contextlib.suppress(TrainerError),
            contextlib.redirect_stderr(io.StringIO()),
            patch.object(training, "Critic", critic),
            patch("trainer.metrics.quick.SHARP_FAKES", FAKES),
        ):
            fit(replace(config, setbacks=0), dataset, run, resume=False, say=lambda text: None)
        lines = list(map(json.loads, (run / "metrics.jsonl").read_text().splitlines()))
    kids = [line["kid"] for line in lines if line["kind"] == "figures"]
    words = [line for line in lines if line["kind"] == "guard"]
    kid = math.nan if kids[-1] is None else kids[-1]
    outcome = Outcome(words[0] if words else None, kid)
    print(f"{config.preset}/{config.objective}, seed {config.seed}: {outcome}", file=sys.stderr, flush=True)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--critic", choices=GENERATORS, default="plain")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0, help="of the failures; healthy ones: 100 on")
    parser.add_argument("--healthy", type=int, default=10)
    parser.add_argument("--first-healthy", type=int, default=0, help="to run them in parts")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dataset = load_dataset(options.data, RESOLUTION, progress=False)

    def small(preset: str, objective: str, seed: int) -> FitConfig:
        kinds = {"critic": options.critic, "generator": GENERATORS[options.critic]}
        chosen = {} if preset == "article" else kinds
        return make_config(
            options.data, preset, objective, seed=seed, steps=options.steps, resolution=RESOLUTION, **SMALL,
            **chosen,
        )  # fmt: skip

    print("| trial | seeds | caught | sign (step) |\n|---|---|---|---|", flush=True)
    for kind in FAILURES:
        seen = two_colours(dataset) if kind.two_colours else dataset
        told = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            config = small("modern", kind.objective, seed)
            told.append(trial(kind.change(config), seen, kind.critic))
        caught = sum(outcome.word is not None for outcome in told)
        words = ", ".join(map(str, told))
        print(f"| {kind.name} | {options.seeds} | {caught} | {words} |", flush=True)
    alarms, kids = [], []
    for number in range(options.first_healthy, options.first_healthy + options.healthy):
        preset, objective = HEALTHY[number % len(HEALTHY)]
        seed = 100 + options.first_seed + number
        outcome = trial(small(preset, objective, seed), dataset)
        kids.append(f"{outcome.kid:.2f}")
        if outcome.word is not None:
            alarms.append(f"{preset}/{objective} seed {seed}: {outcome}")
    words = ", ".join(alarms) or f"silent (kid {', '.join(kids)})"
    print(f"| healthy | {options.healthy} | {len(alarms)} | {words} |")


if __name__ == "__main__":
    main()
