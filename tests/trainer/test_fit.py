"""The loop and its run folder, through the command line in a process of its own, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

from tests.drawings import write_bowls
from trainer.checkpoint import load, read_metadata

OPTIONS = ["--resolution", "32", "--width", "4", "--batch", "4", "--snap", "5", "--eval-every", "5"]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "trainer", *map(str, arguments)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One thread, so that runs compare bit for bit, and a cache of the test's own."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "TRAINER_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    return write_bowls(tmp_path / "bowls", 24)


def fit(environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("fit", *arguments), env=environment, capture_output=True, text=True, check=False
    )


def metrics(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_times(line: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in line.items() if name not in ("seconds", "images_per_s")}


def weights(path: Path) -> dict[str, list[float]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).flatten().tolist() for name in file.keys()}  # noqa: SIM118


def test_a_run_folder_has_what_the_design_says(photographs: Path, environment: dict[str, str]) -> None:
    run = photographs.parent / "run"
    (photographs / "notes.txt").write_text("not a picture")
    result = fit(environment, "--data", photographs, "--out", run, "--steps", "12", *OPTIONS)
    assert result.returncode == 0, result.stderr
    assert "left out notes.txt" in result.stderr
    assert "Done at step 12" in result.stderr

    config = json.loads((run / "config.json").read_text())
    assert (config["resolution"], config["steps"], config["preset"]) == (32, 12, "modern")
    assert "notes.txt" in (run / "data_report.json").read_text()
    assert sorted(path.name for path in (run / "samples").iterdir()) == [
        f"step-{step:08d}.png" for step in (0, 5, 10, 12)
    ]
    with Image.open(run / "samples" / "step-00000012.png") as sheet:
        assert sheet.size == (8 * 34 + 2, 8 * 34 + 2)
    states = ["best", "state-00000010", "state-00000012"]
    assert sorted(path.stem for path in (run / "state").iterdir()) == states
    assert any((run / "tensorboard").iterdir())

    evaluations = [line for line in metrics(run) if line["kind"] == "evaluation"]
    assert [line["step"] for line in evaluations] == [5, 10]
    for side in ("training", "held_out"):
        for name in ("critic_loss", "wasserstein", "penalty"):
            assert isinstance(evaluations[0][f"{side}_{name}"], float)

    assert "no figures, and no best" in result.stderr
    document = read_metadata(run / "checkpoints" / "last.safetensors")
    assert (document.step, document.images_seen, document.resolution) == (12, 48, 32)
    assert document.training_pictures + document.held_out_pictures == 24
    assert len(document.score_quantiles) == 101
    assert len(document.training_hashes) == document.training_pictures
    assert load(run / "checkpoints" / "last.safetensors").sample([1]).shape == (1, 3, 32, 32)


def test_the_best_by_its_figures_is_kept(tmp_path: Path, environment: dict[str, str]) -> None:
    photographs = write_bowls(tmp_path / "bowls", 120, 32)
    run = tmp_path / "run"
    result = fit(
        environment, "--data", photographs, "--out", run, "--steps", "7", *OPTIONS, "--eval-every", "2"
    )
    assert result.returncode == 0, result.stderr
    figures = {line["step"]: line["kid"] for line in metrics(run) if line["kind"] == "figures"}
    assert list(figures) == [2, 4, 6]
    best = read_metadata(run / "checkpoints" / "best.safetensors")
    assert best.metrics["kid"].value == figures[best.step] == min(figures.values())
    assert best.metrics["kid"].floor is not None
    # the last step was not evaluated: the figures of an earlier one would be a lie
    assert read_metadata(run / "checkpoints" / "last.safetensors").metrics == {}


def test_interrupted_and_resumed_is_bit_identical(photographs: Path, environment: dict[str, str]) -> None:
    """Ctrl-C at some step saves there and says how to go on; the rest makes the same run."""
    whole, parts = photographs.parent / "whole", photographs.parent / "parts"
    options = ["--data", photographs, "--steps", "60", *OPTIONS, "--eval-every", "10"]
    assert fit(environment, "--out", whole, *options).returncode == 0

    process = subprocess.Popen(
        command("fit", "--out", parts, *options), env=environment, stderr=subprocess.PIPE, text=True
    )
    wait_for(parts / "state" / "state-00000010.safetensors", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Go on with: trainer fit --resume" in errors
    assert int(errors.split("Saved at step ")[1].split(".")[0]) < 60

    resumed = fit(environment, "--resume", "--out", parts)
    assert resumed.returncode == 0, resumed.stderr
    last = Path("checkpoints") / "last.safetensors"
    assert weights(parts / last) == weights(whole / last)
    assert [without_times(line) for line in metrics(parts)] == [
        without_times(line) for line in metrics(whole)
    ]
    grid = Path("samples") / "step-00000060.png"
    assert (parts / grid).read_bytes() == (whole / grid).read_bytes()


def test_killed_and_resumed_is_bit_identical(photographs: Path, environment: dict[str, str]) -> None:
    whole, parts = photographs.parent / "whole", photographs.parent / "parts"
    options = ["--data", photographs, "--steps", "40", *OPTIONS, "--eval-every", "0"]
    assert fit(environment, "--out", whole, *options).returncode == 0
    process = subprocess.Popen(
        command("fit", "--out", parts, *options), env=environment, stderr=subprocess.DEVNULL
    )
    wait_for(parts / "state" / "state-00000010.safetensors", process)
    process.kill()
    process.wait()
    assert fit(environment, "--resume", "--out", parts).returncode == 0
    last = Path("checkpoints") / "last.safetensors"
    assert weights(parts / last) == weights(whole / last)


def wait_for(path: Path, process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestRefusals:
    """Each in one sentence on standard error, with the status of the contract, and nothing written."""

    def refused(self, result: subprocess.CompletedProcess[str], status: int, words: str) -> None:
        assert result.returncode == status, result.stderr
        assert "Traceback" not in result.stderr
        assert words in result.stderr

    def test_no_data(self, tmp_path: Path, environment: dict[str, str]) -> None:
        self.refused(fit(environment, "--out", tmp_path / "r"), 2, "trainer fit --data FOLDER")
        missing = fit(environment, "--data", tmp_path / "none", "--out", tmp_path / "r")
        assert missing.returncode in (1, 2)
        assert "Traceback" not in missing.stderr
        assert not (tmp_path / "r").exists()

    def test_a_folder_with_nothing_usable(self, tmp_path: Path, environment: dict[str, str]) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "a.jpg").write_bytes(b"")
        result = fit(environment, "--data", tmp_path / "data", "--out", tmp_path / "r")
        assert result.returncode != 0
        assert "Traceback" not in result.stderr
        assert not (tmp_path / "r").exists()

    def test_a_run_in_the_way(self, photographs: Path, environment: dict[str, str]) -> None:
        run = photographs.parent / "run"
        options = ["--data", photographs, "--out", run, "--steps", "1", *OPTIONS]
        assert fit(environment, *options).returncode == 0
        before = (run / "metrics.jsonl").read_bytes(), (run / "config.json").read_bytes()
        self.refused(fit(environment, *options), 2, "add --resume")
        self.refused(fit(environment, *options, "--resume", "--width", "6"), 2, "width: 4 → 6")
        photograph = next(photographs.glob("*.png"))
        photograph.unlink()
        self.refused(fit(environment, *options, "--resume"), 2, "other photographs")
        assert before == ((run / "metrics.jsonl").read_bytes(), (run / "config.json").read_bytes())

    def test_resuming_what_is_no_run(self, tmp_path: Path, environment: dict[str, str]) -> None:
        self.refused(fit(environment, "--resume", "--out", tmp_path), 1, "is not a run folder")


def test_dry_run_writes_nothing(photographs: Path, environment: dict[str, str]) -> None:
    run = photographs.parent / "run"
    result = fit(environment, "--data", photographs, "--out", run, "--dry-run", *OPTIONS)
    assert result.returncode == 0
    assert "Nothing was written" in result.stderr
    assert not run.exists()
