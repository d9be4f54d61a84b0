"""The program with its commands, and the options that several of them have."""

from __future__ import annotations

from importlib import metadata as packages
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """Flags are shown without a type: there is nothing to give them."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_bare(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_bare(super().get_params(ctx))


def _flags_bare(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learns a folder of photographs with WGAN-GP and writes a checkpoint that meshibot samples.",
)


def _version(asked: bool) -> None:
    if asked:
        try:
            print(f"trainer {packages.version('meshibot')}")
        except packages.PackageNotFoundError:
            print("trainer (a checkout that is not installed)")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """What stands before a command."""


def seed_in_range(value: int | None) -> int | None:
    """The bot's own seeds have 62 bits, so that each of its pictures can be drawn again by hand."""
    if value is not None and not 0 <= value < 2**62:
        raise typer.BadParameter("a seed is a whole number from 0 to 2⁶² − 1.")
    return value


CheckpointArgument = Annotated[Path, typer.Argument(help="A .safetensors file made by fit.")]
SeedOption = Annotated[
    int,
    typer.Option(callback=seed_in_range, help="Seed of the first picture; the next has the next."),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, or mps (Apple's GPUs; untried).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
