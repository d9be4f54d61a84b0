"""Writes `.env` and `meshibot.toml`. What is there is never overwritten: a `.new` beside it has both."""

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshibot.config.models import secret_names
from meshibot.config.places import DOTENV_NAME, TOML_NAME
from meshibot.errors import MeshibotError, UsageError
from meshibot.layered import variable

PRIVATE = 0o600


@dataclass(frozen=True)
class Texts:
    """What the two files are to hold."""

    dotenv: str
    toml: str


def texts(account: str, answers: Mapping[str, str], folder: Path) -> Texts:
    """The files with one account more than those in `folder`. UsageError where it is there already."""
    hidden = {name: value for name, value in answers.items() if name in secret_names()}
    shown = {name: value for name, value in answers.items() if name not in hidden}
    return Texts(_dotenv(account, hidden, folder / DOTENV_NAME), _toml(account, shown, folder / TOML_NAME))


def _toml(account: str, shown: Mapping[str, str], file: Path) -> str:
    there = _read(file)
    if re.search(rf"^\s*\[accounts\.(?:{re.escape(account)}|\"{re.escape(account)}\")\]", there, re.M):
        raise UsageError(f"{file} has an account {account} already: choose another --account, or edit it.")
    # a basic string of TOML is written as one of JSON
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in shown.items()]
    return (
        "\n".join(
            filter(None, (there.rstrip(), "" if not there else " ", f"[accounts.{account}]", *lines))
        ).replace("\n \n", "\n\n")
        + "\n"
    )


def _dotenv(account: str, hidden: Mapping[str, str], file: Path) -> str:
    there = _read(file)
    for name in hidden:
        if re.search(rf"^\s*(export\s+)?{variable(name, account)}\s*=", there, re.M):
            raise UsageError(
                f"{file} has {variable(name, account)} already: choose another --account, or take it out."
            )
    lines = [f"{variable(name, account)}={_quoted(value)}" for name, value in hidden.items()]
    if not lines:
        return there
    return "\n".join([*([there.rstrip(), ""] if there else []), *lines]) + "\n"


def _quoted(value: str) -> str:
    """As dotenv reads it back: in single quotes, where only those and backslashes mean something."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} can't be read: make it a readable text file in UTF-8.") from error


def write(folder: Path, wanted: Texts) -> list[Path]:
    """Write the files, readable by nobody else; where one is there, a `.new`. What was written."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in ((DOTENV_NAME, wanted.dotenv), (TOML_NAME, wanted.toml)):
            place = folder / name
            if not text or _read(place) == text:
                continue
            if place.exists():
                place = place.with_name(f"{name}.new")
            _write(place, text)
            written.append(place)
    except OSError as error:
        raise MeshibotError(
            f"{error.filename or folder} can't be written ({error.strerror}): make the folder writable, or "
            "name another one with --into."
        ) from error
    return written


def _write(place: Path, text: str) -> None:
    """At no moment can somebody else read it."""
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w", encoding="utf-8"
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
