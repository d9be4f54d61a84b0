"""Two processes with half the batch each: one process's losses, one run folder, a death in the family."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from typer.testing import CliRunner

from tests.drawings import write_bowls
from trainer.cli import app
from trainer.config import make_config
from trainer.data.dataset import load_dataset
from trainer.errors import TrainerError, UsageError
from trainer.nets.layers import BatchNorm
from trainer.training.distributed import Workers, joined
from trainer.training.fit import fit

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


def worker_environment(size: int) -> dict[str, str]:
    """What torchrun tells the first of so many processes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    values = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(size)}
    return values | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def ticks(run: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == "tick"]


@pytest.mark.usefixtures("few_fakes")
def test_two_processes_have_the_losses_of_one(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process and one more, begun as torchrun would."""
    # Adam's first steps turn rounding in tiny gradients into whole steps: small ones keep that below 1e-4
    rates = ["--critic-lr", "1e-4", "--generator-lr", "1e-4"]
    options = [*rates, "--steps", "12", "--log-every", "1", "--eval-every", "10", "--snap", "10"]
    first, second = (
        ["fit", "--data", str(photographs), "--out", str(tmp_path / run), *OPTIONS, *options]
        for run in ("run1", "run2")
    )
    assert CliRunner().invoke(app, first).exit_code == 0
    environment = worker_environment(2)
    with subprocess.Popen(
        [sys.executable, "-m", "trainer", *second],
        env={**os.environ, **environment, "RANK": "1", "LOCAL_RANK": "1"},
        stderr=subprocess.PIPE,
        text=True,
    ) as other:
        try:
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            result = CliRunner().invoke(app, second)
            _, errors = other.communicate(timeout=200)
        finally:
            other.kill()
    assert result.exit_code == 0, result.output + errors
    assert other.returncode == 0, errors
    assert "Done at step 12" in result.output
    assert "Done" not in errors
    one, two = ticks(tmp_path / "run1"), ticks(tmp_path / "run2")
    assert [line["step"] for line in two] == list(range(1, 13))
    for single, shared in zip(one, two, strict=True):
        for name in ("wasserstein", "generator_loss", "score_real"):
            assert shared[name] == pytest.approx(single[name], abs=1e-4), (single["step"], name)
        # which side of a leaky ReLU's kink an interpolate lies on may be for rounding to say
        assert shared["penalty"] == pytest.approx(single["penalty"], abs=2e-3)
        rest = [line["critic_loss"] - 10 * line["penalty"] for line in (single, shared)]
        assert rest[0] == pytest.approx(rest[1], abs=1e-4), single["step"]


@pytest.mark.long
def test_two_processes_train_in_bf16(photographs: Path, tmp_path: Path) -> None:
    """What a GPU does by default: batch norm's moments are exchanged in float32."""
    process = start(photographs, tmp_path / "run", "--steps", "3", "--log-every", "1", "--precision", "bf16")
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert all(math.isfinite(line["critic_loss"]) for line in ticks(tmp_path / "run"))


@pytest.mark.long
def test_a_process_that_dies_ends_the_run_and_it_resumes(photographs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--steps", "100000", "--snap", "5", "--eval-every", "0", "--compile", "off"]
    process = start(photographs, run, *options)
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


@pytest.mark.long
def test_two_processes_go_back_together(photographs: Path, tmp_path: Path) -> None:
    """The first one sees the collapse, decides and says why; the other follows, and is left behind."""
    run = tmp_path / "run"
    wild = ["--critic-lr", "3", "--generator-lr", "3", "--compile", "off"]
    process = start(photographs, run, "--steps", "40", "--eval-every", "2", "--snap", "0", *wild)
    _, errors = process.communicate(timeout=200)
    assert process.returncode != 0
    assert "Training collapsed at step" in errors
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    told = [line["decision"] for line in lines if line["kind"] == "guard"]
    assert told == ["go back"] * 3 + ["stop"]


def test_a_batch_is_shared_equally() -> None:
    rows = torch.arange(12)
    shares = [rows[Workers(rank, 3).share(12)] for rank in range(3)]
    assert torch.equal(torch.cat(shares), rows)
    assert {len(share) for share in shares} == {4}
    with pytest.raises(UsageError, match="--batch 12 can't be shared by 5"):
        Workers(0, 5).share(12)


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of torchrun with this process alone, which believes that there is another."""
    for name, value in worker_environment(1).items():
        monkeypatch.setenv(name, value)
    begin = dist.init_process_group

    def alone(backend: str, *, timeout: timedelta) -> None:
        assert timeout > timedelta(
            hours=1
        )  # to decode many photographs takes longer than NCCL waits by itself
        monkeypatch.setenv("WORLD_SIZE", "1")
        begin(backend, timeout=timeout)

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", alone)


@pytest.mark.usefixtures("torchrun")
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer"), "Another process"),
        (dist.DistBackendError("NCCL communicator was aborted"), "Another process"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), None),
        (RuntimeError("expected scalar type Float but found BFloat16"), None),
    ],
)
def test_only_the_loss_of_another_process_is_told_as_such(error: RuntimeError, told: str | None) -> None:
    """What goes wrong here keeps its own words and its traceback."""
    with pytest.raises((TrainerError, RuntimeError)) as caught, joined(torch.device("cpu")):
        raise error
    if told is None:
        assert caught.value is error
    else:
        assert isinstance(caught.value, TrainerError)
        assert told in str(caught.value)
        assert caught.value.__cause__ is error


def test_more_processes_than_gpus_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="this machine has 2: start as many"), joined(torch.device("cuda")):
        pass


@pytest.mark.usefixtures("torchrun")
def test_a_process_that_comes_later_finds_the_run_begun(photographs: Path, tmp_path: Path) -> None:
    """And is no second run: the first one may have written before this one has read its photographs."""
    run, config = tmp_path / "run", make_config(
        photographs, "modern", "wgan-gp", resolution=32, width=4, batch=8, device="cpu", critic="plain",
        steps=2, eval_every=0,
    )  # fmt: skip
    (run / "state").mkdir(parents=True)
    (run / "state" / "state-00000000.safetensors").write_bytes(b"")
    dataset = load_dataset(photographs, 32, cache=tmp_path / "cache")
    with joined(torch.device("cpu")) as workers:
        later = Workers(rank=1, size=workers.size)
        assert fit(config, dataset, run, resume=False, say=print, workers=later).step == 2
        with pytest.raises(UsageError, match="holds a run already"):
            fit(config, dataset, run, resume=False, say=print, workers=workers)


@pytest.mark.usefixtures("torchrun")
def test_batch_norm_of_several_processes_keeps_statistics_in_float32() -> None:
    """As torch's own does, whatever the activations are rounded to."""
    torch.manual_seed(0)
    x = torch.randn(8, 3, 4, 4) * 2 + 30
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm2d(3)
    with joined(torch.device("cpu")):
        rounded = ours(x.bfloat16())
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
    theirs(x)
    assert rounded.dtype == torch.bfloat16
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(ours.get_buffer(name), theirs.get_buffer(name), rtol=2e-3, atol=2e-3)


@pytest.mark.usefixtures("torchrun")
def test_batch_norm_of_several_processes_is_exact_far_from_zero() -> None:
    """The mean of squares less the square of the mean is nothing there but rounding, or less than nothing."""
    x = torch.linspace(4000, 4001, 96, dtype=torch.float64).reshape(8, 3, 2, 2)
    wanted = torch.nn.functional.batch_norm(x, None, None, training=True)
    ours = BatchNorm(3)
    with joined(torch.device("cpu")):
        torch.testing.assert_close(ours(x.float()).double(), wanted, rtol=1e-2, atol=1e-2)


def test_processes_ask_one_another_at_every_tenth_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def any_of_both(workers: Workers, flag: bool) -> bool:
        asked.append(flag)
        return True

    monkeypatch.setattr(Workers, "any", any_of_both)
    assert [step for step in range(1, 31) if Workers(0, 2).asked(True, step)] == [10, 20, 30]
    assert len(asked) == 3


def test_alone_nothing_is_exchanged() -> None:
    gradients, statistics = [torch.ones(3)], torch.arange(2.0)
    assert Workers().average(gradients, statistics) is statistics
    assert gradients[0].tolist() == [1, 1, 1]
    assert Workers().any(True)
    assert not Workers().any(False)
    assert Workers().asked(True, 7)
    assert Workers().lead_first(lambda: "loaded") == "loaded"
    assert Workers().follow("decision") == "decision"
