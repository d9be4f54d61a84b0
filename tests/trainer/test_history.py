"""metrics.jsonl read back: whole and cut lines, odd numbers, and steps back."""

import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trainer.errors import TrainerError
from trainer.history import Curve, read_history
from trainer.training.runlog import RunLog


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_curves_by_kind_and_name(tmp_path: Path) -> None:
    history = read_history(
        write(
            tmp_path / "metrics.jsonl",
            {"kind": "tick", "step": 50, "images": 400, "seconds": 10.5, "penalty": 0.25},
            {"kind": "tick", "step": 100, "images": 800, "seconds": 9.5, "penalty": 0.125},
            {"kind": "figures", "step": 100, "kid": 1, "note": "words are no curve"},
        )
    )
    assert history.curve("tick/penalty").points == [(50, 0.25), (100, 0.125)]
    assert history.curve("figures/kid").last == 1
    assert history.names("figures") == ["kid"]
    assert history.curve("tick/step").last is None
    assert (history.step, history.seconds) == (100, 20.0)


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    history = read_history(
        write(
            tmp_path / "metrics.jsonl",
            {"kind": "tick", "step": 1, "critic_loss": 1.0},
            '{"kind": "tick", "step": 2, "critic_loss": NaN, "penalty": Infinity}',
            "[1, 2]",
            "null",
            {"kind": "tick", "step": "soon"},
            {"step": 3},
            "",
            "\0\0\0",
            {"kind": "tick", "step": 4, "critic_loss": 2.0},
            '{"kind": "tick", "step": 5, "critic_lo',
        )
    )
    assert history.curve("tick/critic_loss").points == [(1, 1.0), (4, 2.0)]
    assert history.curve("tick/penalty").points == []
    assert history.step == 4


def test_going_back_abandons_what_came_after(tmp_path: Path) -> None:
    history = read_history(
        write(
            tmp_path / "metrics.jsonl",
            *({"kind": "tick", "step": step, "wasserstein": float(step)} for step in (10, 20, 30, 40)),
            {"kind": "guard", "step": 40, "decision": "go back", "reason": "it exploded", "to_step": 20},
            {"kind": "tick", "step": 30, "wasserstein": 3.5},
            {"kind": "guard", "step": 50, "decision": "stop", "reason": "again"},
        )
    )
    curve = history.curve("tick/wasserstein")
    assert curve.points == [(10, 10.0), (20, 20.0), (30, 3.5)]
    assert curve.abandoned == [[(20, 20.0), (30, 30.0), (40, 40.0)]]
    decisions = [(one.step, one.decision, one.reason, one.to_step) for one in history.decisions]
    assert decisions == [(40, "go back", "it exploded", 20), (50, "stop", "again", None)]


@given(st.lists(st.integers(0, 30)))
def test_steps_of_a_curve_ascend_and_nothing_is_lost(steps: list[int]) -> None:
    curve = Curve()
    for number, step in enumerate(steps):
        curve.add(step, float(number))
    kept = [step for step, _ in curve.points]
    assert kept == sorted(set(kept))
    values = {value for piece in (curve.points, *curve.abandoned) for _, value in piece}
    assert values == {float(number) for number in range(len(steps))}


def test_no_file_yet(tmp_path: Path) -> None:
    assert read_history(tmp_path / "metrics.jsonl").curves == {}


def test_a_file_that_can_t_be_read(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="can't be read"):
        read_history(tmp_path)


def test_a_number_that_is_not_finite_is_written_as_null(tmp_path: Path) -> None:
    """A collapse is when others read the file, and JSON knows no NaN."""
    with RunLog(tmp_path, 10, console=Console(file=io.StringIO())) as log:
        log.record("evaluation", 5, {"critic_loss": math.nan, "penalty": math.inf, "gap": 0.5, "note": "odd"})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    document = {"kind": "evaluation", "step": 5, "critic_loss": None, "penalty": None, "gap": 0.5}
    assert json.loads(line, parse_constant=pytest.fail) == {**document, "note": "odd"}
