"""Which way of choosing pictures by the critic makes them more like photographs.

    python -m benchmarks.filters CHECKPOINT --data FOLDER [--candidates 16384] [--out FOLDER]

Every way gets the same candidates and keeps a sixteenth of them, or what it accepts; all figures of `trainer
evaluate` are taken of those against the held-out photographs. Prints a table in Markdown, and writes a sheet
of the first 64 of each to --out.

`output` stands for what the critic's last layer says (the mean of its heads), `score` for what a checkpoint
scores by: of a plain critic how near pictures lie to held-out photographs in its features
(`trainer.metrics.realism`), of a seeing one its heads, layout and content (`trainer.scale`).

Discriminator rejection sampling (Azadi et al. 2019, https://arxiv.org/abs/1810.06758, eq. 8) and
Metropolis-Hastings (Turner et al. 2019, https://arxiv.org/abs/1811.11357, eq. 9) need the ratio of the
densities of photographs and fakes, which a Wasserstein critic does not give: a logistic regression of its
score on held-out photographs and on fakes stands for it, as Turner et al. calibrate theirs.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from trainer import checkpoint
from trainer.checkpoint import Checkpoint
from trainer.data.dataset import load_dataset
from trainer.grids import contact_sheet, write_png
from trainer.metrics.suite import PictureSuite
from trainer.pictures import to_device, to_uint8
from trainer.training.heldout import scores_of

Scores = NDArray[np.float64]
Indices = NDArray[np.intp]
Filter = Callable[[Scores], Indices]

FIRST_SEED = 1_000_000
GROUP = 16
"""What is kept is one of so many candidates, or what is accepted, as far as that goes."""
COLUMNS = ("kid", "swd", "colour", "precision", "recall", "density", "coverage", "diversity", "memorisation")


def logistic(photographs: Scores, fakes: Scores) -> tuple[float, float]:
    """Slope and offset of log p(photograph | score) / p(fake | score), both classes weighing the same."""
    scores, labels = labelled(photographs, fakes)
    model = LogisticRegression(C=np.inf, class_weight="balanced").fit(scores[:, None], labels)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def labelled(photographs: Scores, fakes: Scores) -> tuple[Scores, NDArray[np.bool_]]:
    """All scores, and which are photographs'."""
    scores = np.concatenate([photographs, fakes])
    return scores, np.arange(len(scores)) < len(photographs)


def above(photographs: Scores, quantile: float) -> Filter:
    """All that score at least as high as this share of photographs."""
    least = np.quantile(photographs, quantile)
    return lambda scores: np.flatnonzero(scores >= least)


def best_of(group: int) -> Filter:
    """The best of each `group` candidates in a row; of those that follow, as many as GROUP allows."""

    def choose(scores: Scores) -> Indices:
        groups = scores[: len(scores) // group * group].reshape(-1, group)
        chosen: Indices = np.arange(len(groups)) * group + groups.argmax(1)
        return chosen

    return choose


def middle_of(group: int) -> Filter:
    """Of each `group` candidates in a row the one whose score is nearest to their median."""

    def choose(scores: Scores) -> Indices:
        groups = scores[: len(scores) // group * group].reshape(-1, group)
        from_middle = np.abs(groups - np.median(groups, axis=1, keepdims=True))
        chosen: Indices = np.arange(len(groups)) * group + from_middle.argmin(1)
        return chosen

    return choose


def rejection(slope: float, percentile: float) -> Filter:
    """Discriminator rejection sampling with γ at a percentile of F: the higher, the choosier."""

    def choose(scores: Scores) -> Indices:
        ratio = slope * (scores - scores.max())
        f = ratio - np.log1p(-np.exp(ratio - 1e-6))
        accepted = 1 / (1 + np.exp(np.percentile(f, percentile) - f))
        return np.flatnonzero(np.random.default_rng(0).random(len(scores)) < accepted)

    return choose


def chain(slope: float, offset: float, length: int = GROUP) -> Filter:
    """Independent Metropolis-Hastings: the last state of each chain, which begins at a photograph's odds."""

    def choose(scores: Scores) -> Indices:
        log_ratio = slope * scores + offset
        groups = log_ratio[: len(scores) // length * length].reshape(-1, length)
        uniform = np.log(np.random.default_rng(0).random(groups.shape))
        state = groups[:, 0].copy()
        at = np.zeros(len(groups), np.intp)
        for step in range(1, length):
            accept = uniform[:, step] < groups[:, step] - state
            state[accept], at[accept] = groups[accept, step], step
        return np.arange(len(groups)) * length + at

    return choose


def candidates(loaded: Checkpoint, count: int) -> tuple[NDArray[np.uint8], Scores, Scores]:
    """Pictures (n, r, r, 3), the critic's outputs, and the checkpoint's scores."""
    pictures, outputs, scores = [], [], []
    for start in range(FIRST_SEED, FIRST_SEED + count, 64):
        images = loaded.sample(range(start, start + 64))
        pictures.append(to_uint8(images))
        with torch.inference_mode():
            outputs.append(loaded.critic(loaded.vision(images)).mean(1).double().numpy())
        scores.append(loaded.score(images).double().numpy())
    return np.concatenate(pictures), np.concatenate(outputs), np.concatenate(scores)


def held_out_scores(loaded: Checkpoint, pictures: NDArray[np.uint8]) -> Scores:
    """The critic's outputs, means over its heads."""
    reals = to_device(pictures, torch.device("cpu"))
    return scores_of(loaded.critic, loaded.vision, reals).mean(1).double().numpy()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--candidates", type=int, default=16_384)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    loaded = checkpoint.load(options.checkpoint)
    dataset = load_dataset(options.data, loaded.metadata.resolution, progress=False)
    pictures, outputs, scores = candidates(loaded, options.candidates)
    held_out = held_out_scores(loaded, dataset.held_out)
    own = np.array(loaded.metadata.score_quantiles)
    slope, offset = logistic(held_out, outputs)
    everything, labels = labelled(held_out, outputs)
    above_a_fake = roc_auc_score(labels, everything)
    print(f"The output is higher for a held-out photograph than for a fake {above_a_fake:.1%} of the time.\n")
    by_output: dict[str, Filter] = {
        **{f"above quantile {quantile:g}": above(held_out, quantile) for quantile in (0.1, 0.3, 0.5)},
        **{f"best of {group}": best_of(group) for group in (2, 4, GROUP)},
        f"middle of {GROUP}": middle_of(GROUP),
        "rejection sampling, γ at 50 %": rejection(slope, 50),
        "rejection sampling, γ at 80 %": rejection(slope, 80),
        f"Metropolis-Hastings, {GROUP} steps": chain(slope, offset),
    }
    by_score: dict[str, Filter] = {
        **{f"above quantile {quantile:g}": above(own, quantile) for quantile in (0.1, 0.3, 0.5, 0.7)},
        **{f"best of {group}": best_of(group) for group in (2, 4, GROUP)},
    }
    ways = {
        "unfiltered": np.arange(len(pictures)),
        **{f"output, {name}": accept(outputs) for name, accept in by_output.items()},
        **{f"score, {name}": accept(scores) for name, accept in by_score.items()},
    }
    print(f"| filter | accepted | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    floors: dict[str, float | None] = {}
    suite = PictureSuite(dataset.training, dataset.held_out)
    for name, chosen in ways.items():
        kept = pictures[chosen[: options.candidates // GROUP]]
        if len(kept) < 64:
            print(f"| {name} | {len(chosen) / len(pictures):.1%} |{' |' * len(COLUMNS)}")
            continue
        figures = suite(kept).metrics
        floors = {column: figures[column].floor for column in COLUMNS}
        row = " | ".join(f"{figures[column].value:.3g}" for column in COLUMNS)
        print(f"| {name} | {len(chosen) / len(pictures):.1%} | {row} |", flush=True)
        if options.out is not None:
            write_png(options.out / f"{name.replace(' ', '-')}.png", contact_sheet(kept[:64]))
    print(f"| *floor* | | {' | '.join(f'{floors[column]:.3g}' for column in COLUMNS)} |")


if __name__ == "__main__":
    main()
