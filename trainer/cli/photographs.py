"""The command on photographs, before a training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.apps import Command, app
from trainer.cli.shared import load_torch, say


@app.command(cls=Command)
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder or zip of photographs as they were found.")],
    out: Annotated[Path, typer.Option(help="New folder for the squares, or a .zip.")],
    resolution: Annotated[int, typer.Option(min=32, help="Pixels a side, at most.")] = 256,
    keep: Annotated[
        float,
        typer.Option(
            help="Share of the photographs to keep, such as 0.85: the least typical are left out, by what a "
            "pretrained network sees."
        ),
    ] = 1.0,
) -> None:
    """Check, turn upright, crop and deduplicate photographs; leaves a page of what was left out and why."""
    from trainer.prepare.prepare import prepare as prepare_photographs

    if keep != 1:
        load_torch()
    report = prepare_photographs(source, out, resolution=resolution, keep=keep)
    say(report.describe())
