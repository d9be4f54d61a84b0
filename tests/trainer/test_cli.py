"""The command line: help without torch, samples, inspection, and errors in one sentence."""

import json
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
from trainer.checkpoint import Metadata
from trainer.cli import app
from trainer.config import FitConfig, make_config
from trainer.errors import TrainerError
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


def test_help_shows_defaults() -> None:
    """In round brackets: what stands in square ones is taken for markup, and vanishes."""
    said = CliRunner().invoke(app, ["fit", "--help"], env={"COLUMNS": "200"}).stdout
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
    assert document["format_version"] == checkpoint.FORMAT_VERSION
    assert document["fingerprint"] == checkpoint.fingerprint_of(saved)
    people = CliRunner().invoke(app, ["inspect", str(saved)]).stdout
    assert "wgan-gp" in people
    assert "0 perceptual hashes" in people
    assert "kid 0.25 (floor 0.125), swd 31\n" in people
    assert "generator kind plain, latent_size 8, channels 4 4 4 4, norm batch" in people


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["sample", "none.safetensors", "--out", "x"], 2, "no checkpoint at"),
        (["sample", "none.safetensors"], 2, "--out FOLDER"),
        (["inspect", "none.safetensors"], 2, "no checkpoint at"),
        (["fit"], 2, "--data FOLDER"),
        (["fit", "--data", "x", "--objective", "hinge"], 2, "--objective hinge"),
        (["fit", "--data", "x", "--device", "tpu"], 2, "--device tpu"),
        (["fit", "--wrong"], 2, "No such option"),
        (["fit", "--data", "x", "--seed", "1" + 20 * "0"], 2, "--seed"),
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


def test_prepare_evaluate_and_morph(tmp_path: Path) -> None:
    found, ready, loop = tmp_path / "found", tmp_path / "ready", tmp_path / "loop.gif"
    fill_folder(found, range(90))
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
