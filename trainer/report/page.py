"""The page of `trainer report`: self-contained HTML in English and Japanese. Imports no torch."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.checkpoint import Metadata, Metric
from trainer.config import FitConfig
from trainer.metrics.catalogue import About, about
from trainer.report.charts import LEFT, RIGHT, WIDTH, Chart, Mark, Series, short, step_axis, svg, thinned
from trainer.report.history import GuardDecision, History

MOST_ROWS = 60
"""Of the table of evaluations."""


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
    """Every name comes from a stranger's disk and is escaped."""
    losses, figures = critic_charts(page.history), figure_charts(page)
    drawn = [chart for chart in (*losses, *figures) if not chart.empty]
    script = _asset("report.js")
    style = _asset("report.css")
    body = "\n".join(
        [
            *_head(page),
            *_timeline(page.snapshots),
            *_charts(page, "Losses", "損失の推移", _LOSSES, losses),
            *_charts(page, "Figures", "生成画像の評価", _FIGURES, figures),
            *_figures_table(page),
            *_guard(page.history.decisions),
            *_neighbours(page),
            *_settings(page),
            f'<script type="application/json" id="data">{_data(page, drawn)}</script>',
        ]
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'\">\n"
        f"<title>{escape(page.name)}: step {page.step:,}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{body}\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return resources.files("trainer.report").joinpath("assets", name).read_text(encoding="utf-8")


# --- the charts ---

_LOSSES = (
    "Each evaluation judges the critic on as many training as held-out photographs, against the same "
    "pictures; where the two lines part, it memorises. Thin: every tick, with augmentation. Paler: abandoned "
    "when the guard went back. Upright lines: red, the guard; dotted, the best checkpoint. "
    '<span lang="ja">学習用写真と検証用写真での批評器の値。二つの線が離れていけば過学習です。</span>'
)
_FIGURES = (
    "Pictures of the averaged generator against held-out photographs. Dashed: the floor, the same figure "
    "between two halves of the held-out photographs; nothing can be expected to be better. "
    '<span lang="ja">点線は検証用写真どうしを比べた値（到達しうる下限の目安）です。</span>'
)


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
        for name in sorted(page.history.names("figures"), key=_figure_order)
    ]


_JAPANESE = {
    "kid": "カーネル距離",
    "swd": "スライスWasserstein距離",
    "colour": "色の分布の距離",
    "diversity": "多様性",
    "variety": "色の多様性",
}


def _figure_order(name: str) -> tuple[int, int, str]:
    first = ("kid", "swd", "colour", "diversity", "variety")
    return (first.index(name) if name in first else len(first), len(name), name)


def _about(name: str) -> About:
    try:
        return about(name)
    except KeyError:
        return About("lower", "")


def _marks(page: Page) -> list[Mark]:
    marks = [
        Mark(decision.step, "guard", f"step {decision.step:,}: {decision.decision}: {decision.reason}")
        for decision in page.history.decisions
    ]
    if page.best is not None:
        marks.append(Mark(page.best.step, "best", f"step {page.best.step:,}: the best checkpoint"))
    return marks


def _charts(
    page: Page, title: str, japanese: str, explanation: str, charts: Sequence[Chart]
) -> Iterable[str]:
    yield _heading(title, japanese)
    drawn = [chart for chart in charts if not chart.empty]
    if not drawn:
        yield '<p class="quiet">Nothing recorded yet. <span lang="ja">まだ記録がありません。</span></p>'
        return
    axis, marks = step_axis(page.step), _marks(page)
    yield f'<p class="quiet">{explanation}</p><div class="charts">'
    for chart in drawn:
        yield (
            f'<figure class="chart"><figcaption>{escape(chart.title)} '
            f'<span lang="ja">{escape(chart.japanese)}</span><span class="note">{escape(chart.note)}</span>'
            f"{_legend(chart)}</figcaption>{svg(chart, axis, marks)}"
            '<span class="readout" aria-hidden="true"></span></figure>'
        )
    yield "</div>"


def _legend(chart: Chart) -> str:
    keys = [(series.style, series.name) for series in chart.series] if len(chart.series) > 1 else []
    if chart.floor is not None:
        keys.append(("floor", f"floor {short(chart.floor)}"))
    items = "".join(f'<span class="{style}">{name}</span>' for style, name in keys)
    return f'<div class="legend">{items}</div>'


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


def _heading(title: str, japanese: str) -> str:
    return f'<h2>{title} <span lang="ja">{japanese}</span></h2>'


def _head(page: Page) -> list[str]:
    config, history = page.config, page.history
    numbers = [(f"{page.step:,}", f"of {config.steps:,} steps", "ステップ")]
    if images := history.curve("tick/images").last:
        numbers.append((f"{images:,.0f}", "images seen", "学習した枚数"))
    if history.seconds:
        numbers.append((_duration(history.seconds), "of training", "学習時間"))
    if rate := history.curve("tick/images_per_s").last:
        numbers.append((short(rate), "images a second", "枚/秒"))
    japanese = {"training": "学習用写真", "held out": "検証用写真", "left out": "使わなかった写真"}
    numbers += [(f"{count:,}", name, japanese[name]) for name, count in page.photographs.items()]
    if page.best is not None:
        numbers.append((f"{page.best.step:,}", "step of the best checkpoint", "最良のチェックポイント"))
    items = (f'<li><b>{n}</b>{text} <span lang="ja">{ja}</span></li>' for n, text, ja in numbers)
    return [
        f"<h1>{escape(page.name)}</h1>",
        f'<p class="quiet"><span lang="ja">学習の記録</span> · {escape(config.objective)} · '
        f"{escape(config.preset)} · {config.resolution} px</p>",
        f'<ul class="numbers">{"".join(items)}</ul>',
    ]


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _timeline(snapshots: Sequence[Snapshot]) -> list[str]:
    title = _heading("How the pictures came to be", "画像ができるまで")
    if not snapshots:
        return [title, '<p class="quiet">No snapshot yet. <span lang="ja">まだありません。</span></p>']
    last = snapshots[-1]
    return [
        title,
        '<p class="quiet">The same 64 latents at each snapshot: drag, press ← and →, or click in a chart. '
        '<span lang="ja">同じ潜在変数から生成した64枚。スライダーか矢印キーで動かせます。</span></p>',
        '<div class="timeline"><div class="controls">'
        '<button id="play" type="button" aria-pressed="false">▶ Play <span lang="ja">再生</span></button>'
        f'<label>Step <b id="shown">{last.step:,}</b><input id="snapshot" type="range" min="0" '
        f'max="{len(snapshots) - 1}" value="{len(snapshots) - 1}" aria-label="Snapshot"></label></div>'
        f'<img id="grid" src="{last.uri}" alt="The same 64 latents at step {last.step}"></div>',
    ]


def _figures_table(page: Page) -> list[str]:
    names = sorted(page.history.names("figures"), key=_figure_order)
    if not names:
        return []
    best = page.best.metrics if page.best else {}

    def row(name: str) -> list[str]:
        which = _about(name)
        latest, own = page.history.curve(f"figures/{name}").last, best.get(name)
        cells = [latest, own.value if own else None, page.floors.get(name)]
        return [name, *("" if cell is None else short(cell) for cell in cells), which.word, which.meaning]

    columns = ["figure", "latest", "best checkpoint", "floor", "better", "meaning"]
    return [
        f'<div class="scroll figures">{_table(columns, map(row, names), numbers=range(1, 4))}</div>',
        '<details><summary>All evaluations as a table <span lang="ja">評価の一覧表</span></summary>'
        f'<div class="scroll">{_evaluations(page.history, names)}</div></details>',
    ]


def _evaluations(history: History, figures: Sequence[str]) -> str:
    """At most MOST_ROWS of them, evenly spaced and the last."""
    columns = [
        (f"evaluation/{side}_{name}", f"{side.replace('_', ' ')} {name.replace('_', ' ')}")
        for name in ("critic_loss", "wasserstein", "penalty")
        for side in ("training", "held_out")
    ]
    columns += [(f"figures/{name}", name) for name in figures]
    by_step = [dict(history.curve(name).points) for name, _ in columns]
    steps = sorted({step for column in by_step for step in column})
    every = -(-len(steps) // MOST_ROWS)
    rows = (
        [f"{step:,}", *(short(column[step]) if step in column else "" for column in by_step)]
        for step in steps[::-1][::every]
    )
    return _table(["step", *(title for _, title in columns)], rows, numbers=range(len(columns) + 1))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: range) -> str:
    def cells(values: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="number">{escape(value)}</{tag}>'
            if index in numbers
            else f"<{tag}>{escape(value)}</{tag}>"
            for index, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{cells(columns, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def _guard(decisions: Sequence[GuardDecision]) -> list[str]:
    if not decisions:
        return []
    rows = [
        [
            f"{decision.step:,}",
            decision.decision + (f" to step {decision.to_step:,}" if decision.to_step is not None else ""),
            decision.reason,
        ]
        for decision in decisions
    ]
    return [
        _heading("What the guard did", "崩壊の検知と復帰"),
        f'<div class="scroll">{_table(["step", "decision", "reason"], rows, numbers=range(1))}</div>',
    ]


def _neighbours(page: Page) -> list[str]:
    title = _heading("Nearest photographs", "最も近い写真")
    if not page.neighbours:
        return [title, f'<p class="quiet">{escape(page.no_neighbours)}</p>']
    items = []
    for found in page.neighbours:
        shown = [
            (found.sample, "sample", f"seed {found.seed}"),
            (found.training, "training", found.training_name),
            (found.held_out, "held out", found.held_out_name),
        ]
        figures = "".join(
            f'<figure><img src="{_thumbnail(picture)}" alt="{kind}: {escape(name)}" loading="lazy">'
            f"<figcaption><b>{kind}</b><br>{escape(name)}</figcaption></figure>"
            for picture, kind, name in shown
        )
        items.append(f'<li><div>{figures}</div><span class="quiet">ratio {short(found.ratio)}</span></li>')
    return [
        title,
        '<p class="quiet">Of 64 samples, those that lie nearest to a training photograph, with the nearest '
        "held-out photograph for comparison. The ratio of the two distances is 0 for a copy; where nothing "
        "was memorised it lies somewhat below 1, as the nearest of many is nearer than that of few. "
        '<span lang="ja">学習用写真の丸写しなら比は0に近づきます。</span></p>',
        f'<ul class="neighbours">{"".join(items)}</ul>',
    ]


def _thumbnail(picture: NDArray[np.uint8]) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((160, 160), Image.Resampling.LANCZOS)
    return picture_uri(image)


def _settings(page: Page) -> list[str]:
    rows = "".join(
        f"<tr{' class=changed' if name in page.changed else ''}><th>{escape(name)}</th>"
        f'<td class="number">{escape(str(value))}</td></tr>'
        for name, value in page.settings.items()
        if name != "data"
    )
    return [
        _heading("Settings", "設定"),
        f'<p class="quiet">Bold: other than the preset {escape(page.config.preset)}. Photographs: '
        f'{escape(page.config.data)} <span lang="ja">太字はプリセットと異なる値。</span></p>',
        f'<div class="settings"><table>{rows}</table></div>',
    ]
