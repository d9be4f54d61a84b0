"""The commands' groups, and the options that several of them have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from meshibot import __version__

app = typer.Typer(
    no_args_is_help=True,
    # Plain help: it fits 80 columns, names choices and defaults, and needs no rich.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Posts pictures of food that does not exist, on a schedule.",
)
stock_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The approved pictures that wait.")
db_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The database.")
slots_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The moments at which is posted.")
review_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What people said of pictures.")
app.add_typer(stock_app, name="stock")
app.add_typer(slots_app, name="slots")
app.add_typer(review_app, name="review")
app.add_typer(db_app, name="db")

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
AccountOption = Annotated[
    str | None, typer.Option("--account", metavar="NAME", help="Which account, where there are several.")
]
SlotArgument = Annotated[
    str, typer.Argument(metavar="SLOT", help="Its id, as in slots list, or its local time: 2026-11-27T23:00.")
]


class Because(StrEnum):
    """Why a picture is rejected."""

    ALIKE = "alike"
    NO_BOWL = "no-bowl"
    BLURRED = "blurred"
    OTHER = "other"


def _version(asked: bool) -> None:
    if asked:
        print(f"meshibot {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Posts pictures of food that does not exist, on a schedule."""
