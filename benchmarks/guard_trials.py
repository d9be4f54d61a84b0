"""Does the guard see collapse, and is it silent otherwise? Trainings that are made to fail, and healthy ones.

    python -m benchmarks.guard_trials --data FOLDER [--seeds 3] [--healthy 10] [--steps 600]

Prints a table in Markdown: of each kind of failure how many seeds were caught, by which sign and at which
step; and how many healthy trainings were left alone. Networks are small (32 px, width 8), failures are real:
each is provoked by a setting, nothing is simulated. A trial ends at the guard's first word.
"""

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer.config import FitConfig, make_config
from trainer.data import Dataset, load_dataset
from trainer.errors import TrainerError
from trainer.fit import fit

SMALL = {"resolution": 32, "width": 8, "batch": 16, "eval_every": 25, "snap": 0, "log_every": 25}


@dataclass(frozen=True)
class Kind:
    """A way to fail: what is changed in a healthy configuration, or in its photographs."""

    name: str
    change: Callable[[FitConfig], FitConfig]
    objective: str = "wgan-gp"
    two_colours: bool = False


def same(config: FitConfig) -> FitConfig:
    return config


FAILURES = (
    Kind(
        "learning rates ×30",
        lambda c: replace(c, critic_lr=30 * c.critic_lr, generator_lr=30 * c.generator_lr),
    ),
    Kind("batch norm in the critic", lambda c: replace(c, critic_norm="batch")),
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


def trial(config: FitConfig, dataset: Dataset) -> dict[str, Any] | None:
    """Train until the guard's first word: its line of metrics.jsonl, or None where it was silent."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        with contextlib.suppress(TrainerError), contextlib.redirect_stderr(io.StringIO()):
            fit(replace(config, setbacks=0), dataset, run, resume=False, say=lambda text: None)
        for line in (run / "metrics.jsonl").read_text().splitlines():
            document: dict[str, Any] = json.loads(line)
            if document["kind"] == "guard":
                return document
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--healthy", type=int, default=10)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dataset = load_dataset(options.data, SMALL["resolution"], progress=False)
    print("| trial | seeds | caught | sign (step) |\n|---|---|---|---|", flush=True)
    for kind in FAILURES:
        seen = two_colours(dataset) if kind.two_colours else dataset
        told = []
        for seed in range(options.seeds):
            config = make_config(
                options.data, "modern", kind.objective, seed=seed, steps=options.steps, **SMALL
            )
            told.append(trial(kind.change(config), seen))
        words = ", ".join(f"{line['sign']} ({line['step']})" if line else "silent" for line in told)
        caught = sum(line is not None for line in told)
        print(f"| {kind.name} | {options.seeds} | {caught} | {words} |", flush=True)
    alarms = []
    for number in range(options.healthy):
        preset, objective = HEALTHY[number % len(HEALTHY)]
        config = make_config(options.data, preset, objective, seed=100 + number, steps=options.steps, **SMALL)
        line = trial(config, dataset)
        if line is not None:
            alarms.append(f"{preset}/{objective} seed {100 + number}: {line['sign']} ({line['step']})")
    print(f"| healthy | {options.healthy} | {len(alarms)} | {', '.join(alarms) or 'silent'} |")


if __name__ == "__main__":
    main()
