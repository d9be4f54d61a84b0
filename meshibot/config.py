"""Settings: environment over `.env` over `meshibot.toml` over defaults; secrets in the first two only.

`.env` and `meshibot.toml` are looked for in the current folder, then in the bot's home. Within each of the
three layers what is said for an account (`MESHIBOT_<ACCOUNT>_SCHEDULE`, `[accounts.<account>]`) beats what is
said for all. Whatever is wrong becomes one sentence that names the setting and what is allowed, never a
secret's value.
"""

import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import unquote, unquote_plus
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PlainValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import DotEnvSettingsSource, EnvSettingsSource

from meshibot.errors import UsageError
from meshibot.publishers.credentials import OAuth1Credentials

PREFIX = "MESHIBOT_"
TOML_NAME = "meshibot.toml"
DEFAULT_ACCOUNT = "main"
DEFAULT_MIN_QUANTILE = 0.1

_NOT_SETTINGS = {"crash_at"}  # read by meshibot.crashpoints, for tests
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(value: object) -> timedelta:
    """`15m`, `2h`, `1h30m`, `90` or `90s` to a span of time. Raises ValueError."""
    if isinstance(value, timedelta):
        return value
    text = str(value).strip().lower()
    if not isinstance(value, bool) and re.fullmatch(r"\d{1,9}", text):
        return timedelta(seconds=int(text))
    if not re.fullmatch(r"(\d{1,6}[dhms])+", text):
        raise ValueError("not a duration")
    return timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([dhms])", text)))


def _grace(value: object) -> timedelta:
    duration = parse_duration(value)
    if duration < timedelta(minutes=1):
        raise ValueError("too short")
    return duration


def _quiet_hours(value: object) -> str | None:
    match = re.fullmatch(r"(\d{1,2}:\d\d)\s*-\s*(\d{1,2}:\d\d)", str(value).strip())
    if match is None:
        raise ValueError("not a span of hours")
    begin, end = (datetime.strptime(part, "%H:%M").time() for part in match.groups())
    if begin == end:
        raise ValueError("an empty span")
    return f"{begin:%H:%M}-{end:%H:%M}"


def _schedule(value: object) -> str:
    lines = value if isinstance(value, list) else str(value).split(";")
    cleaned = [" ".join(str(line).split()) for line in lines if str(line).strip()]
    if not cleaned:
        raise ValueError("no line")
    return "; ".join(cleaned)


def _zone(value: object) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("not a name")
    try:
        return ZoneInfo(value.strip())
    except (
        OSError,
        LookupError,
    ) as error:  # a missing zone is a KeyError, a folder such as `Asia` an OSError
        raise ValueError("no such zone") from error


def _machine_zone() -> ZoneInfo:
    from tzlocal import get_localzone_name

    try:
        return ZoneInfo(get_localzone_name())
    except Exception:  # noqa: BLE001 (a container may have no zone, or a broken one, in many ways)
        return ZoneInfo("UTC")


def _finite(value: object) -> object:
    if isinstance(value, bool) or (isinstance(value, str | float) and not math.isfinite(float(value))):
        raise ValueError("not a number")
    return value


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError("not a path")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError("no such user") from error


def _web_address(value: object) -> str | None:
    if value is None:
        return None
    text = str(value).strip().rstrip("/")
    if not re.fullmatch(r"https?://[^\s/@]+(/[^\s@]*)?", text):
        raise ValueError("not an address")
    return text


def _default_home() -> Path:
    from platformdirs import user_data_path

    return user_data_path("meshibot", appauthor=False)


def shipped_checkpoint() -> Path:
    """The one checkpoint inside the package. UsageError for an installation that has none."""
    found = sorted((Path(__file__).parent / "assets").glob("*.safetensors"))
    if len(found) != 1:
        raise UsageError(
            "This installation ships no checkpoint: set MESHIBOT_CHECKPOINT to a file made by trainer fit."
        )
    return found[0]


Duration = Annotated[timedelta, PlainValidator(parse_duration)]
FilePath = Annotated[Path, PlainValidator(_path)]


class _Layered(BaseSettings):
    """The layers are put together by `load_settings`, which also knows where each value came from."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=False,
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


Layered = TypeVar("Layered", bound=_Layered)


class Account(_Layered):
    """One account: what it posts, when, and where to. A field's description is what a wrong value is told."""

    name: str
    publisher: Literal["folder", "x"] = Field("folder", description="folder or x")
    schedule: Annotated[str, PlainValidator(_schedule)] = Field(
        "0 23 * * *", description="cron lines such as '0 23 * * *', with ';' between several"
    )
    timezone: Annotated[ZoneInfo, PlainValidator(_zone)] = Field(
        default_factory=_machine_zone, description="a time zone such as Asia/Tokyo"
    )
    jitter: Duration = Field(timedelta(0), description="a duration such as 15m, 2h or 90 (seconds)")
    grace: Annotated[timedelta, PlainValidator(_grace)] = Field(
        timedelta(hours=2), description="a duration of at least a minute, such as 15m, 2h or 90 (seconds)"
    )
    quiet_hours: Annotated[str | None, PlainValidator(_quiet_hours)] = Field(
        None, description="a span of local time such as 01:00-06:00"
    )
    captions: str = Field("ja", description="ja, en or a template such as 'Ramen at {time} {marker}'")
    daily_budget: int | None = Field(
        None, ge=1, description="a whole number of posts, the most that a day may have"
    )
    x_consumer_key: SecretStr | None = Field(None, description="the text that console.x.com shows")
    x_consumer_secret: SecretStr | None = Field(None, description="the text that console.x.com shows")
    x_access_token: SecretStr | None = Field(None, description="the text that console.x.com shows")
    x_access_token_secret: SecretStr | None = Field(None, description="the text that console.x.com shows")
    x_api_base: Annotated[str | None, PlainValidator(_web_address)] = Field(
        None, description="an address such as https://api.twitter.com"
    )
    sole: bool = False

    @property
    def x_credentials(self) -> OAuth1Credentials:
        """The four values. UsageError that names those that are missing."""
        values = {name: getattr(self, name) for name in _X_SECRETS}
        if missing := [name for name, value in values.items() if value is None]:
            names = ", ".join(self._environment_name(name) for name in missing)
            raise UsageError(
                f"The account {self.name} posts to X and lacks {names}: put it into .env or the environment "
                "(console.x.com, your app, Keys and tokens)."
            )
        return OAuth1Credentials(*(value.get_secret_value().strip() for value in values.values()))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value of the account, to be kept out of what is written."""
        values = [getattr(self, name) for name in _X_SECRETS]
        return tuple(value.get_secret_value() for value in values if value is not None)

    def _environment_name(self, field: str) -> str:
        return PREFIX + (field if self.sole else f"{_environment_part(self.name)}{field}").upper()


_X_SECRETS = ("x_consumer_key", "x_consumer_secret", "x_access_token", "x_access_token_secret")
_OWN_SECRETS = ("x_access_token", "x_access_token_secret")
_ACCOUNT_FIELDS = tuple(name for name in Account.model_fields if name not in ("name", "sole"))


class Settings(_Layered):
    """Everything that can be set. Paths are absolute."""

    home: FilePath = Field(default_factory=_default_home, description="a folder")
    database_url: SecretStr | None = Field(
        None, description="a database address such as sqlite:////path/to/file or postgresql://user@host/name"
    )
    checkpoint: FilePath | None = Field(None, description="a .safetensors file made by trainer fit")
    min_quantile: Annotated[float, BeforeValidator(_finite)] = Field(
        DEFAULT_MIN_QUANTILE, ge=0, le=1, description="a number from 0 (keeps every picture) to 1"
    )
    stock_target: int = Field(24, ge=1, le=100_000, description="a whole number from 1 to 100000")
    log_format: Literal["text", "json"] = Field("text", description="text or json")
    log_level: Literal["debug", "info", "warning"] | None = Field(None, description="debug, info or warning")
    accounts: tuple[Account, ...] = ()
    warnings: tuple[str, ...] = ()
    """Sentences about what was ignored."""

    @property
    def database_address(self) -> str:
        """As SQLAlchemy takes it. May hold a password: never shown."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.home / 'meshibot.sqlite3'}"

    @property
    def checkpoint_file(self) -> Path:
        """The configured checkpoint, or the one in the package."""
        return self.checkpoint or shipped_checkpoint()

    @property
    def pictures_folder(self) -> Path:
        """Where stocked pictures lie."""
        return self.home / "pictures"

    @property
    def posts_folder(self) -> Path:
        """Where the `folder` publisher writes."""
        return self.home / "posts"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value, to be kept out of logs."""
        accounts = (secret for account in self.accounts for secret in account.secrets)
        if self.database_url is None:
            return tuple(accounts)
        passwords = tuple(_passwords(self.database_url.get_secret_value()))
        return (*passwords, *accounts)

    def account(self, name: str | None) -> Account:
        """The named account; without a name the only one. UsageError that lists those that there are."""
        known = {account.name: account for account in self.accounts}
        if name is None and len(known) == 1:
            return self.accounts[0]
        if name is None:
            raise UsageError(f"There are several accounts: give --account, one of {', '.join(known)}.")
        if name not in known:
            raise UsageError(f"There is no account {name!r}: give one of {', '.join(known)}.")
        return known[name]


def _passwords(address: str) -> Iterator[str]:
    """A database's password, as it is written in the address and as it is meant."""
    for found in re.findall(r"://[^/@\s]*?:([^/@\s]*)@|[?&]\w*password=([^&\s]*)", address):
        written = found[0] or found[1]
        yield from {written, unquote(written), unquote_plus(written)} - {""}


_SETTINGS_FIELDS = tuple(name for name in Settings.model_fields if name not in ("accounts", "warnings"))
SETTINGS = tuple(f"{PREFIX}{name.upper()}" for name in (*_SETTINGS_FIELDS, *_ACCOUNT_FIELDS))
"""The name of every setting, as in the environment."""


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
        _Layer(_environment(Settings), _in_environment),
        _Layer(_dotenv(Settings, places.dotenv), _in_dotenv),
        _Layer(_without_tables(places.toml), _in_toml),
    ]
    accounts = tuple(_account(name, places, sole=len(names) == 1) for name in names)
    return _build(Settings, general, {"accounts": accounts, "warnings": unknown})


def _account(name: str, places: _Places, *, sole: bool) -> Account:
    """One account from its own and the general values of each layer, nearest first."""
    own = f"{PREFIX}{_environment_part(name)}"

    def but_own_secrets(values: dict[str, Any]) -> dict[str, Any]:
        # With several accounts a token that names no account must not post for each of them.
        return values if sole else {key: value for key, value in values.items() if key not in _OWN_SECRETS}

    layers = [
        _Layer(_environment(Account, own), lambda field: f"{own}{field}".upper()),
        _Layer(but_own_secrets(_environment(Account)), _in_environment),
        _Layer(_dotenv(Account, places.dotenv, own), lambda field: f"{own}{field} in .env".upper()),
        _Layer(but_own_secrets(_dotenv(Account, places.dotenv)), _in_dotenv),
        _Layer(
            places.toml_accounts.get(name, {}), lambda field: f"{field} of [accounts.{name}] in {TOML_NAME}"
        ),
        _Layer(_without_tables(places.toml), _in_toml),
    ]
    return _build(Account, layers, {"name": name, "sole": sole})


def _in_environment(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def _in_dotenv(field: str) -> str:
    return f"{PREFIX}{field.upper()} in .env"


def _in_toml(field: str) -> str:
    return f"{field} in {TOML_NAME}"


def _environment_part(account: str) -> str:
    return account.upper().replace("-", "_") + "_"


def _environment(settings: type[_Layered], prefix: str = PREFIX) -> dict[str, Any]:
    return EnvSettingsSource(settings, env_prefix=prefix)()


def _dotenv(settings: type[_Layered], file: Path | None, prefix: str = PREFIX) -> dict[str, Any]:
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


def _build(kind: type[Layered], layers: list[_Layer], given: dict[str, Any]) -> Layered:
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


def _wrong(kind: type[_Layered], field: str, called: str, value: object) -> str:
    description = kind.model_fields[field].description
    secret = field in _X_SECRETS or field == "database_url"
    is_what = "can't be used" if secret else f"is {_shortened(value)}"
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
    home = _environment(Settings).get("home") or _dotenv_home(dotenv) or toml.get("home") or _default_home()
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
        for field in _X_SECRETS:
            if field in table:
                raise UsageError(
                    f"{places.toml_file} holds a secret ({field}): move it to .env or the environment, "
                    "and make it anew at the network if the file was shared."
                )
    if any(_passwords(str(places.toml.get("database_url", "")))):
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
        if (other := spellings.setdefault(_environment_part(name), name)) != name:
            raise UsageError(
                f"The accounts {other} and {name} in {TOML_NAME} are spelled the same in the environment: "
                "rename one."
            )


def _check_names(places: _Places, accounts: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse unknown names in the files; those in the environment, which others share, become warnings."""
    general = {*_SETTINGS_FIELDS, *_ACCOUNT_FIELDS}
    own = {_environment_part(name).lower() + field for name in accounts for field in _ACCOUNT_FIELDS}
    for name in _read_dotenv(places.dotenv):
        if name not in general | own | _NOT_SETTINGS:
            raise UsageError(_unknown(f"{PREFIX}{name.upper()}", f"in {places.dotenv}", own | general))
    for name in _without_tables(places.toml):
        if name not in general:
            raise UsageError(_unknown(name, f"in {places.toml_file}", general, prefix=""))
    for account, table in places.toml_accounts.items():
        for name in table:
            if name not in _ACCOUNT_FIELDS:
                where = f"of [accounts.{account}] in {places.toml_file}"
                raise UsageError(_unknown(name, where, set(_ACCOUNT_FIELDS), prefix=""))
    return tuple(
        _unknown(name, "in the environment", own | general)
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() not in general | own | _NOT_SETTINGS
    )


def _unknown(name: str, where: str, known: set[str], *, prefix: str = PREFIX) -> str:
    spelled = [f"{prefix}{field.upper() if prefix else field}" for field in sorted(known)]
    close = difflib.get_close_matches(name, spelled, n=1)
    hint = f"did you mean {close[0]}?" if close else "see .env.example for those that there are."
    return f"{name} {where} is no setting: {hint}"
