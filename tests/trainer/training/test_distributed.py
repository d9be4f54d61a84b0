"""Two processes with half the batch each: one process's losses, one run folder, a death in the family."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.drawings import write_bowls
from trainer.cli import app
from trainer.errors import UsageError
from trainer.training.distributed import Workers

OPTIONS = ["--resolution", "32", "--width", "4", "--batch", "8", "--device", "cpu"]
OPTIONS += ["--generator", "plain", "--critic", "plain"]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    return write_bowls(tmp_path / "bowls", 100, 32)


def start(photographs: Path, run: Path, *arguments: str) -> subprocess.Popen[str]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    options = ["--data", str(photographs), "--out", str(run), *OPTIONS, *arguments]
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "trainer", "fit", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRAINER_CACHE": str(run.parent / "cache")},
        stderr=subprocess.PIPE,
        text=True,
    )


def ticks(run: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == "tick"]


def test_two_processes_have_the_losses_of_one(photographs: Path, tmp_path: Path) -> None:
    # Adam's first steps turn rounding in tiny gradients into whole steps: small ones keep that below 1e-4
    rates = ["--critic-lr", "1e-4", "--generator-lr", "1e-4"]
    options = [*rates, "--steps", "20", "--log-every", "1", "--eval-every", "10", "--snap", "10"]
    alone = ["fit", "--data", str(photographs), "--out", str(tmp_path / "run1"), *OPTIONS, *options]
    assert CliRunner().invoke(app, alone).exit_code == 0
    process = start(photographs, tmp_path / "run2", *options)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert errors.count("Done at step 20") == 1
    one, two = ticks(tmp_path / "run1"), ticks(tmp_path / "run2")
    assert [line["step"] for line in two] == list(range(1, 21))
    for single, shared in zip(one, two, strict=True):
        for name in ("critic_loss", "wasserstein", "penalty", "generator_loss"):
            assert shared[name] == pytest.approx(single[name], abs=1e-4), (single["step"], name)


def test_a_process_that_dies_ends_the_run_and_it_resumes(photographs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(photographs, run, "--steps", "100000", "--snap", "5", "--eval-every", "0")
    deadline = time.monotonic() + 120
    while not list((run / "state").glob("state-0000001*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    workers = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "Another process of this run ended" in errors
    assert "go on with --resume" in errors
    saved = max(int(path.stem.split("-")[1]) for path in (run / "state").glob("state-*"))
    again = start(photographs, run, "--resume", "--steps", str(saved + 7))
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert f"Resumed at step {saved}" in errors
    assert f"Done at step {saved + 7}" in errors


def test_a_batch_is_shared_equally() -> None:
    rows = torch.arange(12)
    shares = [rows[Workers(rank, 3).share(12)] for rank in range(3)]
    assert torch.equal(torch.cat(shares), rows)
    assert {len(share) for share in shares} == {4}
    with pytest.raises(UsageError, match="--batch 12 can't be shared by 5"):
        Workers(0, 5).share(12)


def test_alone_nothing_is_exchanged() -> None:
    gradients, statistics = [torch.ones(3)], torch.arange(2.0)
    assert Workers().average(gradients, statistics) is statistics
    assert gradients[0].tolist() == [1, 1, 1]
    assert Workers().any(True)
    assert not Workers().any(False)
    assert Workers().follow("decision") == "decision"
