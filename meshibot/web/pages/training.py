"""A training's run folder, live: its figures as curves, and what its latents became."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from meshibot.web.pictures import inside
from meshibot.web.site import Call

WIDTH, HEIGHT = 320, 120
"""Of a chart, in its own units."""
_POINTS = 160
_SHEETS = 6
_MOST_BYTES = 64_000_000

CURVES: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("chart_critic", "tick", (("critic_loss", ""),)),
    (
        "chart_wasserstein",
        "evaluation",
        (("training_wasserstein", "training"), ("held_out_wasserstein", "held_out")),
    ),
    ("chart_generator", "tick", (("generator_loss", ""),)),
    ("chart_kid", "figures", (("kid", ""),)),
    ("chart_swd", "figures", (("swd", ""),)),
)
"""Title, kind of line in metrics.jsonl, and its fields, each with its name where there are several."""


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
    rows = _rows(run / "metrics.jsonl")
    ticks = [row for row in rows if row.get("kind") == "tick"]
    return call.render(
        "training.html",
        run=run.resolve().name,
        charts=[chart for chart in (_chart(rows, *curve) for curve in CURVES) if chart.lines],
        step=ticks[-1]["step"] if ticks else None,
        steps=_steps(run / "config.json"),
        speed=ticks[-1].get("images_per_s") if ticks else None,
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


def _rows(file: Path) -> list[dict[str, Any]]:
    """What was measured, as far as it is whole: the last line may be half written."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            return []
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def _chart(rows: list[dict[str, Any]], title: str, kind: str, fields: tuple[tuple[str, str], ...]) -> Chart:
    series = {
        name or field: [
            (row["step"], float(row[field]))
            for row in rows
            if row.get("kind") == kind and isinstance(row.get(field), int | float)
        ]
        for field, name in fields
    }
    series = {name: _thinned(points) for name, points in series.items() if len(points) > 1}
    values = [value for points in series.values() for _, value in points if value == value]
    if not values:
        return Chart(title, ())
    low, high = min(values), max(values)
    last = max(step for points in series.values() for step, _ in points) or 1
    lines = tuple(
        Line(name, _points(points, last, low, high), points[0][1], points[-1][1], points[0][0], points[-1][0])
        for name, points in series.items()
    )
    return Chart(title, lines)


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    stride = -(-len(points) // _POINTS)
    return points[::-1][::stride][::-1]  # the last one is always there


def _points(points: list[tuple[int, float]], last: int, low: float, high: float) -> str:
    span = high - low or 1.0
    return " ".join(
        f"{step / last * WIDTH:.1f},{HEIGHT - 4 - (value - low) / span * (HEIGHT - 8):.1f}"
        for step, value in points
        if value == value
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
