"""The files that settings are read from, found and understood: `.env` and `meshibot.toml`."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from pydantic_settings.sources import EnvSettingsSource

from meshibot.config.models import Settings, default_home
from meshibot.errors import UsageError
from meshibot.layered import PREFIX

TOML_NAME = "meshibot.toml"


@dataclass(frozen=True)
class Places:
    """The files that were found, and what is in them."""

    dotenv: Path | None
    toml_file: Path | None
    toml: Mapping[str, Any]

    @property
    def toml_general(self) -> Mapping[str, Any]:
        """What `meshibot.toml` says for all accounts."""
        return {key: value for key, value in self.toml.items() if key != "accounts"}

    @property
    def toml_accounts(self) -> Mapping[str, Mapping[str, Any]]:
        """What it says for each, by name."""
        accounts: Mapping[str, Mapping[str, Any]] = self.toml.get("accounts", {})
        return accounts


def find_places() -> Places:
    """`.env` and `meshibot.toml`, each from the current folder or else from the home that is then known."""
    here = Path.cwd()
    dotenv = _existing(here / ".env")
    toml_file = _existing(here / TOML_NAME)
    toml = _read_toml(toml_file)
    said = (EnvSettingsSource(Settings)(), read_dotenv(dotenv), toml)
    home = next((layer["home"] for layer in said if layer.get("home")), None) or default_home()
    if dotenv is None:
        dotenv = _existing(_expanded(home) / ".env")
        read_dotenv(dotenv)
    if toml_file is None:
        toml_file = _existing(_expanded(home) / TOML_NAME)
        toml = _read_toml(toml_file)
    return Places(dotenv, toml_file, toml)


def _expanded(home: object) -> Path:
    """The home, before it is known to be a sound value."""
    return Path(os.path.expanduser(str(home)))  # noqa: PTH111 (Path.expanduser raises for an unknown user)


def _existing(file: Path) -> Path | None:
    return file if os.path.isfile(file) else None  # noqa: PTH113 (Path.is_file raises without a right to look)


def read_dotenv(file: Path | None) -> dict[str, str]:
    """Names without the prefix, in lower case, to values; UsageError where the file can't be read."""
    if file is None:
        return {}
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} can't be read: make it a readable text file in UTF-8.") from error
    for binding in parse_stream(StringIO(text)):
        if binding.error:  # dotenv itself would go on without it; what it says may be a secret
            raise UsageError(
                f"Line {binding.original.line} of {file} can't be understood: write NAME=value, and close "
                "every quotation mark."
            )
    found = dotenv_values(stream=StringIO(text))
    return {
        name.lower().removeprefix(PREFIX.lower()): value or ""
        for name, value in found.items()
        if name.upper().startswith(PREFIX)
    }


def _read_toml(file: Path | None) -> dict[str, Any]:
    """The document, its paths relative to the file's folder made absolute."""
    if file is None:
        return {}
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}.") from error
    except ValueError as error:
        # The decoder's message quotes at most a character, never a value.
        raise UsageError(f"{file} is not valid TOML: {error}.") from None
    for name in ("home", "checkpoint"):
        if isinstance(document.get(name), str) and not document[name].startswith("~"):
            document[name] = str(file.parent / document[name])
    return document
