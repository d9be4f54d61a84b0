"""What a run says and records: lines that fit a terminal, and a disk that fills up."""

import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.disks import mounted
from trainer.errors import TrainerError
from trainer.training.runlog import RunLog, status_line

LOSSES = ("critic_loss", "wasserstein", "penalty")
VALUES = dict.fromkeys(LOSSES, 0.25)


def open_log(folder: Path, **options: int) -> RunLog:
    folder.mkdir(parents=True, exist_ok=True)
    return RunLog(folder, 10, console=Console(file=io.StringIO(), width=80), **options)


def lines(log: RunLog) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.path.read_text().splitlines()]


@given(
    step=st.integers(0, 999_999),
    rate=st.floats(0.1, 999),
    left=st.floats(0, 8e6),
    memory=st.floats(0, 1e6),
    values=st.fixed_dictionaries(dict.fromkeys(LOSSES, st.floats(0.01, 99) | st.floats(-99, -0.1))),
)
def test_a_status_line_fits_eighty_columns(
    step: int, rate: float, left: float, memory: float, values: dict[str, float]
) -> None:
    assert len(status_line(step, 999_999, rate, left, memory, values)) <= 80


def test_a_status_line_says_where_a_training_is() -> None:
    values = {"critic_loss": -1.5, "wasserstein": 2.25, "penalty": 0.0125}
    line = status_line(50, 1_000, 31.46, 3 * 3600 + 300, 812.4, values)
    assert line == "step 50/1000  31.5 images/s  left 3h 05m  loss -1.5  W 2.25  gp 0.0125  812 MB"


def test_a_resume_goes_on_where_its_state_was_saved(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.record("tick", 1, {"penalty": 0.5})
        length = log.length
        log.record("tick", 2, {"penalty": float("nan")})
        assert lines(log)[1] == {"kind": "tick", "step": 2, "penalty": None}
    with open_log(tmp_path, resume_at=1, length=length) as log:
        assert log.length == length
        log.record("tick", 2, {"penalty": 0.75})
        assert [line["penalty"] for line in lines(log)] == [0.5, 0.75]
    with open_log(tmp_path) as log:
        assert lines(log) == []


def test_the_end_of_the_time_is_told_where_it_comes_before_the_last_step(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.tick(1, 4, VALUES, time_left=0.0)
        assert "left 0s" in log.console.file.getvalue()  # type: ignore[attr-defined]


def _record_until_refused(log: RunLog) -> None:
    """What is left of the last block takes some lines."""
    for step in range(2, 2_000):
        log.record("tick", step, VALUES)


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(tmp_path: Path) -> None:
    with mounted(tmp_path / "small") as disk, open_log(disk.folder / "run") as log:
        log.record("tick", 1, VALUES)
        length = log.length
        disk.fill()
        with pytest.raises(TrainerError, match=r"can't be written: No space left.*trainer fit --resume"):
            _record_until_refused(log)
        disk.make_room()
        log.path.write_bytes(log.path.read_bytes()[:length])
        assert lines(log) == [{"kind": "tick", "step": 1, **VALUES}]


def test_a_folder_whose_name_is_not_unicode_has_no_tensorboard_and_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode("らーめん".encode("shift_jis"))
    with open_log(folder) as log:
        log.record("tick", 1, {"penalty": 0.5})
        assert lines(log) == [{"kind": "tick", "step": 1, "penalty": 0.5}]
