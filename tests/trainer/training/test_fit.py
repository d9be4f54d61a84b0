"""The loop and its run folder, through the command line as a user runs it.

Runs that are stopped or killed are processes of their own; the others share this one, to spare its imports.
"""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

import trainer
from tests.drawings import bowls, write_bowls
from tests.trainer.photographs import broken_files, odd_files, write_files
from trainer import cli
from trainer.checkpoint import load
from trainer.config import make_config
from trainer.metadata import read_metadata
from trainer.nets.vision import PretrainedVision
from trainer.pictures import to_device
from trainer.training import state
from trainer.training.distributed import ALONE
from trainer.training.fit import _begin, _keep_looks, stop_on_interrupt
from trainer.training.guard import Guard
from trainer.training.training import Training

OPTIONS = ["--resolution", "32", "--width", "4", "--batch", "4", "--snap", "5", "--eval-every", "5"]
OPTIONS += ["--generator", "plain", "--critic", "plain"]
SEEING = pytest.param("wgan-gp", "seeing", marks=pytest.mark.long)
CPU = torch.device("cpu")
LAST = Path("checkpoints") / "last.safetensors"

pytestmark = pytest.mark.usefixtures("few_fakes")


class Fit:
    """`trainer fit` in this process: exit status and what was said to people."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys = capsys
        self.monkeypatch = monkeypatch

    def __call__(self, *arguments: str | Path) -> tuple[int, str]:
        self.monkeypatch.setattr(sys, "argv", ["trainer", "fit", *map(str, arguments)])
        self.monkeypatch.setenv("COLUMNS", "400")
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, self.capsys.readouterr().err


@pytest.fixture
def fit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Fit:
    # one thread, so that these runs compare bit for bit with those of other processes
    torch.set_num_threads(1)
    return Fit(capsys, monkeypatch)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    return write_bowls(tmp_path / "bowls", 24)


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trainer", "fit", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def interrupted_at(step: int) -> Iterator[None]:
    """Ctrl-C comes in that step."""
    cycle = Training.cycle
    # a shell that runs tests in the background may have them ignore Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted(training: Training) -> None:
        cycle(training)
        if training.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Training, "cycle", interrupted)
            yield
    finally:
        signal.signal(signal.SIGINT, before)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


def metrics(run: Path) -> list[dict[str, object]]:
    """The lines of metrics.jsonl without their times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in ("seconds", "images_per_s")}
        for line in lines
    ]


def weights(path: Path) -> dict[str, list[float]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).flatten().tolist() for name in file.keys()}  # noqa: SIM118


def test_a_run_folder_has_what_the_design_says(photographs: Path, fit: Fit) -> None:
    run = photographs.parent / "run"
    status, said = fit("--data", photographs, "--out", run, "--steps", "12", *OPTIONS)
    assert status == 0, said
    assert "Done at step 12" in said
    assert "no figures, and no best" in said

    config = json.loads((run / "config.json").read_text())
    assert (config["resolution"], config["steps"], config["preset"]) == (32, 12, "modern")
    assert sorted(path.name for path in (run / "samples").iterdir()) == [
        f"step-{step:08d}.png" for step in (0, 5, 10, 12)
    ]
    with Image.open(run / "samples" / "step-00000012.png") as sheet:
        assert sheet.size == (8 * 34 + 2, 8 * 34 + 2)
    calm = [f"calm-{step:08d}" for step in (0, 5, 10, 12)]
    states = [*calm, "state-00000010", "state-00000012"]
    assert sorted(path.stem for path in (run / "state").iterdir()) == states
    assert any((run / "tensorboard").iterdir())

    evaluations = [line for line in metrics(run) if line["kind"] == "evaluation"]
    assert [line["step"] for line in evaluations] == [5, 10, 12], "the last step, whatever it is"
    for side in ("training", "held_out"):
        for name in ("critic_loss", "wasserstein", "penalty"):
            assert isinstance(evaluations[0][f"{side}_{name}"], float)

    document = read_metadata(run / LAST)
    assert (document.step, document.images_seen, document.resolution) == (12, 48, 32)
    assert document.training_pictures + document.held_out_pictures == 24
    assert len(document.score_quantiles) == 101
    assert len(document.training_hashes) == document.training_pictures
    loaded = load(run / LAST)
    assert loaded.sample([1]).shape == (1, 3, 32, 32)
    assert loaded.photographs is not None
    assert len(loaded.photographs) == document.held_out_pictures


def test_a_folder_of_broken_and_odd_files_trains_and_names_each(photographs: Path, fit: Fit) -> None:
    """Twelve kinds and more among good pictures: each that can't be used is named, and training goes on."""
    broken, odd = broken_files(), odd_files()
    assert len(broken) + len(odd) >= 12
    write_files(photographs, {name: data for name, (data, _) in broken.items()} | odd)
    run = photographs.parent / "run"
    small = ["--steps", "1", *OPTIONS, "--width", "2", "--resolution", "64"]
    status, said = fit("--data", photographs, "--out", run, *small)
    assert status == 0, said
    report = json.loads((run / "data_report.json").read_text())
    assert {entry["path"] for entry in report["left_out"]} == set(broken)
    for name, (_, reason) in broken.items():
        assert f"left out {name}: {reason}" in said


def test_the_best_by_its_figures_is_kept(tmp_path: Path, fit: Fit) -> None:
    photographs = write_bowls(tmp_path / "bowls", 120, 32)
    run = tmp_path / "run"
    status, said = fit("--data", photographs, "--out", run, "--steps", "7", *OPTIONS, "--eval-every", "2")
    assert status == 0, said
    figures = {line["step"]: line["kid"] for line in metrics(run) if line["kind"] == "figures"}
    assert list(figures) == [2, 4, 6, 7]
    best = read_metadata(run / "checkpoints" / "best.safetensors")
    kid = best.metrics["kid"]
    assert kid.value == figures[best.step]
    # of near ties the later one
    assert kid.deviation is not None
    assert kid.value <= min(map(float, map(str, figures.values()))) + kid.deviation
    assert best.metrics["kid"].floor is not None
    # a step that was not evaluated has none: the figures of an earlier one would be a lie
    assert read_metadata(run / LAST).metrics["kid"].value == figures[7]
    assert read_metadata(run / "checkpoints" / "step-00000005.safetensors").metrics == {}


@pytest.mark.parametrize(
    ("objective", "critic"),
    [
        ("wgan-gp", "plain"),
        pytest.param("wgan", "plain", marks=pytest.mark.long),
        pytest.param("dcgan", "plain", marks=pytest.mark.long),
        SEEING,
    ],
)
def test_interrupted_killed_and_resumed_is_bit_identical(
    photographs: Path, fit: Fit, objective: str, critic: str
) -> None:
    """Ctrl-C at some step saves there and says how to go on; after SIGKILL the last saved state counts.

    Either way the rest makes the run that was never stopped.
    """
    whole, parts = photographs.parent / "whole", photographs.parent / "parts"
    options: list[str | Path] = ["--data", photographs, *OPTIONS, "--objective", objective]
    options += ["--steps", "40", "--eval-every", "20", "--critic", critic, "--cache-gb", "0.02"]
    status, said = fit("--out", whole, *options)
    assert status == 0, said

    with interrupted_at(12):
        status, said = fit("--out", parts, *options)
    assert status == 130, said
    assert "Saved at step 12." in said
    assert "Go on with: trainer fit --resume" in said

    process = start("--resume", "--out", parts)
    wait_for(parts / "state" / "state-00000015.safetensors", process)
    process.kill()
    process.communicate()

    status, said = fit("--resume", "--out", parts)
    assert status == 0, said
    assert weights(parts / LAST) == weights(whole / LAST)
    assert metrics(parts) == metrics(whole)
    grid = Path("samples") / "step-00000040.png"
    assert (parts / grid).read_bytes() == (whole / grid).read_bytes()


def test_nothing_is_lost_without_tensorboard(
    photographs: Path, fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    for missing in ("tensorboard", "torch.utils.tensorboard", "matplotlib"):
        monkeypatch.setitem(sys.modules, missing, None)
    run = photographs.parent / "run"
    status, said = fit("--data", photographs, "--out", run, "--steps", "1", *OPTIONS)
    assert status == 0, said
    assert {line["kind"] for line in metrics(run)} == {"evaluation"}
    assert not (run / "tensorboard").exists()


def test_the_trainer_starts_with_six_packages() -> None:
    """It is carried to rented machines as a checkout: any other package is imported where it is used."""
    at_hand = {"torch", "numpy", "PIL", "safetensors", "typer", "rich", "trainer"}
    files = [*Path(trainer.__file__).parent.rglob("*.py")]
    assert len(files) > 50
    for file in files:
        for statement in ast.parse(file.read_text("utf-8")).body:
            if isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom):
                names = [statement.module or ""]
            else:
                continue
            packages = {name.partition(".")[0] for name in names}
            assert packages <= at_hand | sys.stdlib_module_names, file


def test_looking_more_often_does_not_change_the_training(photographs: Path, fit: Fit) -> None:
    runs = [photographs.parent / name for name in ("often", "never")]
    for run, every in zip(runs, ("1", "0"), strict=True):
        options: list[str | Path] = [
            "--data",
            photographs,
            "--out",
            run,
            "--steps",
            "6",
            *OPTIONS,
            "--eval-every",
            every,
        ]
        assert fit(*options, "--log-every", "1", "--snap", every)[0] == 0
    assert weights(runs[0] / LAST) == weights(runs[1] / LAST)


def test_a_run_begins_as_another_checkpoint_and_goes_on_without_it(photographs: Path, fit: Fit) -> None:
    """Of half its resolution, and with the checkpoint's shape; what it begins with is in its first state."""
    first, second = photographs.parent / "first", photographs.parent / "second"
    assert fit("--data", photographs, "--out", first, "--steps", "1", *OPTIONS)[0] == 0
    small = ["--batch", "4", "--resolution", "64", "--eval-every", "0", "--critic-lr", "1e-9"]
    start: list[str | Path] = [
        "--data",
        photographs,
        "--out",
        second,
        "--init",
        first / LAST,
        "--generator-lr",
        "1e-9",
    ]
    status, said = fit(*start, *small, "--steps", "1")
    assert status == 0, said
    assert re.search(r"Began as \S+: \d+ tensors taken over, \d+ new ones", said)
    before, after = (weights(run / LAST) for run in (first, second))
    taken = [name for name, values in before.items() if name.startswith("generator.blocks.16.conv")]
    assert taken
    for name in taken:
        assert after[name] == pytest.approx(before[name], abs=1e-6)
    assert any(name.startswith("generator.blocks.64") for name in after)
    (first / LAST).unlink()
    status, said = fit("--resume", "--out", second, "--steps", "2")
    assert status == 0, said
    assert "Resumed at step 1" in said


def test_what_is_kept_of_the_photographs_is_bounded_and_said() -> None:
    """119,808 numbers of each of four, in half precision: as many looks as fit, of both sides."""
    options = {"resolution": 32, "width": 2, "batch": 4, "precision": "float32"}
    training = Training(
        make_config(Path("bowls"), "modern", "wgan-gp", **options), to_device(bowls(4, 32), CPU)
    )
    told: list[str] = []
    for cache_gb in (0.0, 0.005):
        training.config = replace(training.config, cache_gb=cache_gb)
        _keep_looks(training, told.append)
        assert training.photographs.kept_bytes <= cache_gb * 1e9
    assert told == ["Keeps what the critic sees in the photographs, 4 looks at each: 0.0038 GB."]


def test_out_of_memory_is_one_sentence_that_says_what_to_lower(
    photographs: Path, fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU's allocator says it, in the middle of a run: what was saved can be gone on with."""

    def full(training: Training) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    run = photographs.parent / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Training, "cycle", full)
        status, said = fit("--data", photographs, "--out", run, "--steps", "2", *OPTIONS)
    assert status == 1
    assert "Memory ran out: take a smaller --cache-gb (a run that has saved a state goes on" in said
    assert "Traceback" not in said
    assert fit("--resume", "--out", run)[0] == 0


def test_weights_that_are_not_finite_are_never_saved(photographs: Path, fit: Fit) -> None:
    run = photographs.parent / "run"
    options = ["--critic", "plain", "--critic-lr", "1e30", "--no-guard", "--eval-every", "0", "--steps", "5"]
    status, said = fit("--data", photographs, "--out", run, *OPTIONS, *options)
    assert status == 1, said
    assert "weights that are no longer finite" in said
    assert "Traceback" not in said
    assert not (run / "checkpoints").exists()
    assert [path.stem for path in (run / "state").glob("state-*")] == ["state-00000000"]


class TestRefusals:
    """Each in one sentence on standard error, with the status of the contract, and nothing written."""

    def refused(self, result: tuple[int, str], status: int, words: str) -> None:
        assert result[0] == status, result
        assert words in result[1]
        assert "Traceback" not in result[1]

    def test_no_data(self, tmp_path: Path, fit: Fit) -> None:
        self.refused(fit("--out", tmp_path / "r"), 2, "trainer fit --data FOLDER")
        self.refused(fit("--data", tmp_path / "none", "--out", tmp_path / "r"), 2, "none")
        assert not (tmp_path / "r").exists()

    def test_a_folder_with_nothing_usable(self, tmp_path: Path, fit: Fit) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "a.jpg").write_bytes(b"")
        self.refused(
            fit("--data", tmp_path / "data", "--out", tmp_path / "r"), 1, "give a folder of photographs"
        )
        assert not (tmp_path / "r").exists()

    def test_a_run_in_the_way(self, photographs: Path, fit: Fit) -> None:
        run = photographs.parent / "run"
        options: list[str | Path] = ["--data", photographs, "--out", run, "--steps", "1", *OPTIONS]
        assert fit(*options)[0] == 0
        before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
        self.refused(fit(*options), 2, "add --resume")
        self.refused(fit(*options, "--resume", "--width", "6"), 2, "channels: (4, 4, 4, 4) → (6, 6, 6, 6)")
        self.refused(fit(*options, "--resume", "--objective", "wgan"), 2, "objective: wgan-gp → wgan")
        next(photographs.glob("*.png")).unlink()
        self.refused(fit(*options, "--resume"), 2, "other photographs")
        assert before == {path: path.read_bytes() for path in run.iterdir() if path.is_file()}

    def test_a_run_among_its_photographs(self, photographs: Path, fit: Fit) -> None:
        """What holds a run is no folder of photographs any more: after hours it could not be resumed."""
        before = sorted(photographs.iterdir())
        link = photographs.parent / "link"
        link.symlink_to(photographs)
        for out in (photographs, link):
            said = fit("--data", photographs, "--out", out, "--steps", "1", *OPTIONS)
            self.refused(said, 2, f"--out {out} holds the photographs")
        assert sorted(photographs.iterdir()) == before

    def test_resuming_what_is_no_run(self, tmp_path: Path, fit: Fit) -> None:
        self.refused(fit("--resume", "--out", tmp_path), 1, "is not a run folder")


def test_nothing_is_prepared_for_a_run_that_is_over(photographs: Path, fit: Fit) -> None:
    """To compile takes a minute, to look at thousands of photographs as well."""
    run = photographs.parent / "run"
    assert fit("--data", photographs, "--out", run, "--steps", "1", *OPTIONS)[0] == 0
    status, said = fit("--resume", "--out", run, "--compile", "on")
    assert status == 0, said
    assert "Done at step 1" in said
    assert "ompil" not in said
    assert json.loads((run / "config.json").read_text())["compile"] == "on"


def test_steps_that_were_made_are_not_taken_back(photographs: Path, fit: Fit) -> None:
    """To call it done would leave a run that says of itself that it is at step 2 of 1."""
    run = photographs.parent / "run"
    assert fit("--data", photographs, "--out", run, "--steps", "2", *OPTIONS)[0] == 0
    status, said = fit("--resume", "--out", run, "--steps", "1")
    assert (status, "has made 2 steps already: give --steps no less" in said) == (2, True), said
    assert json.loads((run / "config.json").read_text())["steps"] == 2


def test_dry_run_writes_nothing(photographs: Path, fit: Fit) -> None:
    run = photographs.parent / "run"
    status, said = fit("--data", photographs, "--out", run, "--dry-run", *OPTIONS)
    assert status == 0
    assert "Nothing was written" in said
    assert not run.exists()


def test_an_end_asked_for_before_the_first_step_comes_at_once(
    photographs: Path, fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To see all photographs through a large network takes minutes on a CPU, and nothing is lost by then."""
    run = photographs.parent / "run"
    # a shell that runs tests in the background may have them ignore Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Training, "keep_looks", lambda self, show: os.kill(os.getpid(), signal.SIGINT))
            status, said = fit("--data", photographs, "--out", run, *OPTIONS)
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 130, said
    status, said = fit("--data", photographs, "--out", run, "--steps", "1", *OPTIONS)
    assert status == 0, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_polite_signal_asks_for_an_end_after_the_step(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_interrupt() as stopped:
        assert not stopped()
        os.kill(os.getpid(), number)
        assert stopped()
    assert signal.getsignal(number) is before


def test_under_nohup_it_goes_on_without_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_interrupt() as stopped:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stopped()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_it_goes_on_when_nobody_reads_what_it_says(photographs: Path) -> None:
    """It ended with status 1 where standard error's reader was gone."""
    run = photographs.parent / "run"
    with start("--data", photographs, "--out", run, *OPTIONS, "--steps", "2", "--log-every", "1") as process:
        assert process.stderr is not None
        process.stderr.close()
    assert process.returncode == 0
    assert [line["step"] for line in metrics(run) if line["kind"] == "tick"] == [1, 2]


def test_a_resume_takes_its_calibration_from_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs would be looked at for seconds, and give what the state then overwrites."""
    options = {"resolution": 32, "width": 4, "critic_width": 4, "batch": 4, "device": "cpu"}
    config = make_config(Path("bowls"), "modern", "wgan-gp", **options)
    pictures = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    first = Training(config, pictures)
    state.write_state(tmp_path / "state.safetensors", first, state.LoopState("0" * 64, Guard(), 0))

    def refuse(*arguments: object) -> None:
        raise AssertionError("calibrated again")

    monkeypatch.setattr(PretrainedVision, "calibrate", refuse)
    resumed = _begin(config, pictures, ALONE, True, print)
    state.restore_state(tmp_path / "state.safetensors", resumed)
    before, after = (each.networks.vision.state_dict() for each in (first, resumed))
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
