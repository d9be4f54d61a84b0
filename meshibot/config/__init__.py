"""Settings: environment over credentials in files over `.env` over `meshibot.toml` over defaults.

Secrets come from the first three only.
`models` says what can be set, `values` reads what is written in a setting, `zones` the machine's time zone,
`places` finds the files, `layers` puts together what they say, `cautions` says what to know of it, and
`effective` shows it.
"""

from meshibot.config.effective import effective
from meshibot.config.layers import load_settings
from meshibot.config.models import (
    DEFAULT_MIN_QUANTILE,
    Account,
    Settings,
    account_fields,
    general_fields,
    shipped_checkpoint,
)
from meshibot.layered import variable

_SETTINGS_FIELDS = general_fields()
_ACCOUNT_FIELDS = account_fields()
SETTINGS = tuple(variable(name) for name in (*_SETTINGS_FIELDS, *_ACCOUNT_FIELDS))
"""The name of every setting, as in the environment."""

__all__ = [
    "DEFAULT_MIN_QUANTILE",
    "SETTINGS",
    "Account",
    "Settings",
    "effective",
    "load_settings",
    "shipped_checkpoint",
]
