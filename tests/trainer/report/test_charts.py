"""Charts are well-formed, show what they were given, and lose no peak."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.history import Curve, Points
from trainer.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    Mark,
    Series,
    in_words,
    short,
    short_step,
    step_axis,
    svg,
    thinned,
    value_axis,
)

numbers = st.floats(-1e12, 1e12) | st.floats(1e-9, 1e-3)


def chart(points: Points, floor: float | None = None, log: bool = False) -> Chart:
    return Chart("Loss", "損失", (Series("training <a>", "training", Curve(points)),), "", floor, log)


def places(drawn: str) -> list[tuple[float, float]]:
    line = ElementTree.fromstring(drawn).find(".//polyline")  # noqa: S314 - our own
    assert line is not None
    pairs = [pair.split(",") for pair in line.attrib["points"].split()]
    return [(float(x), float(y)) for x, y in pairs]


@given(values=st.lists(numbers, min_size=2, max_size=40), floor=st.none() | numbers, log=st.booleans())
def test_any_numbers_give_a_chart(values: list[float], floor: float | None, log: bool) -> None:
    points = [(10 * index, value) for index, value in enumerate(values)]
    drawn = svg(chart(points, floor, log), step_axis(points[-1][0]), [Mark(10, "guard", "it <b>went</b>")])
    found = places(drawn)
    assert len(found) == len(values)
    assert all(LEFT <= x <= WIDTH - RIGHT for x, _ in found)
    assert len(drawn) < 20_000


def test_higher_is_higher_and_later_is_further_right() -> None:
    (x0, y0), (x1, y1) = places(svg(chart([(0, 1.0), (50, 2.0)]), step_axis(100)))
    assert x0 == LEFT
    assert x1 == pytest.approx((LEFT + WIDTH - RIGHT) / 2)
    assert y1 < y0


def test_floor_is_drawn_at_its_height() -> None:
    drawn = svg(chart([(0, 3.0), (10, 2.0)], floor=2.0), step_axis(10))
    line = ElementTree.fromstring(drawn).find(".//line[@class='floor']")  # noqa: S314
    assert line is not None
    assert float(line.attrib["y1"]) == places(drawn)[1][1]
    assert 'class="floor"' not in svg(chart([(0, 3.0), (10, 2.0)]), step_axis(10))


def test_what_was_abandoned_stays_visible() -> None:
    curve = Curve([(0, 1.0), (10, 2.0)], [[(0, 1.0), (5, 9.0)]])
    drawn = svg(Chart("Loss", "", (Series("a", "tick", curve),)), step_axis(10))
    assert drawn.count("<polyline") == 2
    assert 'class="tick abandoned"' in drawn


def test_one_point_is_a_dot() -> None:
    assert "<circle" in svg(chart([(5, 1.0)]), step_axis(10))


def test_logarithmic_only_where_asked_for_and_positive() -> None:
    assert value_axis([0.01, 10.0], log=True).log
    assert not value_axis([0.01, 10.0]).log
    assert not value_axis([0.0, 10.0], log=True).log
    assert not value_axis([5.0, 10.0], log=True).log
    assert value_axis([0.01, 10.0], floor=-1.0, log=True).low > 0


def test_an_outlier_does_not_flatten_the_rest() -> None:
    axis = value_axis([float(index % 10) for index in range(100)] + [1e6])
    assert axis.high < 20
    assert axis.at(1e6) < TOP
    assert HEIGHT - BOTTOM > axis.at(0.0) > axis.at(9.0) > TOP


@given(low=numbers, high=numbers)
def test_ticks_lie_within_the_range_and_are_few(low: float, high: float) -> None:
    axis = value_axis([low, high], log=True)
    ticks = axis.ticks()
    slack = (axis.high - axis.low) * 1e-6
    assert all(axis.low - slack <= tick <= axis.high + slack for tick in ticks)
    assert 1 <= len(ticks) <= 12


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(10, 60))
def test_thinning_keeps_ends_and_peaks(values: list[float], most: int) -> None:
    points = list(enumerate(values))
    kept = thinned(points, most)
    assert len(kept) <= most or len(points) <= most
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert kept == sorted(set(kept))
    assert min(value for _, value in kept) == min(values)
    assert max(value for _, value in kept) == max(values)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (0.05, "0.0500"),
        (-1.2345, "−1.23"),
        (999.9, "1,000"),
        (12345.6, "12,346"),
        (1e-9, "1.00e−09"),
    ],
)
def test_numbers_as_people_write_them(number: float, text: str) -> None:
    assert short(number) == text


def test_steps_in_short() -> None:
    told = [short_step(step) for step in (0, 50, 1500, 20_000, 2_500_000)]
    assert told == ["0", "50", "1.5k", "20k", "2.5M"]


def test_in_words() -> None:
    words = in_words(chart([(0, 3.0), (1000, 2.0)], floor=1.5))
    assert words == (
        "Loss: training <a> from 3.00 at step 0 to 2.00 at step 1,000, between 2.00 and 3.00; floor 1.50."
    )
