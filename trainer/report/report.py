"""`trainer report`: what a run folder tells, gathered for one page. Reads only; a run may be going on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer import checkpoint
from trainer.config import FitConfig, make_config
from trainer.data.dataset import Dataset, load_dataset
from trainer.errors import TrainerError
from trainer.files import atomic_write
from trainer.history import read_history
from trainer.metadata import CheckpointError, Metadata, read_metadata
from trainer.report.page import Neighbour, Page, Snapshot, picture_uri, render
from trainer.training.runfolder import read_run_config

MOST_SNAPSHOTS = 60
SNAPSHOT_BYTES = 6_000_000
"""All grids together, before base64 makes them a third larger: the page is to stay below 10 MB."""
ENCODINGS = ((1024, 85), (1024, 70), (768, 75), (640, 65), (512, 55), (384, 45))
"""Pixels a side at most and JPEG quality, from the best down."""
SAMPLES = range(64)
"""Seeds whose pictures are compared with the photographs."""
NEIGHBOURS = 8


@dataclass(frozen=True)
class _Settings:
    config: FitConfig
    document: dict[str, Any]
    """As it stands in config.json."""


def write_report(run: Path, data: Path | None = None, *, device: str = "auto") -> Path:
    """Write RUN/report.html: one file that needs nothing else. Returns its path.

    `data` is where the photographs are, if not where the run found them; without them the page says so.
    Raises TrainerError where `run` is no run folder or nothing can be written there.
    """
    settings = _read_settings(run)
    named = {name: _metadata(run / "checkpoints" / f"{name}.safetensors") for name in ("best", "last")}
    neighbours = _neighbours(run, named, data or Path(settings.config.data), device)
    page = Page(
        name=run.resolve().name,
        config=settings.config,
        settings=settings.document,
        changed=_changed(settings),
        history=read_history(run / "metrics.jsonl"),
        best=named["best"],
        last=named["last"],
        photographs=_read_counts(run / "data_report.json"),
        snapshots=tuple(_snapshots(run / "samples")),
        neighbours=neighbours if isinstance(neighbours, tuple) else (),
        no_neighbours=neighbours if isinstance(neighbours, str) else "",
    )
    out = run / "report.html"
    # names whose bytes are no UTF-8 are shown escaped
    atomic_write(out, render(page).encode("utf-8", "backslashreplace"))
    return out


def _read_settings(run: Path) -> _Settings:
    config = read_run_config(run)
    return _Settings(config, json.loads((run / "config.json").read_text(encoding="utf-8")))


def _changed(settings: _Settings) -> frozenset[str]:
    """The settings that are other than what preset and objective bring at this resolution."""
    config = settings.config
    usual = make_config(Path(config.data), config.preset, config.objective, resolution=config.resolution)
    wanted = json.loads(json.dumps(usual.to_json())) | {"resolution": FitConfig.resolution}
    return frozenset(name for name, value in settings.document.items() if wanted.get(name, value) != value)


def _metadata(path: Path) -> Metadata | None:
    try:
        return read_metadata(path)
    except CheckpointError:
        return None


def _read_counts(path: Path) -> dict[str, int]:
    """How many photographs there are to train on, held out, left out; nothing where that is not known."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {
            "training": int(document["training"]),
            "held out": int(document["held_out"]),
            "left out": len(document["left_out"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


# --- snapshots ---


def _snapshots(folder: Path) -> list[Snapshot]:
    """The grids in the order of their steps, evenly thinned out, small enough together for one page."""
    found = sorted(folder.glob("step-*.png"))
    positions = np.linspace(0, len(found) - 1, min(MOST_SNAPSHOTS, len(found))).round().astype(int)
    sheets = [(path, sheet) for path in (found[i] for i in positions) if (sheet := _open(path)) is not None]
    if not sheets:
        return []
    size, quality = _encoding([sheet for _, sheet in sheets])
    return [Snapshot(_step_of(path), picture_uri(_within(sheet, size), quality)) for path, sheet in sheets]


def _open(path: Path) -> Image.Image | None:
    """None for what is no grid, or has gone in the meantime."""
    try:
        int(path.stem.removeprefix("step-"))
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError):
        return None


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _encoding(sheets: list[Image.Image]) -> tuple[int, int]:
    """The best encoding in which all sheets fit, judged by a few of them."""
    probes = sheets[:: max(1, len(sheets) // 4)]
    for size, quality in ENCODINGS:
        # base64: 4 characters for 3 bytes
        mean = sum(len(picture_uri(_within(sheet, size), quality)) for sheet in probes) * 0.75 / len(probes)
        if mean * len(sheets) <= SNAPSHOT_BYTES:
            break
    return size, quality


def _within(sheet: Image.Image, size: int) -> Image.Image:
    if max(sheet.size) <= size:
        return sheet
    share = size / max(sheet.size)
    return sheet.resize((round(sheet.width * share), round(sheet.height * share)), Image.Resampling.LANCZOS)


# --- neighbours ---


def _neighbours(
    run: Path, named: dict[str, Metadata | None], data: Path, device: str
) -> tuple[Neighbour, ...] | str:
    """The samples that resemble a training photograph most, or a sentence that says why there are none."""
    name, metadata = next(((name, found) for name, found in named.items() if found), ("", None))
    if metadata is None:
        return "No checkpoint has been written yet."
    try:
        dataset = load_dataset(data, metadata.resolution, progress=False)
        if dataset.fingerprint != metadata.data_fingerprint:
            return (
                f"{data} does not hold the photographs that this run was trained on: give them with --data."
            )
        return _nearest(run / "checkpoints" / f"{name}.safetensors", dataset, device)
    except TrainerError as error:
        return f"{error} (Where else the photographs are is said with --data.)"


def _nearest(path: Path, dataset: Dataset, device: str) -> tuple[Neighbour, ...]:
    from trainer.device import choose_device
    from trainer.metrics.features import FeatureNet
    from trainer.metrics.memorisation import nearest_pairs

    chosen = choose_device(device)
    fakes: NDArray[np.uint8] = checkpoint.load(path, str(chosen)).draw(SAMPLES)
    net = FeatureNet(chosen).standardise(dataset.training)
    # A mirrored copy is a copy.
    views = [net(fakes), net(fakes[:, :, ::-1])]
    pairs = nearest_pairs(views, net(dataset.training), net(dataset.held_out))
    return tuple(
        Neighbour(
            seed=SAMPLES[pair.fake],
            sample=fakes[pair.fake],
            training=dataset.training[pair.training],
            training_name=dataset.training_names[pair.training],
            held_out=dataset.held_out[pair.held_out],
            held_out_name=dataset.held_out_names[pair.held_out],
            ratio=pair.ratio,
        )
        for pair in sorted(pairs, key=lambda pair: pair.ratio)[:NEIGHBOURS]
    )
