"""What proves who an account is. Kept apart from the publishers: settings need it without their libraries."""

from dataclasses import dataclass, fields

from meshibot.errors import UsageError


@dataclass(frozen=True, repr=False)
class OAuth1Credentials:
    """The four values of OAuth 1.0a in user context (RFC 5849). They never need a refresh."""

    consumer_key: str
    consumer_secret: str
    access_token: str
    access_token_secret: str

    def __post_init__(self) -> None:
        for field in fields(self):
            # A value pasted with a newline at its end is refused as wrong, and nobody sees why.
            object.__setattr__(self, field.name, getattr(self, field.name).strip())
        missing = [
            f"MESHIBOT_X_{field.name.upper()}" for field in fields(self) if not getattr(self, field.name)
        ]
        if missing:
            raise UsageError(
                f"Posting to X needs four values, and {', '.join(missing)} is missing: put it into the "
                "environment or into .env (console.x.com, your app, Keys and tokens)."
            )

    def __repr__(self) -> str:
        return "OAuth1Credentials(…)"

    def secrets(self) -> tuple[str, ...]:
        """The values, for those who have to keep them out of something."""
        return (self.consumer_key, self.consumer_secret, self.access_token, self.access_token_secret)
