"""What an account sets for its network: each publisher declares a model, and its fields say what is secret.

Needs none of the networks' libraries, for settings are read by every command.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import PlainValidator, SecretStr

from meshibot.errors import UsageError
from meshibot.layered import Layered, variable


class _OfOneAccount:
    """Marks a secret that belongs to one account, and must not serve another one by being said for all."""


Secret = SecretStr | None
"""A secret that several accounts may share, such as an app's key."""
AccountSecret = Annotated[Secret, _OfOneAccount()]
"""A secret that lets somebody post as one account, such as its token."""


def _web_address(value: object) -> str | None:
    if value is None:
        return None
    text = str(value).strip().rstrip("/")
    if not re.fullmatch(r"https?://[^\s/@]+(/[^\s@]*)?", text):
        raise ValueError("not an address")
    return text


def _server(value: object) -> str | None:
    """An address, or the name of a server that is reached by https."""
    text = "" if value is None else str(value).strip()
    return _web_address(f"https://{text}" if text and "://" not in text else value)


class _SecretsGoThere:
    """Marks an address that secrets are sent to, or signed requests."""


WebAddress = Annotated[str | None, PlainValidator(_web_address), _SecretsGoThere()]
ServerAddress = Annotated[str | None, PlainValidator(_server), _SecretsGoThere()]
"""The same; a name alone is meant as https://."""

_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|\[::1\]")


class PublisherSettings(Layered):
    """The account that is posted for, and nothing else: enough for a network that needs no settings.

    A network that needs some inherits, and begins the name of each field with its own name (`x_api_base`):
    all networks' fields stand beside each other in an account's settings.
    """

    name: str
    sole: bool = False
    """Whether there is no other account, so that nothing has to be said with its name."""

    @classmethod
    def fields_of_one_account(cls) -> tuple[str, ...]:
        """The secrets that count only where they are said for the account, or where it is the only one."""
        return cls._marked(_OfOneAccount)

    @classmethod
    def address_fields(cls) -> tuple[str, ...]:
        """The addresses that secrets are sent to."""
        return cls._marked(_SecretsGoThere)

    @classmethod
    def _marked(cls, kind: type) -> tuple[str, ...]:
        return tuple(
            name
            for name, field in cls.model_fields.items()
            if any(isinstance(mark, kind) for mark in field.metadata)
        )

    def network_cautions(self, network: str) -> Iterator[str]:
        """What whoever posts to a network should know of its settings here, a sentence each."""
        for name in self.address_fields():
            address = getattr(self, name)
            if not name.startswith(f"{network}_") or not address or not address.startswith("http://"):
                continue
            host = urlsplit(address).netloc.rpartition("@")[2]
            if not _LOOPBACK.fullmatch(re.sub(r":\d+$", "", host)):
                yield (
                    f"{variable(name)} is http://, so what proves who the account {self.name} is goes over "
                    "the net in clear: use https://."
                )

    def required(self, title: str, fields: tuple[str, ...], where: str) -> list[str]:
        """The values of settings that the network can't do without, stripped.

        UsageError that names those that are missing, and `where` they are to be had.
        """
        values: list[Any] = [getattr(self, name) for name in fields]
        missing = [name for name, value in zip(fields, values, strict=True) if value is None]
        if missing:
            names = ", ".join(variable(name, None if self.sole else self.name) for name in missing)
            raise UsageError(
                f"The account {self.name} posts to {title} and lacks {names}: put it into .env or the "
                f"environment ({where})."
            )
        return [
            (value.get_secret_value() if isinstance(value, SecretStr) else value).strip() for value in values
        ]
