"""What can be told: a condition that holds now."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Condition:
    """Something that is wrong. `key` stays the same while it is the same thing."""

    key: str
    kind: str
    text: str
    account: str | None = None
    patience: timedelta = timedelta()
    """How long it has to be so before anybody is told."""
