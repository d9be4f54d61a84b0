"""The settings as a backup has them: what was written, without secrets and without what may hide one."""

from collections.abc import Iterator
from pathlib import Path

from meshibot.config import SETTINGS, Settings
from meshibot.config.models import passwords, secret_names
from meshibot.config.places import DOTENV_NAME, TOML_NAME, read_dotenv
from meshibot.layered import variable
from meshibot.logs import Redactor


def settings_files(settings: Settings) -> tuple[dict[str, str], tuple[str, ...]]:
    """What is written of `.env`, `meshibot.toml` and the files of captions; the variables that were left out.

    Comments in `.env` are left out as well, and what is no setting of ours: an old token may be there.
    """
    written: dict[str, str] = {}
    left_out: tuple[str, ...] = ()
    redact = Redactor(settings.secrets)
    for file in settings.files:
        if file.name == DOTENV_NAME:
            values = read_dotenv(file)
            left_out = tuple(variable(name) for name in values if _is_secret(name, values[name]))
            written[DOTENV_NAME] = redact("\n".join(_dotenv(values)) + "\n")
        elif file.name == TOML_NAME:
            written[TOML_NAME] = redact(file.read_text("utf-8-sig"))
    for account in settings.accounts:
        if isinstance(account.captions, Path) and account.captions.is_file():
            written[account.captions.name] = redact(account.captions.read_text("utf-8", "replace"))
    return written, left_out


def _dotenv(values: dict[str, str]) -> Iterator[str]:
    yield "# From a backup, which has no secrets: fill in what is empty."
    for name, value in values.items():
        if _is_secret(name, value):
            yield f"{variable(name)}="
        elif _is_setting(variable(name)):
            escaped = value.replace("\\", "\\\\").replace("'", "\\'")
            yield f"{variable(name)}='{escaped}'"


def _is_secret(name: str, value: str) -> bool:
    return name.endswith(secret_names()) or (name == "database_url" and any(passwords(value)))


def _is_setting(name: str) -> bool:
    return any(name == known or name.endswith(known.removeprefix("MESHIBOT")) for known in SETTINGS)
