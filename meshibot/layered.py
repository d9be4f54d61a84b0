"""What every settings model has in common: its values come in layers, and a secret is never shown.

`meshibot.config` puts the layers together; the models say what there is, here and in `meshibot.publishers`.
"""

from collections.abc import Iterator, Mapping
from typing import get_args

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "MESHIBOT_"


class Layered(BaseSettings):
    """Settings that are given their values. A field's description is what a wrong value is told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=False,
        hide_input_in_errors=True,
    )

    origins: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """Where the value of a field was said, for those that were."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed over: `meshibot.config` reads the layers, and knows what each calls a field."""
        return (init_settings,)

    @classmethod
    def secret_fields(cls) -> tuple[str, ...]:
        """The names of the fields whose values are kept out of all that is written."""
        return tuple(
            name
            for name, field in cls.model_fields.items()
            if SecretStr in (field.annotation, *get_args(field.annotation))
        )

    def secret_values(self) -> Iterator[str]:
        """The values of those fields, as far as they are set."""
        for name in self.secret_fields():
            value = getattr(self, name)
            if value is not None:
                yield value.get_secret_value()


def variable(field: str, account: str | None = None) -> str:
    """How a setting is called in the environment, said for all accounts or for one of them."""
    own = f"{account.replace('-', '_')}_" if account else ""
    return f"{PREFIX}{own}{field}".upper()
