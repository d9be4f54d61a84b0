"""What the commands say, print and load."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

PEOPLE = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """A line for people; of several processes of one run only the first speaks."""
    if os.environ.get("RANK", "0") == "0":
        PEOPLE.print(text, markup=False)


def print_json(document: Any) -> None:
    """In UTF-8, as JSON is; what is none in a path becomes JSON's own escapes."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def print_path(path: Path) -> None:
    """On standard output, also where its bytes are no UTF-8."""
    typer.echo(os.fsencode(path))


def load_torch() -> None:
    """Import torch, with Ctrl-C ending the process at once: half imported, torch makes other errors of it."""
    before = signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))
    try:
        import torch  # noqa: F401
    finally:
        signal.signal(signal.SIGINT, before)
