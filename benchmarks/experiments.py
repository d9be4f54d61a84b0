"""One change at a time against the `modern` preset, at equal cost on the same photographs.

    python -m benchmarks.experiments --data FOLDER [--steps 1500] [--resolution 32] [--seed 0]
        [--only NAME ...] [--all]

Prints a table in Markdown: steps made, and the figures of the averaged generator's pictures against held-out
photographs, with their floors. `modern` makes --steps steps; what a step of a variant costs is measured in
turn with one of `modern`, and it gets as many as cost the same, so that the table holds on a machine that
does other work too. Each run's learning rates fall over its own second half, as its preset says. Sheets of
the same 64 latents go to --out. With --all every figure of `trainer evaluate` follows in a table of its own,
of 1,000 pictures.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer.config import make_config
from trainer.data.dataset import Dataset, load_dataset
from trainer.grids import contact_sheet, write_png
from trainer.metrics.critic_gap import CriticScores
from trainer.metrics.metric import Metric
from trainer.metrics.quick import QuickFigures
from trainer.metrics.suite import PictureSuite
from trainer.nets.generator import latents_from_seeds
from trainer.pictures import draw, to_device
from trainer.training.heldout import scores_of
from trainer.training.training import Training

VARIANTS: dict[str, dict[str, Any]] = {
    "modern": {},
    "plain critic": {"critic": "plain"},
    "plain generator": {"generator": "plain"},
    "both plain": {"critic": "plain", "generator": "plain"},
    "rates halved": {"critic_lr": 2.5e-4, "generator_lr": 2.5e-4},
    "rates doubled": {"critic_lr": 1e-3, "generator_lr": 1e-3},
    "translation": {"translation": 0.125},
    "colour and translation": {"colour": 0.5, "translation": 0.125},
    "no averaging": {"ema_half_life": 0.0},
    "no mirror": {"mirror": False},
    "two critic steps": {"n_critic": 2},
    "batch 8": {"batch": 8},
    "batch 32": {"batch": 32},
    "latent 64": {"latent_size": 64},
    "penalty halved": {"penalty_weight": 5.0},
    "penalty 1": {"penalty_weight": 1.0},
    "beta1 0.5": {"beta1": 0.5},
    "article": {"preset": "article"},
    "wgan": {"objective": "wgan"},
    "dcgan": {"objective": "dcgan"},
}
EVALUATED = 1_000
TIMED = 15
"""Cycles of a variant and of `modern`, made in turn, by which their cost is compared."""
COLUMNS = ("kid", "swd", "colour", "diversity", "variety")


def make_training(
    dataset: Dataset, options: argparse.Namespace, changes: dict[str, Any], steps: int = 1_000
) -> Training:
    """One variant at its start; its learning rates fall as the preset says for so many steps."""
    values: dict[str, Any] = {
        "preset": "modern",
        "objective": "wgan-gp",
        "resolution": options.resolution,
        "seed": options.seed,
        "steps": steps,
        **changes,
    }
    config = make_config(Path("photographs"), **values)
    return Training(config, to_device(dataset.training, torch.device("cpu")))


def cost(variant: Training, modern: Training) -> float:
    """CPU time of a cycle over that of `modern`, by the medians of cycles made in turn."""
    taken: list[list[float]] = [[], []]
    for _ in range(TIMED):
        for training, times in zip((variant, modern), taken, strict=True):
            started = time.process_time()
            training.cycle()
            times.append(time.process_time() - started)
    return float(np.median(taken[0]) / np.median(taken[1]))


def train(dataset: Dataset, options: argparse.Namespace, changes: dict[str, Any]) -> Training:
    """One variant, trained for as long as `--steps` steps of `modern` take."""
    share = 1.0
    if changes:
        share = cost(make_training(dataset, options, changes), make_training(dataset, options, {}))
    steps = round(options.steps / share)
    training = make_training(dataset, options, changes, steps)
    for _ in range(steps):
        training.cycle()
    return training


def pictures(training: Training, count: int) -> Any:
    """Pictures (count, r, r, 3) of the seeds from 0."""
    latents = latents_from_seeds(list(range(count)), training.config.latent_size)
    return draw(training.networks.generator_average, latents, training.device)


def all_figures(training: Training, dataset: Dataset, suite: PictureSuite) -> dict[str, Metric]:
    """What `trainer evaluate` would say of it."""
    fakes = pictures(training, EVALUATED)
    networks, device = training.networks, torch.device("cpu")
    scores = [
        scores_of(networks.critic_average, networks.vision, to_device(part, device)).mean(1).numpy()
        for part in (dataset.training, dataset.held_out, fakes)
    ]
    return suite(fakes, CriticScores(*scores)).metrics


def print_all(found: dict[str, dict[str, Metric]]) -> None:
    """A figure a row, a variant a column."""
    names = list(found)
    print(f"\n| figure | {' | '.join(names)} | floor |\n|---|{'---|' * (len(names) + 1)}")
    for figure in found[names[0]]:
        row = [found[name][figure].value for name in names]
        floor = found[names[0]][figure].floor
        print(f"| {figure} | {' | '.join(f'{value:.3g}' for value in row)} | {floor:.3g} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("experiments"))
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_dataset(options.data, options.resolution, progress=False)
    quick = QuickFigures(dataset.training, dataset.held_out)
    suite = PictureSuite(dataset.training, dataset.held_out)
    print(f"| variant | steps | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    floors = {}
    found = {}
    for name in options.only:
        training = train(dataset, options, VARIANTS[name])
        fakes = pictures(training, quick.fakes)
        figures = quick(fakes)
        floors = {column: figures[column].floor for column in COLUMNS}
        values = " | ".join(f"{figures[column].value:.4g}" for column in COLUMNS)
        print(f"| {name} | {training.step} | {values} |", flush=True)
        if options.all:
            found[name] = all_figures(training, dataset, suite)
        write_png(options.out / f"{name.replace(' ', '-')}.png", contact_sheet(fakes[:64]))
    print(f"| *floor* | | {' | '.join(f'{value:.4g}' for value in floors.values())} |")
    if found:
        print_all(found)


if __name__ == "__main__":
    main()
