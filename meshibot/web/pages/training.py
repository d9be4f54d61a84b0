"""A training's run folder, live: its figures as curves, and what its latents became."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from meshibot.web.pictures import inside
from meshibot.web.site import Call
from trainer.errors import TrainerError
from trainer.history import History, Points, read_history

WIDTH, HEIGHT = 320, 120
"""Of a chart, in its own units."""
_POINTS = 160
_SHEETS = 6
_MOST_BYTES = 64_000_000

CURVES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("chart_critic", (("tick/critic_loss", "training"),)),
    (
        "chart_wasserstein",
        (("evaluation/training_wasserstein", "training"), ("evaluation/held_out_wasserstein", "held_out")),
    ),
    ("chart_generator", (("tick/generator_loss", "training"),)),
    ("chart_kid", (("figures/kid", "training"),)),
    ("chart_swd", (("figures/swd", "training"),)),
)
"""Title, and the curves of a run's history, each with what it is of."""


@dataclass(frozen=True)
class Line:
    """A curve: its points in the chart's units, and its ends in words."""

    name: str
    points: str
    first: float
    last: float
    from_step: int
    to_step: int


@dataclass(frozen=True)
class Chart:
    """Curves over the same steps."""

    title: str
    lines: tuple[Line, ...]


def show(call: Call) -> Response:
    """How a training is getting on."""
    run = call.site.run
    if run is None:
        return call.render("training.html", run=None)
    history = _history(run / "metrics.jsonl")
    speed = history.curve("tick/images_per_s").last
    return call.render(
        "training.html",
        run=run.resolve().name,
        charts=[chart for chart in (_chart(history, *curve) for curve in CURVES) if chart.lines],
        step=None if speed is None else history.step,
        steps=_steps(run / "config.json"),
        speed=speed,
        written=_written(run / "metrics.jsonl"),
        sheets=_sheets(run / "samples"),
        width=WIDTH,
        height=HEIGHT,
    )


def sheet(call: Call) -> Response:
    """The samples of one step."""
    step = call.request.path_params["step"]
    run = call.site.run
    if run is None or not re.fullmatch(r"[0-9]{1,12}", step):
        raise HTTPException(404)
    file = inside(run, f"samples/step-{int(step):08d}.png")
    if file is None:
        raise HTTPException(404)
    return FileResponse(file, media_type="image/png")


def _history(file: Path) -> History:
    """What was measured; nothing where that can't be read, or is too much for a page."""
    try:
        return History() if file.stat().st_size > _MOST_BYTES else read_history(file)
    except (OSError, TrainerError):
        return History()


def _chart(history: History, title: str, curves: tuple[tuple[str, str], ...]) -> Chart:
    series = {name: _thinned(history.curve(curve).points) for curve, name in curves}
    series = {name: points for name, points in series.items() if len(points) > 1}
    if not series:
        return Chart(title, ())
    values = [value for points in series.values() for _, value in points]
    low, high = min(values), max(values)
    last = max(points[-1][0] for points in series.values()) or 1
    lines = tuple(
        Line(name, _drawn(points, last, low, high), points[0][1], points[-1][1], points[0][0], points[-1][0])
        for name, points in series.items()
    )
    return Chart(title, lines)


def _thinned(points: Points) -> Points:
    stride = max(1, -(-len(points) // _POINTS))
    return points[::-1][::stride][::-1]  # the last one is always there


def _drawn(points: Points, last: int, low: float, high: float) -> str:
    span = high - low or 1.0
    return " ".join(
        f"{step / last * WIDTH:.1f},{HEIGHT - 4 - (value - low) / span * (HEIGHT - 8):.1f}"
        for step, value in points
    )


def _steps(file: Path) -> int | None:
    try:
        steps = json.loads(file.read_text(encoding="utf-8")).get("steps")
    except (OSError, ValueError, AttributeError):
        return None
    return steps if isinstance(steps, int) else None


def _written(file: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError:
        return None


def _sheets(folder: Path) -> list[int]:
    """Some steps from the first to the last of which there are samples."""
    names = (re.fullmatch(r"step-(\d{8})", file.stem) for file in folder.glob("step-*.png"))
    found = sorted(int(name[1]) for name in names if name)
    if len(found) <= _SHEETS:
        return found
    return [found[round(place * (len(found) - 1) / (_SHEETS - 1))] for place in range(_SHEETS)]
