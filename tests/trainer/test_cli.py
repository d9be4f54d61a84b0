"""The command line: help without torch, samples, inspection, and errors in one sentence."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tests.checkpoints import make_checkpoint
from tests.shapes import small
from tests.trainer.photographs import fill_folder
from trainer import checkpoint, cli
from trainer.cli import app
from trainer.config import FitConfig, make_config
from trainer.errors import TrainerError
from trainer.metadata import FORMAT_VERSION, Metadata, fingerprint_of
from trainer.metrics.metric import Metric
from trainer.nets.critic import Critic
from trainer.nets.generator import make_generator
from trainer.nets.vision import Vision


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    arch = small()
    figures = {"kid": Metric(0.25, 0.125), "swd": Metric(31.0)}
    document = Metadata(asdict(arch), "wgan-gp", "modern", 3, 12, "f", 9, 1, (0.0, 0.5, 2.0), figures)
    networks = make_generator(arch.generator), Critic(arch.critic), Vision()
    checkpoint.save(tmp_path / "x.safetensors", *networks, torch.zeros(1, arch.critic.at(4)), document)
    return tmp_path / "x.safetensors"


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys, trainer.cli; sys.argv = ['trainer', '--help']\n"
        "try: trainer.cli.main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules, 'heavy imports'"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "fit" in result.stdout


def said_by(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


COMMANDS = ("fit", "bench", "sample", "inspect", "prepare", "evaluate", "morph", "report")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_flags_without_a_type(command: str) -> None:
    said = said_by(command, "-h")
    assert said == said_by(command, "--help")
    assert "<bool>" not in said
    assert "[OPTIONS]" in said


def test_version_help_and_completion() -> None:
    assert re.fullmatch(r"trainer \d+\.\d+.*\n", said_by("--version"))
    said = said_by("-h")
    assert all(command in said for command in COMMANDS)
    assert "--install-completion" in said
    assert "<bool>" not in said


def test_choices_are_named() -> None:
    said = " ".join(said_by("fit", "-h").split())
    for choices in (
        "wgan-gp, wgan or dcgan", "32, 64, 128, 256 or 512", "auto, cpu, cuda, or mps", "article or modern",
        "pixel, batch or none", "gated, or plain", "seeing: looks",
    ):  # fmt: skip
        assert choices in said


def test_an_interrupt_while_torch_is_imported_ends_at_once(saved: Path, tmp_path: Path) -> None:
    """Half imported, torch makes other errors of it."""
    code = (
        "import os, signal, sys, importlib.abc\n"
        "class Interrupt(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch.nn': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        f"sys.argv = ['trainer', 'sample', {str(saved)!r}, '--out', {str(tmp_path / 'out')!r}]\n"
        "from trainer.__main__ import main\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (130, "")
    assert not (tmp_path / "out").exists()


def test_names_that_are_no_utf8_are_printed_as_they_are(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"\x83\x89")
    result = CliRunner().invoke(app, ["sample", str(saved), "--n", "1", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes == os.fsencode(out / "000000.png") + b"\n"
    assert (out / "000000.png").exists()


def test_help_shows_defaults() -> None:
    """In round brackets: what stands in square ones is taken for markup, and vanishes."""
    said = said_by("fit", "--help")
    for default in ("wgan-gp", "64", str(FitConfig.steps), "auto", "modern"):
        assert f"(default: {default})" in said


@pytest.mark.parametrize("package", ["trainer", "meshibot"])
def test_an_interrupt_while_it_is_imported_is_no_traceback(package: str) -> None:
    code = (
        "import sys, importlib.abc\n"
        "class Interrupt(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        f"from {package}.__main__ import main\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (130, "")


def test_samples_and_sheet(saved: Path, tmp_path: Path) -> None:
    out, grid = tmp_path / "pictures", tmp_path / "sheet.png"
    result = CliRunner().invoke(
        app, ["sample", str(saved), "--n", "5", "--out", str(out), "--grid", str(grid), "--seed", "40"]
    )
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [f"{seed:06d}.png" for seed in range(40, 45)]
    with Image.open(grid) as sheet:
        assert sheet.size == (3 * 34 + 2, 2 * 34 + 2)
    again = tmp_path / "again"
    CliRunner().invoke(app, ["sample", str(saved), "--n", "1", "--out", str(again), "--seed", "42"])
    with Image.open(again / "000042.png") as one, Image.open(out / "000042.png") as same:
        difference = max(abs(a - b) for a, b in zip(one.tobytes(), same.tobytes(), strict=True))
    assert difference <= 1


def test_inspect(saved: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(saved), "--json"])
    document = json.loads(result.stdout)
    assert document["architecture"]["generator"]["channels"] == [4, 4, 4, 4]
    assert document["format_version"] == FORMAT_VERSION
    assert document["fingerprint"] == fingerprint_of(saved)
    people = CliRunner().invoke(app, ["inspect", str(saved)]).stdout
    assert "wgan-gp" in people
    assert "0 perceptual hashes" in people
    assert "kid 0.25 (floor 0.125), swd 31\n" in people
    assert "generator kind plain, latent_size 8, channels 4 4 4 4, norm batch" in people


def test_inspect_says_of_which_format_the_file_is() -> None:
    path = Path(__file__).parents[1] / "data" / "checkpoint-format-2.safetensors"
    document = json.loads(CliRunner().invoke(app, ["inspect", str(path), "--json"]).stdout)
    assert (document["format_version"], "least_reader" in document) == (2, False)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["sample", "none.safetensors", "--out", "x"], 2, "no checkpoint at"),
        (["sample", "none.safetensors"], 2, "--out FOLDER"),
        (["inspect", "none.safetensors"], 2, "no checkpoint at"),
        (["fit"], 2, "--data FOLDER"),
        (["fit", "--data", "x", "--objective", "hinge"], 2, "--objective hinge"),
        (["fit", "--data", "x", "--device", "tpu"], 2, "--device tpu"),
        (["fit", "--data", "x", "--device", "mps"], 2, "no usable Apple GPU"),
        (["fit", "--data", "x", "--critic", "blind"], 2, "--critic blind"),
        (["fit", "--data", "x", "--generator", "residual"], 2, "--generator residual"),
        (["fit", "--data", "x", "--width", "0"], 2, "--width"),
        (["fit", "--data", "x", "--critic-width", "9999"], 2, "--critic-width"),
        (["fit", "--data", "x", "--cache-gb", "-1"], 2, "--cache-gb"),
        (["fit", "--data", "x", "--minutes", "-1"], 2, "--minutes"),
        (["fit", "--data", "x", "--init", "none.safetensors"], 2, "no checkpoint at"),
        (["fit", "--data", "x", "--init", "a", "--width", "8", "--critic", "plain"], 2, "--critic, --width"),
        (["fit", "--kind", "plain"], 2, "No such option"),
        (["fit", "--resume", "--out", "none"], 1, "not a run folder"),
        (["prepare", ".", "--out", "../ready", "--keep", "2"], 2, "--keep 2"),
        (["fit", "--wrong"], 2, "No such option"),
        (["fit", "--data", "x", "--seed", "1" + 20 * "0"], 2, "--seed"),
        (["fit", "--data", "x", "--head-weights", "1,two"], 2, "--head-weights"),
        (["fit", "--data", "x", "--head-weights", "1,2"], 2, "--head-weights are 2"),
        (["sample", "none.safetensors", "--out", "x", "--seed", "-1"], 2, "--seed"),
        (["evaluate", "none.safetensors", "--data", "x"], 2, "no checkpoint at"),
        (["morph", "none.safetensors", "--out", "x.avi"], 2, ".gif or .mp4"),
        (["prepare", "nowhere", "--out", "x"], 2, "nowhere"),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str],
    status: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process, which has torch at hand already: anything but an exit fails with its traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["trainer", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    assert stop.value.code == status, said.err
    assert words in said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("made", "arguments", "words"),
    [
        ("run/state/state-00000001.safetensors", ["--out", "run"], "add --resume"),
        ("run/checkpoints/best.safetensors", ["--out", "run"], "what is left of a run"),
        ("run", ["--out", "run"], "run is a file"),
        ("x", ["--batch", "6", "--device", "cuda"], "--device cuda"),
    ],
)
def test_what_can_be_known_is_refused_before_photographs_are_read(
    made: str,
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """There are none at all here, which would be the complaint otherwise."""
    monkeypatch.chdir(tmp_path)
    Path(made).parent.mkdir(parents=True, exist_ok=True)
    Path(made).write_bytes(b"x")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["trainer", "fit", "--data", "nowhere", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "x.safetensors", "--out", "file"], "file is a file: give a folder in --out"),
        (["sample", "x.safetensors", "--grid", "."], "is a folder: give a file in --grid"),
        (["evaluate", "x.safetensors", "--data", "nowhere", "--pairs", "file/p.png"], "a folder in --pairs"),
    ],
)
def test_where_nothing_can_be_written_is_refused_before_the_work(
    saved: Path,
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(saved.parent)
    Path("file").write_bytes(b"x")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["trainer", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_prepare_evaluate_and_morph(tmp_path: Path) -> None:
    found, ready, loop = tmp_path / "found", tmp_path / "ready", tmp_path / "loop.gif"
    fill_folder(found, range(60))
    result = CliRunner().invoke(app, ["prepare", str(found), "--out", str(ready), "--resolution", "32"])
    assert result.exit_code == 0, result.output
    assert f"photographs in {ready}" in result.stderr
    assert not result.stdout
    assert (tmp_path / "ready-report.html").exists()

    made = make_checkpoint(tmp_path / "made.safetensors")
    judge = ["evaluate", str(made), "--data", str(ready), "--n", "8", "--device", "cpu"]
    result = CliRunner().invoke(app, [*judge, "--seed", "5", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["fakes"], document["first_seed"]) == (8, 5)
    assert {"value", "floor", "better"} == set(document["metrics"]["kid"])
    result = CliRunner().invoke(app, judge)
    assert "kid" in result.stdout
    assert "not the photographs" in result.stderr

    walk = ["--seconds", "1", "--fps", "10", "--keyframes", "2", "--size", "40", "--seed", "3"]
    result = CliRunner().invoke(app, ["morph", str(made), "--out", str(loop), *walk])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{loop}\n"
    assert "10 frames of 40 × 40 px" in result.stderr
    with Image.open(loop) as image:
        assert image.size == (40, 40)


def test_report(tmp_path: Path) -> None:
    assert isinstance(CliRunner().invoke(app, ["report", str(tmp_path)]).exception, TrainerError)
    config = make_config(tmp_path / "photographs", "modern", "wgan-gp")
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'report.html'}\n"
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
