"""Line charts over steps as inline SVG (templates/chart.svg.j2), coloured by the page's style sheet.

Knows nothing of training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from trainer.history import Curve, Points
from trainer.templates import render

WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 54, 8, 8, 24
MOST_POINTS = 500
_TICKS = 5
"""On an axis, about."""
_MOST_LOG_TICKS = 7
LOG_FROM = 15.0
"""Largest over smallest value, from which on a chart that may be logarithmic is."""
OUTLIERS_FROM = 4.0
"""The whole range over that of the middle 96 %, from which on what lies outside of it is cut off."""


@dataclass(frozen=True)
class Series:
    """A curve and the CSS class that gives it its colour."""

    name: str
    style: str
    curve: Curve


@dataclass(frozen=True)
class Mark:
    """A moment drawn in every chart."""

    step: int
    style: str
    label: str


@dataclass(frozen=True)
class Chart:
    title: str
    japanese: str
    series: tuple[Series, ...]
    note: str = ""
    floor: float | None = None
    log: bool = False
    """Whether it may be drawn logarithmically, where its values are positive and far apart."""

    @property
    def empty(self) -> bool:
        return not any(series.curve.points for series in self.series)


@dataclass(frozen=True)
class _Drawing:
    """A chart in pixels: what the template draws."""

    words: str
    values: list[tuple[float, str]]
    """Heights with their labels."""
    steps: list[tuple[float, str]]
    marks: list[tuple[float, Mark]]
    floor: float | None
    lines: list[tuple[str, list[tuple[float, float]]]]
    """Class and places of each."""


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`, at pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        if self.log:
            value = math.log(max(value, 1e-300))
        # A jump of many orders of magnitude would be a coordinate that no renderer takes.
        share = min(max((value - low) / (high - low), -5.0), 6.0)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high)


def step_axis(last: int) -> Axis:
    return Axis(0, max(last, 1), LEFT, WIDTH - RIGHT)


def svg(chart: Chart, steps: Axis, marks: Sequence[Mark] = ()) -> str:
    """The chart as an <svg> element. `marks` are vertical lines; the floor is a dashed one across."""
    return render(
        "trainer.report",
        "chart.svg.j2",
        drawing=_draw(chart, steps, marks),
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
    )


def _draw(chart: Chart, steps: Axis, marks: Sequence[Mark]) -> _Drawing:
    kept = [(series.style, thinned(series.curve.points)) for series in chart.series]
    values = value_axis([value for _, points in kept for _, value in points], chart.floor, chart.log)
    abandoned = [
        (f"{series.style} abandoned", thinned(piece))
        for series in chart.series
        for piece in series.curve.abandoned
    ]
    ticks = values.ticks()
    floor = None if values.log and (chart.floor or 0.0) <= 0 else chart.floor
    return _Drawing(
        words=in_words(chart),
        values=[(values.at(value), _tick_label(value, ticks)) for value in ticks],
        steps=[(steps.at(step), short_step(step)) for step in steps.ticks()],
        marks=[(steps.at(mark.step), mark) for mark in marks],
        floor=None if floor is None else values.at(floor),
        lines=[
            (style, [(steps.at(step), values.at(value)) for step, value in points])
            for style, points in (*abandoned, *kept)
            if points
        ],
    )


def in_words(chart: Chart) -> str:
    """For those who do not see it: each curve's beginning, end, smallest and largest value."""
    told = []
    for series in chart.series:
        if points := series.curve.points:
            numbers = [value for _, value in points]
            told.append(
                f"{series.name} from {short(numbers[0])} at step {points[0][0]:,} to {short(numbers[-1])} at "
                f"step {points[-1][0]:,}, between {short(min(numbers))} and {short(max(numbers))}"
            )
    if chart.floor is not None:
        told.append(f"floor {short(chart.floor)}")
    return f"{chart.title}: {'; '.join(told)}."


def thinned(points: Points, most: int = MOST_POINTS) -> Points:
    """At most `most` of the points: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(points) <= most:
        return points
    stretches = (most - 2) // 2
    chosen = {0, len(points) - 1}
    for index in range(stretches):
        stretch = range(index * len(points) // stretches, (index + 1) * len(points) // stretches)
        chosen |= {min(stretch, key=lambda i: points[i][1]), max(stretch, key=lambda i: points[i][1])}
    return [points[index] for index in sorted(chosen)]


def value_axis(values: Sequence[float], floor: float | None = None, log: bool = False) -> Axis:
    """A range that shows the values and the floor, without a few outliers that would flatten everything."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    log = log and low > 0 and high / low >= LOG_FROM
    if floor is not None and (floor > 0 or not log):
        low, high = min(low, floor), max(high, floor)
    if log:
        return Axis(low / 1.15, high * 1.15, HEIGHT - BOTTOM, TOP, log=True)
    inner_low, inner_high = ordered[len(ordered) // 50], ordered[-1 - len(ordered) // 50]
    if len(ordered) >= 20 and high - low > OUTLIERS_FROM * (inner_high - inner_low) > 0:
        low, high = inner_low, inner_high
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Axis(low - margin, high + margin, HEIGHT - BOTTOM, TOP)


def short(number: float) -> str:
    """Three significant digits, as people write them."""
    if number == 0 or 1e-3 <= abs(number) < 1e6:
        digits = max(0, 2 - math.floor(math.log10(abs(number)))) if number else 0
        return f"{number:,.{digits}f}".replace("-", "−")
    return f"{number:.2e}".replace("-", "−")


def short_step(step: float) -> str:
    for size, suffix in ((1_000_000, "M"), (1_000, "k")):
        if step >= size:
            return f"{step / size:g}{suffix}"
    return f"{step:g}"


def _tick_label(value: float, all_ticks: Sequence[float]) -> str:
    if abs(value) >= 1e6 or (value and abs(value) < 1e-4):
        return f"{value:.0e}".replace("-", "−")
    if len(all_ticks) < 2:
        return short(value)
    gap = min(b - a for a, b in pairwise(all_ticks))
    own = min(gap, abs(value)) if value else gap
    return f"{value:,.{max(0, -math.floor(math.log10(own) + 1e-9))}f}".replace("-", "−")


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers within the range."""
    rough = (high - low) / _TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    gap = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.ceil(low / gap - 1e-9), math.floor(high / gap + 1e-9)
    return [index * gap for index in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade, or whole decades, or every second, third ... of them."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)

    def within(factors: Sequence[int], every: int = 1) -> list[float]:
        ticks = [factor * 10.0**power for power in decades[::every] for factor in factors]
        return [tick for tick in ticks if low <= tick <= high]

    ticks = within((1, 2, 5))
    return ticks if len(ticks) <= _MOST_LOG_TICKS else within((1,), -(-len(decades) // _MOST_LOG_TICKS))
