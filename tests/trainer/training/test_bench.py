"""What `trainer bench` says follows from the cycles it timed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trainer.cli import app
from trainer.config import FitConfig, make_config
from trainer.training.bench import Bench, bench

SMALL = {"resolution": 32, "width": 4, "batch": 4, "latent_size": 8, "device": "cpu", "critic": "plain"}


def test_rates_and_run_follow_from_a_cycle() -> None:
    config = make_config(Path(), "modern", "wgan-gp", **SMALL, steps=9_000)
    found = Bench(config, "cpu", cycle_seconds=0.5)
    assert found.images_per_second == 8
    assert found.run_seconds == 4_500
    assert found.describe().endswith("9,000 steps take about 1h 15m.")


@pytest.mark.parametrize(("steps", "words"), [(60, "30s"), (36_000, "5h 00m"), (864_000, "5d 0h")])
def test_long_runs_are_told_in_long_units(steps: int, words: str) -> None:
    config = make_config(Path(), "modern", "wgan-gp", **SMALL, steps=steps)
    assert words in Bench(config, "cpu", 0.5).describe()


def test_a_training_is_timed_and_nothing_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = bench(make_config(Path(), "article", "wgan-gp", **SMALL), rounds=1)
    assert found.cycle_seconds > 0
    assert list(tmp_path.iterdir()) == []


def test_the_command_gives_one_document() -> None:
    options = ["--resolution", "32", "--width", "4", "--batch", "4", "--device", "cpu"]
    result = CliRunner().invoke(app, ["bench", *options, "--critic", "plain", "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert set(document) == {"device", "cycle_seconds", "images_per_second", "run_seconds"}
    assert document["run_seconds"] == pytest.approx(FitConfig.steps * document["cycle_seconds"])
