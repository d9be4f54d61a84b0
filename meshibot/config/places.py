"""The files that settings are read from, found and understood: `.env` and `meshibot.toml`."""

import os
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_settings.sources import EnvSettingsSource

from meshibot.config.models import Settings, default_home
from meshibot.config.values import expanded, is_caption_file
from meshibot.errors import UsageError
from meshibot.layered import PREFIX

if TYPE_CHECKING:
    from dotenv.parser import Binding

DOTENV_NAME = ".env"
TOML_NAME = "meshibot.toml"
_NAMES = (DOTENV_NAME, TOML_NAME)
SECRETS = Path("/run/secrets")
"""Where containers find theirs."""


def read_credentials() -> tuple[Path | None, dict[str, str]]:
    """The settings in files, one each, that a service manager or a container hands over; where they are.

    `$CREDENTIALS_DIRECTORY` is systemd's, /run/secrets Docker's and Podman's. A file has the name of the
    variable, in whichever case; files of other programs are passed over. UsageError where the folder that was
    named is missing, or a file can't be read.
    """
    named = os.environ.get("CREDENTIALS_DIRECTORY")
    folder = Path(named) if named else SECRETS
    try:
        files = [file for file in sorted(folder.iterdir()) if file.name.upper().startswith(PREFIX)]
        values = {
            file.name.upper().removeprefix(PREFIX).lower(): file.read_text("utf-8").strip("\r\n")
            for file in files
            if file.is_file()
        }
    except OSError as error:
        if not named and not folder.is_dir():
            return None, {}
        raise UsageError(
            f"The credentials in {folder} can't be read ({error.strerror}): see LoadCredential= in the unit, "
            "or secrets in the compose file."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"A credential in {folder} is no text in UTF-8: write it anew.") from error
    return (folder, values) if values else (None, {})


@dataclass(frozen=True)
class Places:
    """The files that were found, and what is in them."""

    dotenv: Path | None
    toml_file: Path | None
    toml: Mapping[str, Any]
    credentials: Path | None = None
    """The folder with settings in files, where there are any."""
    handed: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What is in them."""
    passed_over: tuple[str, ...] = ()
    """Sentences about files that are there and are not read."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        return tuple(file for file in (self.dotenv, self.toml_file) if file is not None)

    @property
    def strays(self) -> bool:
        """Whether `meshibot.toml` is of the current folder, which may be anybody's, and `.env` is not."""
        if self.dotenv is None or self.toml_file is None:
            return False
        return not _same(self.dotenv.parent, self.toml_file.parent) and _same(
            self.toml_file.parent, Path.cwd()
        )

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
    dotenv = _existing(here / DOTENV_NAME)
    toml_file = _existing(here / TOML_NAME)
    toml = _read_toml(toml_file)
    credentials, handed = read_credentials()
    said = (EnvSettingsSource(Settings)(), handed, read_dotenv(dotenv), toml)
    home = _expanded(next((layer["home"] for layer in said if layer.get("home")), None) or default_home())
    passed_over = [
        f"{folder / name} is not read: it is a folder."
        for folder in ((here,) if _same(here, home) else (here, home))
        for name in _NAMES
        if _is_plain_folder(folder / name)
    ]
    passed_over += [
        f"{home / name} is not read, because there is one in the current folder: have only one."
        for name, file in zip(_NAMES, (dotenv, toml_file), strict=True)
        if file is not None and not _same(here, home) and _existing(home / name) is not None
    ]
    if dotenv is None:
        dotenv = _existing(home / DOTENV_NAME)
    if toml_file is None:
        toml_file = _existing(home / TOML_NAME)
        toml = _read_toml(toml_file)
    return Places(dotenv, toml_file, toml, credentials, handed, tuple(passed_over))


def _expanded(home: object) -> Path:
    """The home, before it is known to be a sound value."""
    with suppress(ValueError):  # told where the settings are put together
        return Path(expanded(str(home)))
    return Path(str(home))


def _existing(file: Path) -> Path | None:
    return file if os.path.isfile(file) else None  # noqa: PTH113 (Path.is_file raises without a right to look)


def _is_plain_folder(path: Path) -> bool:
    """A folder, such as a container makes of a file that is not there, and no virtual environment."""
    return os.path.isdir(path) and not os.path.exists(path / "pyvenv.cfg")  # noqa: PTH110, PTH112 (they never raise)


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def read_dotenv(file: Path | None) -> dict[str, str]:
    """Names without the prefix, in lower case, to values; UsageError where the file can't be read."""
    return {
        name.lower().removeprefix(PREFIX.lower()): value
        for name, value in _dotenv_values(file).items()
        if name.upper().startswith(PREFIX)
    }


def names_without_prefix(file: Path | None) -> tuple[str, ...]:
    """The names in `.env` that are not the bot's, as they are written."""
    return tuple(name for name in _dotenv_values(file) if not name.upper().startswith(PREFIX))


def cut_at_hash(file: Path | None) -> tuple[str, ...]:
    """The bot's names in `.env` whose values end at a ` #`, from which on the line is a comment."""
    if file is None:
        return ()
    return tuple(
        str(binding.key)
        for binding in _bindings(file)
        if (binding.key or "").upper().startswith(PREFIX)
        and re.search(r"=[^'\"\n]*\S\s+#", binding.original.string)
    )


def _dotenv_values(file: Path | None) -> dict[str, str]:
    if file is None:
        return {}
    from dotenv import dotenv_values

    _bindings(file)
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(_text(file))).items()}


def _bindings(file: Path) -> list["Binding"]:
    """The file's lines as they are understood; UsageError for one that is not."""
    from dotenv.parser import parse_stream

    bindings = list(parse_stream(StringIO(_text(file))))
    for binding in bindings:
        if binding.error:  # dotenv itself would go on without it; what it says may be a secret
            raise UsageError(
                f"Line {binding.original.line} of {file} can't be understood: write NAME=value, and close "
                "every quotation mark."
            )
    return bindings


def _text(file: Path) -> str:
    """Without the byte order mark that some editors write."""
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} can't be read: make it a readable text file in UTF-8.") from error


def _read_toml(file: Path | None) -> dict[str, Any]:
    """The document, its paths relative to the file's folder made absolute."""
    if file is None:
        return {}
    try:
        document = tomllib.loads(_text(file))
    except RecursionError:
        raise UsageError(f"{file} is not valid TOML: it is nested too deep.") from None
    except ValueError as error:
        # The decoder's message quotes at most a character, never a value.
        raise UsageError(f"{file} is not valid TOML: {error}.") from None
    accounts = document.get("accounts", {})
    tables = [document, *(accounts.values() if isinstance(accounts, dict) else ())]
    for table in tables:
        if isinstance(table, dict):
            _make_absolute(table, file.parent)
    return document


def _make_absolute(table: dict[str, Any], folder: Path) -> None:
    """What is a file or a folder is meant relative to the folder of `meshibot.toml`."""
    for name in ("home", "checkpoint", "run", "captions", "backup_folder"):
        said = table.get(name)
        if not isinstance(said, str) or said.startswith(("~", "$")):
            continue
        if name != "captions" or is_caption_file(said):
            table[name] = str(folder / said)
