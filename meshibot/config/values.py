"""What is written in a setting, made into what is meant: pure, and ValueError for what can't be meant."""

import math
import os
import re
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from meshibot.backup.keep import Keep
from meshibot.errors import UsageError
from meshibot.kinds import Mix
from meshibot.quiet import QuietHours

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


def grace(value: object) -> timedelta:
    """A duration of at least a minute."""
    duration = parse_duration(value)
    if duration < timedelta(minutes=1):
        raise ValueError("too short")
    return duration


def quiet_hours(value: object) -> QuietHours:
    """`01:00-06:00` to what is meant by it."""
    if isinstance(value, QuietHours):
        return value
    try:
        return QuietHours.parse(str(value))
    except UsageError as error:  # what is wrong is said with the setting's name in its own layer
        raise ValueError("not a span of hours") from error


def backup_keep(value: object) -> Keep | None:
    """`7d 4w 3m` to what is meant by it; None for `none`."""
    if isinstance(value, Keep):
        return value
    text = str(value).strip()
    return None if text.lower() == "none" else Keep.parse(text)


def kinds(value: object) -> Mix:
    """`single, sat grid` to what is meant by it, or a table of the same."""
    if isinstance(value, Mix):
        return value
    try:
        return Mix.parse(value)
    except UsageError as error:  # what is wrong is said with the setting's name in its own layer
        raise ValueError("no mix of kinds") from error


def schedule(value: object) -> str:
    """Cron lines, in a list or with `;` between them, cleaned of what means nothing."""
    lines = value if isinstance(value, list) else str(value).split(";")
    cleaned = [" ".join(str(line).split()) for line in lines if str(line).strip()]
    if not cleaned:
        raise ValueError("no line")
    return "auto" if [line.lower() for line in cleaned] == ["auto"] else "; ".join(cleaned)


def hours(value: object) -> tuple[int, ...]:
    """`7, 12, 18-23` to the hours that are meant, the earliest first; 22-2 goes over midnight."""
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    found: set[int] = set()
    for part in parts:
        said = re.fullmatch(r"\s*(\d{1,2})(?:\s*-\s*(\d{1,2}))?\s*", str(part))
        if said is None:
            raise ValueError("not hours")
        first, last = int(said[1]), int(said[2] or said[1])
        if max(first, last) > 23:
            raise ValueError("no such hour")
        found |= {hour % 24 for hour in range(first, last + 1 + (24 if last < first else 0))}
    if not found:
        raise ValueError("no hour")
    return tuple(sorted(found))


def zone(value: object) -> ZoneInfo:
    """The time zone of a name."""
    if isinstance(value, ZoneInfo):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("not a name")
    try:
        return ZoneInfo(value.strip())
    except (OSError, LookupError) as error:
        # A missing zone is a KeyError, a folder such as `Asia` an OSError.
        raise ValueError("no such zone") from error


def is_caption_file(text: str) -> bool:
    """Whether what is said of captions is the name of a file of them."""
    return text.endswith(".txt") and "{" not in text and "\n" not in text


def captions(value: object) -> str | tuple[str, ...] | Path:
    """A text, several, or the file that they are in."""
    if isinstance(value, str):
        text = value.strip()
        return path(text) if is_caption_file(text) else text
    if isinstance(value, list | tuple) and value and all(isinstance(text, str) for text in value):
        return tuple(value)
    raise ValueError("not texts")


def words(value: object) -> str | None:
    """A text that says something."""
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ValueError("not a text")
    return value.strip()


def database_address(value: object) -> object:
    """What may be a database's address: its host and port, after the password, are of their form."""
    if isinstance(value, str):
        after_password = re.sub(r"^[^:/]*(:[^@]*)?@", "", value.partition("://")[2])
        host = re.split("[/?]", after_password, maxsplit=1)[0]
        if not re.fullmatch(r"(\[[^\[\]]*\]|[^\[\]:]*)(:\d*)?", host):
            raise ValueError("no host and port")
    return value


def web_address(value: object) -> object:
    """What may be an address on the web. Raises ValueError."""
    if isinstance(value, str):
        value = value.strip()
        if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
            raise ValueError("not an address")
    return value


def finite(value: object) -> object:
    """What may be a number, but for the texts and floats that are infinite or none."""
    if isinstance(value, bool) or (isinstance(value, str | float) and not math.isfinite(float(value))):
        raise ValueError("not a number")
    return value


def expanded(text: str) -> str:
    """A path with `~`, and with variables of the environment (`$HOME`) as a shell takes them.

    Raises ValueError where one is not set: as a shell takes that, half the path would be missing.
    """
    meant = os.path.expandvars(text)
    if re.search(r"\$(\w|\{)", meant):
        raise ValueError("no such variable")
    try:
        return str(Path(meant).expanduser())
    except RuntimeError as error:
        raise ValueError("no such user") from error


def path(value: object) -> Path:
    """An absolute path, expanded as above. Blanks and line ends around it are none of it."""
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError("not a path")
    meant = Path(expanded(str(value).strip())).absolute()
    str(meant).encode()  # a name that is not UTF-8 can't be kept in a database; its error is a ValueError
    return meant
