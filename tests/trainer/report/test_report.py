"""The report of a run: complete, self-contained, small enough, and made while a run goes on."""

import base64
import hashlib
import html
import io
import json
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.checkpoints import make_checkpoint
from tests.drawings import bowls
from tests.trainer.photographs import fill_folder
from trainer import checkpoint
from trainer.config import make_config
from trainer.data.dataset import load_dataset
from trainer.data.dataset import write_report as write_data_report
from trainer.errors import TrainerError
from trainer.grids import contact_sheet, write_png
from trainer.metrics.metric import Metric
from trainer.report.report import MOST_SNAPSHOTS, write_report

REASON = "the <critic> & its penalty exploded"


def lines(steps: Iterable[int]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for step in steps:
        tick = {"images": step * 4, "seconds": 60.0, "images_per_s": 9.0, "generator_loss": 0.5}
        losses = {"critic_loss": -1.0, "wasserstein": 2.0, "penalty": 1.0 / step}
        sides = {
            f"{side}_{name}": value for side in ("training", "held_out") for name, value in losses.items()
        }
        found.append({"kind": "tick", "step": step, **tick, **losses})
        found.append({"kind": "evaluation", "step": step, **sides, "separation": 1.5, "gap": 0.1})
        found.append({"kind": "figures", "step": step, "swd": 90.0, "kid": 5.0 / step, "diversity": 0.9})
    return found


def write_lines(run: Path, records: Iterable[dict[str, Any]]) -> None:
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has only begun."""
    run = tmp_path / "a <run>"
    run.mkdir()
    config = make_config(tmp_path / "photographs", "modern", "wgan-gp", resolution=32, steps=100, width=8)
    (run / "config.json").write_text(json.dumps(config.to_json()))
    return run


@pytest.fixture
def full(run: Path, tmp_path: Path) -> Path:
    """A run with everything in it: evaluations, a step back, grids, checkpoints, photographs."""
    fill_folder(tmp_path / "photographs", range(40))
    dataset = load_dataset(tmp_path / "photographs", 32)
    write_data_report(dataset, run / "data_report.json")
    back = {"kind": "guard", "step": 40, "decision": "go back", "sign": "x", "reason": REASON, "to_step": 20}
    write_lines(run, [*lines((10, 20, 30, 40)), back, *lines((30, 40))])
    made = checkpoint.load(make_checkpoint(tmp_path / "made.safetensors"))
    metadata = replace(
        made.metadata,
        step=20,
        data_fingerprint=dataset.fingerprint,
        metrics={"kid": Metric(0.25, 0.125), "swd": Metric(90.0, 11.0)},
    )
    for name, metrics in (("best", metadata.metrics), ("last", {})):
        checkpoint.save(
            run / "checkpoints" / f"{name}.safetensors",
            made.generator,
            made.critic,
            made.vision,
            made.photographs,
            replace(metadata, metrics=metrics, step=20 if name == "best" else 40),
        )
    for step in (0, 20, 40):
        write_png(run / "samples" / f"step-{step:08d}.png", contact_sheet(bowls(4, 32, first=step)))
    return run


def page_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    document: dict[str, Any] = json.loads(found[1])
    return document


class _Reader(HTMLParser):
    """Checks that what is opened is closed, and collects addresses and ids."""

    VOID = frozenset({"meta", "img", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.pictures_without_alt = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [values[name] or "" for name in ("src", "href") if name in values]
        self.ids += [values["id"] or ""] if "id" in values else []
        self.pictures_without_alt += tag == "img" and not values.get("alt")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """SVG's elements that are closed at once."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_needs_nothing_else(full: Path) -> None:
    page = page_of(write_report(full, device="cpu"))
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert reader.addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in reader.addresses)
    assert len(set(reader.ids)) == len(reader.ids)
    assert reader.pictures_without_alt == 0
    assert "http://" not in page
    assert "https://" not in page


def test_the_browser_may_run_this_script_and_no_other(full: Path) -> None:
    page = page_of(write_report(full, device="cpu"))
    script = page.rsplit("<script>", 1)[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


def test_curves_figures_floors_and_the_guard(full: Path) -> None:
    page = page_of(write_report(full, device="cpu"))
    document = data_of(page)
    series = {one["name"] for chart in document["charts"] for one in chart}
    assert {"every tick", "training", "held out", "pictures"} <= series
    assert page.count('role="img"') == len(document["charts"])
    for words in ("Critic loss", "Wasserstein estimate", "Gradient penalty", "kid", "diversity", "多様性"):
        assert words in page
    assert "floor 0.125" in page
    assert page.count('<line class="floor"') == 2
    assert "abandoned" in page
    assert page.count('<line class="mark guard"') == len(document["charts"])
    assert html.escape(REASON) in page
    assert REASON not in page
    assert "go back to step 20" in page
    assert document["last"] == 40


def test_a_critic_with_several_heads_has_a_line_for_each(run: Path) -> None:
    heads = ("picture", "stride2", "stride32")

    def several(name: str, step: int) -> dict[str, float]:
        return {f"{name}.{head}": index + 1 / step for index, head in enumerate(heads)}

    write_lines(
        run,
        [
            {"kind": "tick", "step": step, **several("wasserstein", step), **several("penalty", step)}
            for step in (10, 20)
        ]
        + [{"kind": "evaluation", "step": 20, **several("gap", 20), **several("separation", 20)}],
    )
    page = page_of(write_report(run))
    assert "批評器のヘッド別" in page
    drawn = data_of(page)["charts"]
    assert [[series["name"] for series in chart] for chart in drawn] == [list(heads)] * 4
    assert drawn[0][2]["points"] == [[10, 2.1], [20, 2.05]]
    assert page.count('<polyline class="head-2"') == 2
    assert page.count('<circle class="head-2"') == 2
    write_lines(run, lines((10, 20)))
    assert "批評器のヘッド別" not in page_of(write_report(run)), "a plain critic has one head"


def test_snapshots_are_those_of_the_run(full: Path) -> None:
    snapshots = data_of(page_of(write_report(full, device="cpu")))["snapshots"]
    assert [snapshot["step"] for snapshot in snapshots] == [0, 20, 40]
    encoded = base64.b64decode(snapshots[-1]["src"].partition(",")[2])
    with Image.open(io.BytesIO(encoded)) as shown, Image.open(full / "samples" / "step-00000040.png") as grid:
        assert shown.size == grid.size
        apart = np.abs(np.asarray(shown, dtype=float) - np.asarray(grid, dtype=float)).mean()
    assert apart < 8


def test_many_large_snapshots_are_thinned_out_and_reduced(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.report.report.SNAPSHOT_BYTES", 400_000)
    (run / "samples").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(run / "samples" / "step-00000000.png", compress_level=1)
    for step in range(1, 90):
        (run / "samples" / f"step-{step:08d}.png").hardlink_to(run / "samples" / "step-00000000.png")
    (run / "samples" / "step-00000090.png").write_bytes(b"\x89PNG cut short")
    (run / "samples" / "step-by-step.png").write_bytes(b"")
    out = write_report(run)
    steps = [snapshot["step"] for snapshot in data_of(page_of(out))["snapshots"]]
    assert steps[0] == 0
    assert MOST_SNAPSHOTS - 2 <= len(steps) <= MOST_SNAPSHOTS
    assert steps == sorted(steps)
    whole = len(base64.b64encode(noise.tobytes())) * len(steps)
    assert out.stat().st_size < whole / 10


def test_neighbours_are_named(full: Path, tmp_path: Path) -> None:
    page = page_of(write_report(full, device="cpu"))
    assert "Nearest photographs" in page
    names = set(load_dataset(tmp_path / "photographs", 32).training_names)
    assert any(f"<b>training</b><br>{name}" in page for name in names)
    assert page.count('<img src="data:image/jpeg') == 3 * 8


def test_photographs_that_have_moved(full: Path, tmp_path: Path) -> None:
    (tmp_path / "photographs").rename(tmp_path / "elsewhere")
    assert "--data" in page_of(write_report(full, device="cpu"))
    assert "<b>training</b>" in page_of(write_report(full, tmp_path / "elsewhere", device="cpu"))
    fill_folder(tmp_path / "others", range(100, 120))
    assert "does not hold the photographs" in page_of(write_report(full, tmp_path / "others", device="cpu"))


def test_a_run_that_has_only_begun(run: Path) -> None:
    page = page_of(write_report(run))
    assert "Nothing recorded yet" in page
    assert "No snapshot yet" in page
    assert "No checkpoint has been written yet" in page
    assert data_of(page)["charts"] == []
    assert "a &lt;run&gt;" in page


def test_while_a_line_and_a_checkpoint_are_being_written(full: Path) -> None:
    with (full / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tick", "step": 50, "crit')
    (full / "checkpoints" / "last.safetensors").write_bytes(b"\0" * 20)
    page = page_of(write_report(full, device="cpu"))
    assert "floor 0.125" in page


def test_changes_nothing_else(full: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in full.rglob("*") if path.is_file()}

    before = contents()
    out = write_report(full, device="cpu")
    after = contents()
    assert after.pop(out)
    assert after == before


def test_a_run_whose_name_is_no_utf8(run: Path) -> None:
    moved = run.with_name(os.fsdecode(b"run-\x83\x89"))
    run.rename(moved)
    assert "run-\\udc83\\udc89" in page_of(write_report(moved))


def test_settings_other_than_the_preset_s(run: Path) -> None:
    page = page_of(write_report(run))
    assert '<tr class="changed"><th>channels</th>' in page
    assert '<tr class="changed"><th>resolution</th>' in page
    for usual in ("batch", "latent_size", "generator"):
        assert f"<tr><th>{usual}</th>" in page
    assert "[8, 8, 8, 8]" in page


def test_what_is_no_run(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(TrainerError, match="not a run folder"):
            write_report(folder)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(TrainerError, match="not a run folder"):
        write_report(tmp_path)
