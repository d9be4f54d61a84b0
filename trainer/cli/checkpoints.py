"""Commands on a checkpoint: drawing from it, judging it, saying what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from trainer.cli.apps import (
    CheckpointArgument,
    Command,
    DeviceOption,
    JsonOption,
    SeedOption,
    app,
    seed_in_range,
)
from trainer.cli.shared import load_torch, print_json, print_path, say
from trainer.errors import UsageError


@app.command(cls=Command)
def sample(
    checkpoint: CheckpointArgument,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures.")] = 16,
    grid: Annotated[Path | None, typer.Option(help="Also draw them on one sheet, a PNG.")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Draw pictures from a checkpoint, one PNG a seed."""
    if out is None and grid is None:
        raise UsageError("Say where the pictures go: --out FOLDER, --grid FILE.png, or both.")
    load_torch()

    from trainer.sample import write_samples

    names = write_samples(checkpoint, n, out, grid, seed, device)
    for name in names:
        print_path(name)


@app.command(cls=Command)
def inspect(
    checkpoint: CheckpointArgument,
    as_json: JsonOption = False,
) -> None:
    """Say what a checkpoint is: architecture, objective, steps, data, calibration, figures."""
    from trainer.metadata import fingerprint_of, read_metadata

    metadata = read_metadata(checkpoint)
    document = metadata.to_json()
    del document["least_reader"]  # of what would be written now
    document |= {"format_version": metadata.format_version, "fingerprint": fingerprint_of(checkpoint)}
    if as_json:
        print_json(document)
        return
    marks = metadata.score_quantiles
    document["training_hashes"] = f"{len(metadata.training_hashes)} perceptual hashes"
    document["score_quantiles"] = (
        f"{len(marks)}, from {marks[0]:.3f} over {metadata.score_at(0.5):.3f} to {marks[-1]:.3f}"
    )
    document["metrics"] = ", ".join(
        f"{name} {metric.value:.4g}" + (f" (floor {metric.floor:.4g})" if metric.floor is not None else "")
        for name, metric in metadata.metrics.items()
    )
    width = max(map(len, document))
    for name, value in document.items():
        typer.echo(f"{name:<{width}}  {_words(value)}")


def _words(value: Any) -> str:
    """A part of a document in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(part)}" for key, part in value.items())
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@app.command(cls=Command)
def evaluate(
    checkpoint: CheckpointArgument,
    data: Annotated[Path, typer.Option(help="Folder (or zip) of the photographs it was trained on.")],
    n: Annotated[int, typer.Option("--n", min=4, help="How many pictures are judged.")] = 512,
    seed: SeedOption = 0,
    fid: Annotated[
        bool, typer.Option("--fid", help="Also FID and KID on Inception features (fetches its weights once).")
    ] = False,
    pairs: Annotated[
        Path | None,
        typer.Option(help="A PNG of the pictures nearest to a training photograph, beside what is nearest."),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Judge a checkpoint's pictures against the photographs: each figure beside its floor."""
    load_torch()

    from trainer.evaluate import evaluate as judge

    report = judge(checkpoint, data, count=n, first_seed=seed, device=device, inception=fid, pairs=pairs)
    if as_json:
        print_json(report.to_json())
        return
    Console().print(report.table())
    for note in report.notes:
        say(note)


@app.command(cls=Command)
def morph(
    checkpoint: CheckpointArgument,
    out: Annotated[Path, typer.Option(help="The file: .gif or .mp4.")],
    seconds: Annotated[float, typer.Option(help="Length of the loop.")] = 12.0,
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 25.0,
    keyframes: Annotated[int, typer.Option(help="Pictures that are passed.")] = 8,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 512,
    seed: Annotated[
        int, typer.Option(callback=seed_in_range, help="Seed of the first candidate for a keyframe.")
    ] = 0,
    device: DeviceOption = "auto",
) -> None:
    """Walk between pictures of a high critic score: a loop without a seam, within X's limits."""
    load_torch()

    from trainer.morph import Plan
    from trainer.morph import morph as walk

    result = walk(checkpoint, out, Plan(seconds, fps, keyframes, size, seed), device=device, say=say)
    say(result.describe())
    print_path(result.path)
