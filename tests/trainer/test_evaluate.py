"""Evaluation of a small checkpoint against a folder of small photographs."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.checkpoints import make_checkpoint
from tests.trainer.photographs import fill_folder
from trainer import checkpoint
from trainer.data import parts
from trainer.data.dataset import load_dataset
from trainer.errors import TrainerError, UsageError
from trainer.evaluate import EvaluationReport, evaluate
from trainer.metadata import CheckpointError, fingerprint_of
from trainer.pictures import to_uint8


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("evaluate")
    fill_folder(place / "photographs", range(170))
    make_checkpoint(place / "made.safetensors")
    return place


@pytest.fixture(scope="module")
def report(place: Path) -> EvaluationReport:
    return evaluate(
        place / "made.safetensors", place / "photographs", count=32, device="cpu", cache=place / "cache"
    )


def test_json_is_whole(report: EvaluationReport, place: Path) -> None:
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["fingerprint"] == fingerprint_of(place / "made.safetensors")
    assert document["fakes"] == 32
    assert len(document["features_sha256"]) == 64
    assert {"swd", "colour", "kid", "precision", "memorisation", "critic_gap", "r_v"} <= set(
        document["metrics"]
    )
    for metric in document["metrics"].values():
        assert set(metric) == {"value", "floor", "better"}
    dataset = load_dataset(place / "photographs", 32, cache=place / "cache")
    for pair in document["closest"]:
        assert 0 <= pair["seed"] < 32
        assert pair["training"] in dataset.training_names
        assert pair["held_out"] in dataset.held_out_names
    ratios = [pair["ratio"] for pair in document["closest"]]
    assert ratios == sorted(ratios)


def test_random_weights_are_judged_badly(report: EvaluationReport) -> None:
    figures = report.metrics
    assert figures["kid"].value > 2 * (figures["kid"].floor or 0)
    assert figures["nearest_neighbour"].value > 0.75
    assert figures["recall"].value < 0.5 * (figures["recall"].floor or 0)


def test_the_same_again_and_with_the_closest_pairs_drawn(report: EvaluationReport, place: Path) -> None:
    sheet = place / "pairs.png"
    again = evaluate(
        place / "made.safetensors",
        place / "photographs",
        count=32,
        pairs=sheet,
        device="cpu",
        cache=place / "cache",
    )
    assert again == report

    # the closest pairs drawn side by side, the most suspicious first
    dataset = load_dataset(place / "photographs", 32, cache=place / "cache")
    first = report.closest[0]
    with Image.open(sheet) as drawn:
        pixels = np.asarray(drawn)
    sample, training, held_out = (pixels[2:34, left : left + 32] for left in (2, 36, 70))
    made = checkpoint.load(place / "made.safetensors").sample([first.seed])
    assert np.array_equal(sample, to_uint8(made)[0])
    assert np.array_equal(training, dataset.training[dataset.training_names.index(first.training)])
    assert np.array_equal(held_out, dataset.held_out[dataset.held_out_names.index(first.held_out)])


def test_table_has_value_floor_and_direction(report: EvaluationReport) -> None:
    output = io.StringIO()
    Console(file=output, width=140).print(report.table())
    text = output.getvalue()
    assert "near 0.5" in text
    assert "lower" in text
    for name in report.metrics:
        assert name in text


def test_says_that_the_photographs_are_others(report: EvaluationReport) -> None:
    assert any("not the photographs" in note for note in report.notes)
    assert any("a side" in note for note in report.notes)


def test_it_is_said_which_photographs_judge(
    report: EvaluationReport, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a checkpoint of these photographs was chosen and calibrated by others, these alone; else all,
    with a word."""
    assert any("may have chosen the checkpoint" in note for note in report.notes)
    monkeypatch.setattr(parts, "LEAST", 4)
    loaded = checkpoint.load(place / "made.safetensors")
    dataset = load_dataset(place / "photographs", 32, cache=place / "cache")
    apart = replace(loaded.metadata, data_fingerprint=dataset.fingerprint, held_out_apart=True)
    checkpoint.save(
        place / "apart.safetensors",
        loaded.generator,
        loaded.critic,
        loaded.vision,
        loaded.photographs,
        apart,
    )
    found = evaluate(
        place / "apart.safetensors", place / "photographs", count=8, device="cpu", cache=place / "cache"
    )
    own = [dataset.held_out_names[row] for row in parts.parts_of(len(dataset.held_out)).judging]
    assert found.held_out == len(own) < report.held_out == len(dataset.held_out)
    assert {pair.held_out for pair in found.closest} <= set(own)
    assert any(f"against {len(own)} held-out photographs that neither" in note for note in found.notes)
    assert not any("not the photographs" in note for note in found.notes)


def test_refusals(place: Path, tmp_path: Path) -> None:
    made = place / "made.safetensors"
    fill_folder(tmp_path / "few", range(5))
    with pytest.raises(TrainerError, match="held-out photographs"):
        evaluate(made, tmp_path / "few", device="cpu", cache=tmp_path / "cache")
    with pytest.raises(TrainerError, match="at least 4 pictures"):
        evaluate(made, place / "photographs", count=2, device="cpu", cache=place / "cache")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        evaluate(tmp_path / "none.safetensors", place / "photographs")
    with pytest.raises(UsageError):
        evaluate(made, tmp_path / "nowhere", device="cpu", cache=tmp_path / "cache")
