"""What can be set: the bot's settings, and those of each account with its networks'."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, cast
from urllib.parse import unquote, unquote_plus
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, SecretStr, create_model
from pydantic_settings import NoDecode

import meshibot
from meshibot.backup.keep import Keep
from meshibot.config import values
from meshibot.config.zones import machine_zone
from meshibot.errors import UsageError
from meshibot.kinds import Mix
from meshibot.layered import Layered
from meshibot.publishers import PUBLISHERS, publisher_class
from meshibot.publishers.settings import PublisherSettings, Secret
from meshibot.quiet import QuietHours
from meshibot.thresholds import LARGEST_STOCK

DEFAULT_MIN_QUANTILE = 0.1

_GIVEN = ("name", "sole", "origins", "accounts", "warnings", "cautions", "files")
"""Fields that nobody sets."""
_TELLING = 4
"""Characters that a part of a password has to have to be worth hiding."""


def default_home() -> Path:
    """The platform's folder for a user's data."""
    from platformdirs import user_data_path

    # A user id with neither HOME nor an entry in passwd, as containers have, has no such folder. Some
    # versions of platformdirs say so, and others leave the `~` as it is.
    with suppress(RuntimeError):
        folder = user_data_path("meshibot", appauthor=False)
        if folder.is_absolute():
            return folder
    raise UsageError("This user has no home folder: set MESHIBOT_HOME to the folder that the bot may use.")


def shipped_checkpoint() -> Path:
    """The one checkpoint inside the package. UsageError for an installation that has none."""
    found = sorted((Path(meshibot.__file__).parent / "assets").glob("*.safetensors"))
    if len(found) != 1:
        raise UsageError(
            "This installation ships no checkpoint: set MESHIBOT_CHECKPOINT to a file made by trainer fit."
        )
    return found[0]


def _publisher(value: object) -> str:
    if not isinstance(value, str) or value not in PUBLISHERS:
        raise ValueError("not a publisher")
    return value


Duration = Annotated[timedelta, PlainValidator(values.parse_duration)]
FilePath = Annotated[Path, PlainValidator(values.path)]
NotifyAddress = Annotated[SecretStr | None, BeforeValidator(values.web_address)]
"""Who knows it may tell the operator anything: a secret."""


class Account(PublisherSettings):
    """One account: what it posts, when, and where to.

    Those that `load_settings` gives are of a class that has every network's settings as well, see
    `account_model`.
    """

    publisher: Annotated[str, PlainValidator(_publisher)] = Field(
        "folder", description=" or ".join(PUBLISHERS)
    )
    schedule: Annotated[str, PlainValidator(values.schedule)] = Field(
        "0 23 * * *", description="cron lines such as '0 23 * * *', with ';' between several, or auto"
    )
    auto_hours: Annotated[tuple[int, ...] | None, NoDecode, PlainValidator(values.hours)] = Field(
        None, description="hours of the day such as 7, 12, 18-23; every hour where it is not set"
    )
    auto_posts: int = Field(1, ge=1, le=24, description="a whole number of posts a day, from 1 to 24")
    timezone: Annotated[ZoneInfo, PlainValidator(values.zone)] = Field(
        default_factory=machine_zone, description="a time zone such as Asia/Tokyo"
    )
    jitter: Duration = Field(timedelta(0), description="a duration such as 15m, 2h or 90 (seconds)")
    grace: Annotated[timedelta, PlainValidator(values.grace)] = Field(
        timedelta(hours=2), description="a duration of at least a minute, such as 15m, 2h or 90 (seconds)"
    )
    quiet_hours: Annotated[QuietHours | None, PlainValidator(values.quiet_hours)] = Field(
        None, description="a span of local time such as 01:00-06:00"
    )
    kinds: Annotated[Mix, NoDecode, PlainValidator(values.kinds), PlainSerializer(str)] = Field(
        default_factory=Mix,
        description="a kind and other ones for weekdays such as 'single, sat grid, sun grid9'",
    )
    captions: Annotated[str | tuple[str, ...] | Path, NoDecode, PlainValidator(values.captions)] = Field(
        "ja", description="ja, en, a template such as 'Ramen at {time} {marker}', or a .txt file of templates"
    )
    captions_apart: int = Field(10, ge=0, le=1000, description="a whole number of posts from 0 to 1000")
    subject: Annotated[str | None, PlainValidator(values.words)] = Field(
        None, description="what the pictures show, in a word or two, such as curry"
    )
    alt_text: Annotated[str | None, PlainValidator(values.words)] = Field(
        None, description="what is said to those who don't see the picture; it may use {subject}"
    )
    visibility: Literal["public", "unlisted", "followers"] = Field(
        "public", description="public, unlisted or followers"
    )
    sensitive: bool = Field(False, description="yes or no")
    group: Annotated[str | None, PlainValidator(values.words)] = Field(
        None, description="a name, the same for accounts that post the same pictures at the same slots"
    )
    review: Literal["off", "required"] = Field(
        "off", description="required (posts only what a person approved) or off"
    )
    reactions: Literal["off", "free", "paid"] = Field(
        "free", description="free (asked for where that costs nothing), paid (where it costs as well) or off"
    )
    daily_budget: int | None = Field(
        None, ge=1, description="a whole number of posts, the most that a day may have"
    )
    monthly_budget: Annotated[float | None, BeforeValidator(values.finite)] = Field(
        None, ge=0, description="a number of US dollars, the most that a month may cost"
    )
    links: bool = Field(False, description="yes or no")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value of the account, to be kept out of what is written."""
        return tuple(self.secret_values())


class Settings(Layered):
    """Everything that can be set. Paths are absolute."""

    home: FilePath = Field(default_factory=default_home, description="a folder")
    database_url: Annotated[SecretStr | None, BeforeValidator(values.database_address)] = Field(
        None, description="a database address such as sqlite:////path/to/file or postgresql://user@host/name"
    )
    checkpoint: FilePath | None = Field(None, description="a .safetensors file made by trainer fit")
    run: FilePath | None = Field(
        None, description="the run folder of trainer fit that the checkpoint comes from"
    )
    min_quantile: Annotated[float, BeforeValidator(values.finite)] = Field(
        DEFAULT_MIN_QUANTILE, ge=0, le=1, description="a number from 0 (keeps every picture) to 1"
    )
    stock_target: int = Field(
        24, ge=1, le=LARGEST_STOCK, description=f"a whole number from 1 to {LARGEST_STOCK}"
    )
    backup_keep: Annotated[Keep | None, PlainValidator(values.backup_keep), PlainSerializer(str)] = Field(
        Keep(7, 4, 3),
        description="daily, weekly and monthly backups that stay, such as 7d 4w 3m, or none",
    )
    backup_folder: FilePath | None = Field(None, description="a folder")
    notify_ntfy: NotifyAddress = Field(
        None, description="the address of a topic such as https://ntfy.sh/name"
    )
    notify_ntfy_token: Secret = Field(None, description="the access token of that server")
    notify_webhook: NotifyAddress = Field(None, description="an address such as https://example.org/hook")
    notify_webhook_key: Secret = Field(None, description="a text that only you and the receiver know")
    notify_ping: NotifyAddress = Field(None, description="the ping address that the monitor shows")
    notify_quiet_hours: Annotated[QuietHours | None, PlainValidator(values.quiet_hours)] = Field(
        None, description="a span of local time such as 22:00-07:00"
    )
    notify_digest: Literal["off", "weekly"] = Field("off", description="weekly or off")
    notify_apprise: Secret = Field(None, description="one or several addresses as Apprise writes them")
    log_format: Literal["text", "json"] = Field("text", description="text or json")
    log_level: Literal["debug", "info", "warning"] | None = Field(None, description="debug, info or warning")
    accounts: Annotated[tuple[Account, ...], NoDecode] = ()
    """In the environment and in `.env` MESHIBOT_ACCOUNTS names them, see `layers`."""
    warnings: tuple[str, ...] = ()
    """Sentences about what was ignored."""
    cautions: tuple[str, ...] = ()
    """Sentences about what works, and what whoever posts should know of it."""
    files: tuple[Path, ...] = ()
    """The files that settings were read from."""

    @property
    def database_address(self) -> str:
        """As SQLAlchemy takes it. May hold a password: never shown."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        if "?" in str(self.home):  # begins the options in a database's address, and can't be escaped there
            raise UsageError(
                f"There is a ? in {self.home}: set MESHIBOT_HOME to a folder without one in its path, or "
                "MESHIBOT_DATABASE_URL to a database elsewhere."
            )
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
    def backups_folder(self) -> Path:
        """Where the daemon keeps its backups."""
        return self.backup_folder or self.home / "backups"

    @property
    def posts_folder(self) -> Path:
        """Where the `folder` publisher writes."""
        return self.home / "posts"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value, to be kept out of logs."""
        accounts = (secret for account in self.accounts for secret in account.secrets)
        held = (getattr(self, name) for name in secrets_of_the_bot())
        own = (value.get_secret_value() for value in held if value is not None)
        if self.database_url is None:
            return (*own, *accounts)
        return (*passwords(self.database_url.get_secret_value()), *own, *accounts)

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


def account_model() -> type[Account]:
    """The settings of an account, and of every network beside them, whichever one it posts to."""
    return _account_model(tuple(PUBLISHERS))


@cache
def _account_model(publishers: tuple[str, ...]) -> type[Account]:
    models = dict.fromkeys(publisher_class(name).settings for name in publishers)
    own = [model for model in models if model is not PublisherSettings]
    return cast(type[Account], create_model("Account", __base__=(Account, *own)))


def passwords(address: str) -> Iterator[str]:
    """A database's password, as it is written in the address and as it is meant.

    Also what would be taken for something else, and shown in an error, because it should have been escaped: a
    password with an `@` goes up to the last one, and its parts are secret as well.
    """
    scheme, _, rest = address.partition("://")
    written = re.findall(r"[?&]\w*password=([^&]*)", rest)
    # A file's path may hold anything, and no password.
    first, at, after = ("", "", "") if scheme.startswith("sqlite") else rest.partition("@")
    written.append(first.partition(":")[2] if at else "")
    if "@" in after.partition("?")[0]:
        whole = rest.rpartition("@")[0].partition(":")[2]
        written += [whole, *(part for part in re.split(r"[@/:?#\s]", whole) if len(part) >= _TELLING)]
    for text in written:
        yield from {text, unquote(text), unquote_plus(text)} - {""}


def secrets_of_the_bot() -> tuple[str, ...]:
    """The bot's settings that are secrets as a whole; of a database's address only the password is one."""
    return tuple(name for name in Settings.secret_fields() if name != "database_url")


def secret_names() -> tuple[str, ...]:
    """Every setting that is a secret as a whole."""
    return (*account_model().secret_fields(), *secrets_of_the_bot())


def account_fields() -> tuple[str, ...]:
    """What can be set for an account."""
    return tuple(name for name in account_model().model_fields if name not in _GIVEN)


def general_fields() -> tuple[str, ...]:
    """What can be set for the bot."""
    return tuple(name for name in Settings.model_fields if name not in _GIVEN)
