"""What the places say, put together: the nearest layer that has a value counts.

`.env` and `meshibot.toml` are looked for in the current folder, then in the bot's home. Within each of the
three layers what is said for an account (`MESHIBOT_<ACCOUNT>_SCHEDULE`, `[accounts.<account>]`) beats what is
said for all. Whatever is wrong becomes one sentence that names the setting and what is allowed, never a
secret's value.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings.sources import DotEnvSettingsSource, EnvSettingsSource

from meshibot.config.cautions import cautions, readable_secrets, without_effect
from meshibot.config.models import (
    Account,
    Settings,
    account_fields,
    account_model,
    general_fields,
    passwords,
    secret_names,
)
from meshibot.config.places import TOML_NAME, Places, find_places, read_dotenv
from meshibot.errors import UsageError
from meshibot.layered import PREFIX, Layered, variable

DEFAULT_ACCOUNT = "main"

_LONE_HALF = re.compile("[\ud800-\udfff]")
"""What Python makes of a byte that belongs to no character."""

_NOT_SETTINGS = {"accounts", "crash_at"}  # read here, and by meshibot.crashpoints for tests

Model = TypeVar("Model", bound=Layered)


@dataclass(frozen=True)
class _Layer:
    """One place with settings: its values by field, and how a field is called there."""

    place: str
    values: Mapping[str, Any]
    called: Callable[[str], str]

    def without(self, fields: Iterable[str]) -> "_Layer":
        """The same place, where these say nothing."""
        left = {field: value for field, value in self.values.items() if field not in fields}
        return _Layer(self.place, left, self.called)


def load_settings() -> Settings:
    """Read every layer. Raises UsageError with one sentence about the first thing that is wrong."""
    places = find_places()
    _check_toml(places)
    _check_bytes()
    names = tuple(dict.fromkeys((*places.toml_accounts, *_named(places)))) or (DEFAULT_ACCOUNT,)
    _check_spelling(names)
    unknown = _check_names(places, names)
    accounts = tuple(_account(name, places, sole=len(names) == 1) for name in names)
    _check_groups(accounts)
    given = {
        "accounts": accounts,
        "warnings": (*unknown, *without_effect(places)),
        "cautions": (*readable_secrets(places), *(said for each in accounts for said in cautions(each))),
        "files": places.files,
    }
    return _build(Settings, _layers(Settings, places), given)


def _account(name: str, places: Places, *, sole: bool) -> Account:
    """One account from its own and the general values of each layer, nearest first."""
    model = account_model()
    # With several accounts a token that names no account must not post for each of them.
    left_out = () if sole else model.fields_of_one_account()
    own = _layers(model, places, name)
    general = [layer.without(left_out) for layer in _layers(model, places)]
    layers = [layer for pair in zip(own, general, strict=True) for layer in pair]
    return _build(model, layers, {"name": name, "sole": sole})


def _layers(model: type[Layered], places: Places, account: str | None = None) -> list[_Layer]:
    """What environment, credentials, `.env` and `meshibot.toml` say for all accounts, or for one of them."""
    prefix = variable("", account)
    environment = EnvSettingsSource(model, env_prefix=prefix)
    dotenv = DotEnvSettingsSource(
        model,
        env_file=places.dotenv,
        env_file_encoding="utf-8-sig",
        dotenv_filtering="only_existing",
        env_prefix=prefix,
    )
    toml = places.toml_accounts.get(account, {}) if account else places.toml_general
    where = f"of [accounts.{account}] in" if account else "in"
    return [
        _Layer("the environment", environment(), lambda field: variable(field, account)),
        _Layer(
            str(places.credentials),
            _handed(model, places, account),
            lambda field: f"{variable(field, account)} in {places.credentials}",
        ),
        _Layer(str(places.dotenv), dotenv(), lambda field: f"{variable(field, account)} in .env"),
        _Layer(str(places.toml_file), toml, lambda field: f"{field} {where} {TOML_NAME}"),
    ]


def _handed(model: type[Layered], places: Places, account: str | None) -> dict[str, str]:
    """What the credentials say for all accounts, or for one of them."""
    names = {variable(field, account).removeprefix(PREFIX).lower(): field for field in model.model_fields}
    return {names[name]: value for name, value in places.handed.items() if name in names and value}


def _build(kind: type[Model], layers: list[_Layer], given: dict[str, Any]) -> Model:
    """Put the layers together, the first one on top, and check the outcome."""
    values: dict[str, Any] = {}
    called: dict[str, str] = {}
    origins: dict[str, str] = {}
    for layer in reversed(layers):
        known = {field: value for field, value in layer.values.items() if field in kind.model_fields}
        values |= known
        called |= {field: layer.called(field) for field in known}
        origins |= dict.fromkeys(known, layer.place)
    try:
        return kind(**(values | given), origins=origins)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise UsageError(_wrong(kind, field, called.get(field, field), values.get(field))) from None


def _wrong(kind: type[Layered], field: str, called: str, value: object) -> str:
    description = kind.model_fields[field].description
    is_what = "can't be used" if field in kind.secret_fields() else f"is {_shortened(value)}"
    return f"{called} {is_what}: set it to {description}."


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_toml(places: Places) -> None:
    """Refuse secrets, and accounts that are not tables or have names that the environment can't spell."""
    accounts = places.toml.get("accounts", {})
    if not isinstance(accounts, dict) or not all(isinstance(table, dict) for table in accounts.values()):
        raise UsageError(
            f"accounts in {TOML_NAME} are tables: write [accounts.NAME] and its settings below it."
        )
    for table in (places.toml, *accounts.values()):
        for field in account_model().address_fields():
            if field in table and places.strays:
                raise UsageError(
                    f"{places.toml_file} says where secrets are sent ({field}), and they are in "
                    f"{places.dotenv}: put both files into the same folder."
                )
        for field in secret_names():
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


def _named(places: Places) -> Iterable[str]:
    """The accounts that MESHIBOT_ACCOUNTS names, in the environment or else in `.env`."""
    said = os.environ.get(variable("accounts")) or read_dotenv(places.dotenv).get("accounts") or ""
    return [name for name in re.split(r"[\s,]+", said) if name]


def _check_spelling(names: Iterable[str]) -> None:
    """Refuse names that the environment can't spell, or can't tell from each other."""
    spellings: dict[str, str] = {}
    for name in names:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,49}", name):
            raise UsageError(
                f"The account name {_shortened(name)} can't be used: take lower-case letters, digits, - "
                "and _."
            )
        if (other := spellings.setdefault(variable("", name), name)) != name:
            raise UsageError(
                f"The accounts {other} and {name} are spelled the same in the environment: rename one."
            )


def _check_groups(accounts: Iterable[Account]) -> None:
    """Refuse a group whose accounts don't mean the same moment by the same slot."""
    zones: dict[str, Account] = {}
    for account in accounts:
        if account.group is None:
            continue
        if account.schedule == "auto":
            raise UsageError(
                f"The account {account.name} is in the group {account.group}, which posts at the same "
                "slots, and MESHIBOT_SCHEDULE=auto draws each account's own: give it cron lines."
            )
        first = zones.setdefault(account.group, account)
        if first.timezone != account.timezone:
            raise UsageError(
                f"The accounts {first.name} and {account.name} are one group, {account.group}, and go by "
                "different time zones: set the same MESHIBOT_TIMEZONE for both."
            )


def _check_bytes() -> None:
    """Refuse what is no text: as a path or a caption it would fail much later."""
    for name, value in os.environ.items():
        if name.startswith(PREFIX) and not value.isascii() and _LONE_HALF.search(value):
            raise UsageError(
                f"{name} holds bytes that are not UTF-8: write it anew in a terminal that uses UTF-8."
            )


def _check_names(places: Places, accounts: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse unknown names in the files; those in the environment, which others share, become warnings."""
    of_account = account_fields()
    fields = (*general_fields(), *of_account)
    variables = {
        *map(variable, fields),
        *(variable(field, name) for name in accounts for field in of_account),
    }
    allowed = variables | set(map(variable, _NOT_SETTINGS))
    for name in map(variable, read_dotenv(places.dotenv)):
        if name not in allowed:
            raise UsageError(_unknown(name, f"in {places.dotenv}", variables))
    for name in map(variable, places.handed):
        if name not in allowed:
            raise UsageError(_unknown(name, f"in {places.credentials}", variables))
    for name in places.toml_general:
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
