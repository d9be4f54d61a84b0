"""What the page of `trainer report` shows, made ready for its template (templates/report.html.j2).

The page is self-contained HTML in English and Japanese. Imports no torch.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.config import FitConfig
from trainer.durations import duration
from trainer.history import GuardDecision, History
from trainer.metadata import Metadata
from trainer.metrics.catalogue import About, about
from trainer.metrics.metric import Metric
from trainer.report.charts import LEFT, RIGHT, WIDTH, Chart, Mark, Series, short, step_axis, svg, thinned
from trainer.templates import render as fill
from trainer.templates import text_of

_PACKAGE = "trainer.report"
MOST_ROWS = 60
"""Of the table of evaluations."""
HEAD_COLOURS = 6
"""Heads of a critic that report.css has colours for."""


@dataclass(frozen=True)
class Snapshot:
    """The grid of the same latents at a step, as a data URI."""

    step: int
    uri: str


@dataclass(frozen=True)
class Neighbour:
    """A sample beside the photographs nearest to it, uint8 (r, r, 3) each."""

    seed: int
    sample: NDArray[np.uint8]
    training: NDArray[np.uint8]
    training_name: str
    held_out: NDArray[np.uint8]
    held_out_name: str
    ratio: float


@dataclass(frozen=True)
class Page:
    """Everything the page shows."""

    name: str
    config: FitConfig
    settings: dict[str, Any]
    changed: frozenset[str]
    """Settings other than the preset's."""
    history: History
    best: Metadata | None
    last: Metadata | None
    photographs: dict[str, int]
    snapshots: tuple[Snapshot, ...]
    neighbours: tuple[Neighbour, ...]
    no_neighbours: str
    """Why there are none."""

    @property
    def step(self) -> int:
        """The latest that anything is known of."""
        known = [self.history.step, *(found.step for found in (self.last,) if found)]
        return max(known)

    @property
    def floors(self) -> dict[str, float]:
        """Of each figure, from whichever checkpoint has it."""
        metrics: dict[str, Metric] = {}
        for found in (self.best, self.last):
            metrics = {**(found.metrics if found else {}), **metrics}
        return {name: metric.floor for name, metric in metrics.items() if metric.floor is not None}


def picture_uri(image: Image.Image, quality: int = 85) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def render(page: Page) -> str:
    """The page as HTML. Every name comes from a stranger's disk and is escaped by the template."""
    losses, heads, figures = (
        [chart for chart in charts if not chart.empty]
        for charts in (critic_charts(page.history), head_charts(page.history), figure_charts(page))
    )
    script = text_of(_PACKAGE, "report.js")
    return fill(
        _PACKAGE,
        "report.html.j2",
        page=page,
        numbers=_numbers(page),
        losses=_drawn(page, losses),
        heads=_drawn(page, heads),
        figures=_drawn(page, figures),
        figure_rows=_figure_rows(page),
        evaluations=_evaluations(page.history),
        decisions=[_row(decision) for decision in page.history.decisions],
        neighbours=[(found.ratio, _pictures(found)) for found in page.neighbours],
        style=text_of(_PACKAGE, "report.css"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_data(page, [*losses, *heads, *figures]),
        short=short,
    )


# --- the charts ---


def critic_charts(history: History) -> list[Chart]:
    """What the losses tell."""

    def pair(title: str, japanese: str, name: str, note: str) -> Chart:
        series = (
            Series("every tick", "tick", history.curve(f"tick/{name}")),
            Series("training", "training", history.curve(f"evaluation/training_{name}")),
            Series("held out", "held-out", history.curve(f"evaluation/held_out_{name}")),
        )
        shown = tuple(one for one in series if one.curve.points)
        return Chart(title, japanese, shown, note, log=name == "penalty")

    def single(title: str, japanese: str, name: str, note: str) -> Chart:
        return Chart(title, japanese, (Series("value", "value", history.curve(name)),), note)

    return [
        pair("Critic loss", "批評器の損失", "critic_loss", "fakes less reals, with the penalty"),
        pair("Wasserstein estimate", "Wasserstein距離の推定値", "wasserstein", "reals less fakes"),
        pair("Gradient penalty", "勾配ペナルティ", "penalty", "mean (‖∇‖ − 1)², without its weight"),
        single("Generator loss", "生成器の損失", "tick/generator_loss", "less the critic's score of fakes"),
        single("Overfitting of the critic, r_v", "批評器の過学習", "evaluation/gap",
               "0: held-out photographs score like training ones; 1: like fakes"),
        single("Separation", "真偽の分離", "evaluation/separation", "of scores, in units of their spread"),
        single("Speed", "速度", "tick/images_per_s", "images a second"),
    ]  # fmt: skip


def head_charts(history: History) -> list[Chart]:
    """One line for each head of a critic that has several; without points for one that has not."""
    return [
        Chart(title, japanese, _head_series(history, kind, name), note, log=name == "penalty")
        for title, japanese, kind, name, note in (
            ("Wasserstein estimate", "Wasserstein距離の推定値", "tick", "wasserstein", "reals less fakes"),
            ("Gradient penalty", "勾配ペナルティ", "tick", "penalty", "mean (‖∇‖ − 1)²"),
            (
                "Overfitting, r_v",
                "過学習",
                "evaluation",
                "gap",
                "0: held-out photographs score like others",
            ),
            ("Separation", "真偽の分離", "evaluation", "separation", "in units of the scores' spread"),
        )
    ]


def _head_series(history: History, kind: str, name: str) -> tuple[Series, ...]:
    """In the order of the heads: the picture itself, then the strides from fine to coarse."""
    found = [recorded for recorded in history.names(kind) if recorded.startswith(f"{name}.")]
    return tuple(
        Series(
            recorded.partition(".")[2], f"head-{index % HEAD_COLOURS}", history.curve(f"{kind}/{recorded}")
        )
        for index, recorded in enumerate(found)
    )


def figure_charts(page: Page) -> list[Chart]:
    """One for each figure that the evaluations have, with its floor."""
    return [
        Chart(
            name,
            _JAPANESE.get(name, ""),
            (Series("pictures", "value", page.history.curve(f"figures/{name}")),),
            f"{_about(name).meaning}; better: {_about(name).word}",
            page.floors.get(name),
            log=_about(name).better == "lower",
        )
        for name in _figures(page.history)
    ]


_JAPANESE = {
    "kid": "カーネル距離",
    "swd": "スライスWasserstein距離",
    "colour": "色の分布の距離",
    "diversity": "多様性",
    "variety": "色の多様性",
}


def _figures(history: History) -> list[str]:
    return sorted(history.names("figures"), key=_figure_order)


def _figure_order(name: str) -> tuple[int, int, str]:
    first = ("kid", "swd", "colour", "diversity", "variety")
    return (first.index(name) if name in first else len(first), len(name), name)


def _about(name: str) -> About:
    try:
        return about(name)
    except KeyError:
        return About("lower", "")


def _drawn(page: Page, charts: Sequence[Chart]) -> list[tuple[Chart, str]]:
    axis, marks = step_axis(page.step), _marks(page)
    return [(chart, svg(chart, axis, marks)) for chart in charts]


def _marks(page: Page) -> list[Mark]:
    marks = [
        Mark(decision.step, "guard", f"step {decision.step:,}: {decision.decision}: {decision.reason}")
        for decision in page.history.decisions
    ]
    if page.best is not None:
        marks.append(Mark(page.best.step, "best", f"step {page.best.step:,}: the best checkpoint"))
    return marks


def _data(page: Page, charts: Sequence[Chart]) -> str:
    """What the script reads: the curves, and the snapshots. `<` would end the element too early."""
    document = {
        "width": WIDTH,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "last": step_axis(page.step).high,
        "charts": [
            [
                {
                    "name": series.name,
                    "points": [(s, float(f"{v:.5g}")) for s, v in thinned(series.curve.points)],
                }
                for series in chart.series
            ]
            for chart in charts
        ],
        "snapshots": [{"step": snapshot.step, "src": snapshot.uri} for snapshot in page.snapshots],
    }
    return json.dumps(document, separators=(",", ":")).replace("<", "\\u003c")


# --- the other sections ---


def _numbers(page: Page) -> list[tuple[str, str, str]]:
    """What stands at the top: number, words, Japanese words."""
    config, history = page.config, page.history
    numbers = [(f"{page.step:,}", f"of {config.steps:,} steps", "ステップ")]
    if images := history.curve("tick/images").last:
        numbers.append((f"{images:,.0f}", "images seen", "学習した枚数"))
    if history.seconds:
        numbers.append((duration(history.seconds), "of training", "学習時間"))
    if rate := history.curve("tick/images_per_s").last:
        numbers.append((short(rate), "images a second", "枚/秒"))
    japanese = {"training": "学習用写真", "held out": "検証用写真", "left out": "使わなかった写真"}
    numbers += [(f"{count:,}", name, japanese[name]) for name, count in page.photographs.items()]
    if page.best is not None:
        numbers.append((f"{page.best.step:,}", "step of the best checkpoint", "最良のチェックポイント"))
    return numbers


def _figure_rows(page: Page) -> list[list[str]]:
    best = page.best.metrics if page.best else {}

    def row(name: str) -> list[str]:
        which = _about(name)
        latest, own = page.history.curve(f"figures/{name}").last, best.get(name)
        cells = [latest, own.value if own else None, page.floors.get(name)]
        return [name, *("" if cell is None else short(cell) for cell in cells), which.word, which.meaning]

    return [row(name) for name in _figures(page.history)]


@dataclass(frozen=True)
class _Table:
    columns: list[str]
    rows: list[list[str]]


def _evaluations(history: History) -> _Table:
    """At most MOST_ROWS of them, evenly spaced and the last."""
    columns = [
        (f"evaluation/{side}_{name}", f"{side.replace('_', ' ')} {name.replace('_', ' ')}")
        for name in ("critic_loss", "wasserstein", "penalty")
        for side in ("training", "held_out")
    ]
    columns += [(f"figures/{name}", name) for name in _figures(history)]
    by_step = [dict(history.curve(name).points) for name, _ in columns]
    steps = sorted({step for column in by_step for step in column})
    every = max(1, -(-len(steps) // MOST_ROWS))
    rows = [
        [f"{step:,}", *(short(column[step]) if step in column else "" for column in by_step)]
        for step in steps[::-1][::every]
    ]
    return _Table(["step", *(title for _, title in columns)], rows)


def _row(decision: GuardDecision) -> list[str]:
    back = f" to step {decision.to_step:,}" if decision.to_step is not None else ""
    return [f"{decision.step:,}", decision.decision + back, decision.reason]


def _pictures(found: Neighbour) -> list[tuple[str, str, str]]:
    """Address, kind and name of a sample and the photographs beside it."""
    return [
        (_thumbnail(found.sample), "sample", f"seed {found.seed}"),
        (_thumbnail(found.training), "training", found.training_name),
        (_thumbnail(found.held_out), "held out", found.held_out_name),
    ]


def _thumbnail(picture: NDArray[np.uint8]) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((160, 160), Image.Resampling.LANCZOS)
    return picture_uri(image)
