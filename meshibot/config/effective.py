"""The settings as they count, and where each was said; of a secret only whether it is set."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from meshibot.config.models import Settings, account_fields, general_fields
from meshibot.errors import UsageError
from meshibot.layered import Layered, variable

DEFAULT = "default"

_UNITS = (("h", 3600), ("m", 60), ("s", 1))


def effective(settings: Settings) -> dict[str, Any]:
    """A JSON document: the files that were read, the bot's settings, and those of each account."""
    return {
        "files": [str(file) for file in settings.files],
        "settings": _said(settings, general_fields(), _taken(settings)),
        "accounts": [
            {"name": account.name, "settings": _said(account, account_fields())}
            for account in settings.accounts
        ],
    }


def _taken(settings: Settings) -> dict[str, str]:
    """What is taken where these are not set."""
    with suppress(UsageError):
        return {
            "database_url": settings.database_address,
            "checkpoint": str(settings.checkpoint_file),
            "backup_keep": "none",
            "backup_folder": str(settings.backups_folder),
        }
    return {}


def _said(
    model: Layered, fields: Iterable[str], taken: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    secret = model.secret_fields()

    def value(field: str) -> str | float | list[str] | None:
        held = getattr(model, field)
        if held is None:
            return (taken or {}).get(field)
        return "set" if field in secret else _plain(held)

    return [
        {"name": variable(field), "value": value(field), "from": model.origins.get(field, DEFAULT)}
        for field in fields
    ]


def _plain(value: Any) -> str | float | list[str]:
    """A value as JSON has it, and as it would be written in a setting."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, timedelta):
        seconds = int(value.total_seconds())
        whole = (f"{seconds // size}{unit}" for unit, size in _UNITS if seconds and seconds % size == 0)
        return next(whole, f"{seconds}")
    return list(value) if isinstance(value, tuple) else str(value)
