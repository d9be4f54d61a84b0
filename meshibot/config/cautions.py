"""What an operator should know of settings that can be used as they are: sentences without secrets."""

import os
import stat
from collections.abc import Iterator

from meshibot.config.models import (
    Account,
    account_fields,
    account_model,
    general_fields,
    passwords,
    secret_names,
)
from meshibot.config.places import Places, cut_at_hash, names_without_prefix, read_dotenv, said_twice
from meshibot.config.zones import agrees_with_machine
from meshibot.layered import variable

_OURS = ("publisher", "captions", "quiet_hours", "stock_target", "min_quantile", "daily_budget")
"""General names that hardly mean anything to another program; the environment is everybody's."""


def without_effect(places: Places) -> Iterator[str]:
    """What was written, and is not read."""
    yield from places.passed_over
    known = set(map(str.upper, (*general_fields(), *account_fields())))
    for name in names_without_prefix(places.dotenv):
        if name.upper() in known and name.upper() != "HOME":
            yield f"{name} in {places.dotenv} has no effect: did you mean {variable(name)}?"
    networks = set(account_model().model_fields) - set(Account.model_fields)
    for name in map(str.upper, (*_OURS, *sorted(networks))):
        if os.environ.get(name) and not os.environ.get(variable(name)):
            yield f"{name} in the environment has no effect: did you mean {variable(name)}?"
    for name in said_twice(places.dotenv):
        yield f"{name} stands in {places.dotenv} more than once, and the last line counts: keep one."
    for name in cut_at_hash(places.dotenv):
        yield (
            f"{name} in {places.dotenv} ends before the #, which begins a comment: put the value in "
            "quotation marks if it goes on."
        )


def readable_secrets(places: Places) -> Iterator[str]:
    """That others may read the secrets in `.env`, or change them."""
    if places.dotenv is None:
        return
    values = read_dotenv(places.dotenv)
    secret = any(value for name, value in values.items() if name.endswith(secret_names())) or any(
        passwords(values.get("database_url", ""))
    )
    found = places.dotenv.stat()
    if secret and found.st_mode & 0o077:
        yield (
            f"{places.dotenv} holds secrets, and others may read it (mode "
            f"{stat.S_IMODE(found.st_mode):04o}): run chmod 600 {places.dotenv}."
        )
    if secret and found.st_uid not in (0, os.geteuid()):
        yield f"{places.dotenv} holds secrets and belongs to another user: make it this user's own (chown)."


def cautions(account: Account) -> Iterator[str]:
    """What holds for an account."""
    yield from account.network_cautions(account.publisher)
    if "timezone" not in account.origins and not agrees_with_machine(account.timezone):
        yield (
            f"The machine's time zone has no name that is known, so the account {account.name} goes by "
            f"{account.timezone.key}: set MESHIBOT_TIMEZONE."
        )
