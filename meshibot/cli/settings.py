"""The settings of a command, with logging set up by them and their secrets kept out of sight."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshibot.config import Settings
    from meshibot.logs import Redactor


redact: Redactor | None = None
"""Knows the secrets as soon as the settings are read."""


def read_settings(
    level: int = logging.WARNING, *, to_file: bool = False, cautious: bool = False, said: bool = True
) -> Settings:
    """The settings, with logging set up by them and their warnings said.

    `cautious` adds to the warnings what whoever posts should know.
    """
    from meshibot.config import load_settings
    from meshibot.logs import configure_logging

    settings = load_settings()
    keep_secrets_in(settings)
    if cautious:
        from meshibot.assembly import cautions

        settings = settings.model_copy(update={"warnings": (*settings.warnings, *cautions(settings))})
    if to_file:
        from meshibot.assembly import make_home

        make_home(settings)
    configure_logging(
        logging.getLevelNamesMapping()[settings.log_level.upper()] if settings.log_level else level,
        settings.log_format,
        secrets=settings.secrets,
        file=settings.home / "logs" / "meshibot.log" if to_file else None,
    )
    for warning in settings.warnings if said else ():
        logging.getLogger("meshibot").warning("%s", warning)
    return settings


def keep_secrets_in(settings: Settings) -> None:
    """A crash must not write them to the terminal or, as a core dump, to the disk."""
    global redact
    from meshibot.logs import Redactor, hide_in_tracebacks

    redact = Redactor(settings.secrets)
    hide_in_tracebacks(redact)
    with suppress(ImportError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
