"""The places where settings are found, and how what they say is put together.

`.env` and `meshibot.toml` are looked for in the current folder, then in the bot's home. Within each of the
three layers what is said for an account (`MESHIBOT_<ACCOUNT>_SCHEDULE`, `[accounts.<account>]`) beats what is
said for all. Whatever is wrong becomes one sentence that names the setting and what is allowed, never a
secret's value.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings.sources import DotEnvSettingsSource, EnvSettingsSource

from meshibot.config.models import (
    Account,
    Settings,
    account_fields,
    account_model,
    default_home,
    general_fields,
    passwords,
)
from meshibot.errors import UsageError
from meshibot.layered import PREFIX, Layered, variable

TOML_NAME = "meshibot.toml"
DEFAULT_ACCOUNT = "main"

_NOT_SETTINGS = {"crash_at"}  # read by meshibot.crashpoints, for tests

Model = TypeVar("Model", bound=Layered)


@dataclass(frozen=True)
class _Layer:
    """One place with settings: its values by field, and how a field is called there."""

    values: Mapping[str, Any]
    called: Callable[[str], str]


@dataclass(frozen=True)
class _Places:
    """The files that were found, and what is in them."""

    dotenv: Path | None
    toml_file: Path | None
    toml: Mapping[str, Any]

    @property
    def toml_accounts(self) -> Mapping[str, Mapping[str, Any]]:
        accounts: Mapping[str, Mapping[str, Any]] = self.toml.get("accounts", {})
        return accounts


def load_settings() -> Settings:
    """Read every layer. Raises UsageError with one sentence about the first thing that is wrong."""
    places = _find_places()
    _check_toml(places)
    names = tuple(places.toml_accounts) or (DEFAULT_ACCOUNT,)
    unknown = _check_names(places, names)
    general = [
        _Layer(_environment(Settings), variable),
        _Layer(_dotenv(Settings, places.dotenv), _in_dotenv),
        _Layer(_without_tables(places.toml), _in_toml),
    ]
    accounts = tuple(_account(name, places, sole=len(names) == 1) for name in names)
    return _build(Settings, general, {"accounts": accounts, "warnings": unknown})


def _account(name: str, places: _Places, *, sole: bool) -> Account:
    """One account from its own and the general values of each layer, nearest first."""
    model = account_model()
    own = variable("", name)
    # With several accounts a token that names no account must not post for each of them.
    left_out = () if sole else model.fields_of_one_account()

    def general(values: Mapping[str, Any]) -> dict[str, Any]:
        return {field: value for field, value in values.items() if field not in left_out}

    layers = [
        _Layer(_environment(model, own), lambda field: variable(field, name)),
        _Layer(general(_environment(model)), variable),
        _Layer(_dotenv(model, places.dotenv, own), lambda field: f"{variable(field, name)} in .env"),
        _Layer(general(_dotenv(model, places.dotenv)), _in_dotenv),
        _Layer(
            places.toml_accounts.get(name, {}), lambda field: f"{field} of [accounts.{name}] in {TOML_NAME}"
        ),
        _Layer(_without_tables(places.toml), _in_toml),
    ]
    return _build(model, layers, {"name": name, "sole": sole})


def _in_dotenv(field: str) -> str:
    return f"{variable(field)} in .env"


def _in_toml(field: str) -> str:
    return f"{field} in {TOML_NAME}"


def _environment(settings: type[Layered], prefix: str = PREFIX) -> dict[str, Any]:
    return EnvSettingsSource(settings, env_prefix=prefix)()


def _dotenv(settings: type[Layered], file: Path | None, prefix: str = PREFIX) -> dict[str, Any]:
    source = DotEnvSettingsSource(
        settings,
        env_file=file,
        env_file_encoding="utf-8",
        dotenv_filtering="only_existing",
        env_prefix=prefix,
    )
    return source()


def _without_tables(toml: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in toml.items() if key != "accounts"}


def _build(kind: type[Model], layers: list[_Layer], given: dict[str, Any]) -> Model:
    """Put the layers together, the first one on top, and check the outcome."""
    values: dict[str, Any] = {}
    called: dict[str, str] = {}
    for layer in reversed(layers):
        known = {field: value for field, value in layer.values.items() if field in kind.model_fields}
        values |= known
        called |= {field: layer.called(field) for field in known}
    try:
        return kind(**(values | given))
    except ValidationError as error:
        field = str(error.errors(include_input=False, include_context=False, include_url=False)[0]["loc"][0])
        raise UsageError(_wrong(kind, field, called.get(field, field), values.get(field))) from None


def _wrong(kind: type[Layered], field: str, called: str, value: object) -> str:
    description = kind.model_fields[field].description
    is_what = "can't be used" if field in kind.secret_fields() else f"is {_shortened(value)}"
    return f"{called} {is_what}: set it to {description}."


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _find_places() -> _Places:
    """`.env` and `meshibot.toml`, each from the current folder or else from the home that is then known."""
    here = Path.cwd()
    dotenv = _existing(here / ".env")
    toml_file = _existing(here / TOML_NAME)
    toml = _read_toml(toml_file)
    home = _environment(Settings).get("home") or _dotenv_home(dotenv) or toml.get("home") or default_home()
    if dotenv is None:
        dotenv = _existing(_expanded(home) / ".env")
        _read_dotenv(dotenv)
    if toml_file is None:
        toml_file = _existing(_expanded(home) / TOML_NAME)
        toml = _read_toml(toml_file)
    return _Places(dotenv, toml_file, toml)


def _dotenv_home(dotenv: Path | None) -> str | None:
    return _read_dotenv(dotenv).get("home")


def _expanded(home: object) -> Path:
    """The home, before it is known to be a sound value."""
    return Path(os.path.expanduser(str(home)))  # noqa: PTH111 (Path.expanduser raises for an unknown user)


def _existing(file: Path) -> Path | None:
    return file if os.path.isfile(file) else None  # noqa: PTH113 (Path.is_file raises without a right to look)


def _read_dotenv(file: Path | None) -> dict[str, str]:
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


def _check_toml(places: _Places) -> None:
    """Refuse secrets, and accounts that are not tables or have names that the environment can't spell."""
    accounts = places.toml.get("accounts", {})
    if not isinstance(accounts, dict) or not all(isinstance(table, dict) for table in accounts.values()):
        raise UsageError(
            f"accounts in {TOML_NAME} are tables: write [accounts.NAME] and its settings below it."
        )
    for table in (places.toml, *accounts.values()):
        for field in account_model().secret_fields():
            if field in table:
                raise UsageError(
                    f"{places.toml_file} holds a secret ({field}): move it to .env or the environment, "
                    "and make it anew at the network if the file was shared."
                )
    if any(passwords(str(places.toml.get("database_url", "")))):
        raise UsageError(
            f"{places.toml_file} holds a secret (the password in database_url): move it to .env or the "
            "environment, as MESHIBOT_DATABASE_URL."
        )
    spellings: dict[str, str] = {}
    for name in accounts:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,49}", name):
            raise UsageError(
                f"The account name {_shortened(name)} in {TOML_NAME} can't be used: take lower-case letters, "
                "digits, - and _."
            )
        if (other := spellings.setdefault(variable("", name), name)) != name:
            raise UsageError(
                f"The accounts {other} and {name} in {TOML_NAME} are spelled the same in the environment: "
                "rename one."
            )


def _check_names(places: _Places, accounts: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse unknown names in the files; those in the environment, which others share, become warnings."""
    of_account = account_fields()
    fields = (*general_fields(), *of_account)
    variables = {
        *map(variable, fields),
        *(variable(field, name) for name in accounts for field in of_account),
    }
    allowed = variables | set(map(variable, _NOT_SETTINGS))
    for name in map(variable, _read_dotenv(places.dotenv)):
        if name not in allowed:
            raise UsageError(_unknown(name, f"in {places.dotenv}", variables))
    for name in _without_tables(places.toml):
        if name not in fields:
            raise UsageError(_unknown(name, f"in {places.toml_file}", fields))
    for account, table in places.toml_accounts.items():
        for name in table:
            if name not in of_account:
                where = f"of [accounts.{account}] in {places.toml_file}"
                raise UsageError(_unknown(name, where, of_account))
    return tuple(
        _unknown(name, "in the environment", variables)
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name.upper() not in allowed
    )


def _unknown(name: str, where: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"did you mean {close[0]}?" if close else "see .env.example for those that there are."
    return f"{name} {where} is no setting: {hint}"
