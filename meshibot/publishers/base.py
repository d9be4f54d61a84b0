"""What a publisher is, what it is given, and the closed set of what can go wrong.

A publisher knows one network: its calls, its limits, its prices, and which of its failures mean what. It does
not know the database, slots or retries: the outbox decides those, by the exception alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal, Protocol

from meshibot.captions import weighted_length
from meshibot.errors import MeshibotError

Idempotency = Literal["key", "record", "reconcile"]
"""How a publisher keeps one post one: it honours an idempotency key (`key`), it writes under a name that the
caller chose (`record`), or it can only be asked afterwards what it has (`reconcile`)."""


@dataclass(frozen=True)
class Draft:
    """What is to be published once. Everything in it was fixed, and stored, before the first try."""

    account: str
    serial: int
    marker: str
    """The serial as the caption shows it, such as `No.0042`; unique for the account."""
    caption: str
    alt_text: str
    media: tuple[Path, ...]
    kind: str = "single"
    idempotency_key: str = ""
    metadata: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """What a record keeps beside the picture: checkpoint, seed, score. Never sent to a network."""


@dataclass(frozen=True)
class MediaRef:
    """A picture that the network holds already, until `expires_at` (UTC; None: for good)."""

    id: str
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Sent:
    """A post that exists."""

    remote_id: str
    url: str


@dataclass(frozen=True)
class Identity:
    """Who the credentials belong to."""

    id: str
    name: str
    url: str


class PublishError(MeshibotError):
    """A call to a network failed. `str()` is a sentence for people and never holds a secret.

    `http_status` is the status of the answer where there was one.
    """

    def __init__(self, reason: str, *, http_status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.http_status = http_status


class RetryLater(PublishError):  # noqa: N818 - an outcome, and named as one
    """Certainly nothing was published; the same call may be made again, not before `at` (UTC) where given."""

    def __init__(self, reason: str, at: datetime | None = None, *, http_status: int | None = None) -> None:
        super().__init__(reason, http_status=http_status)
        self.at = at


class MediaGone(RetryLater):
    """Nothing was published: the network no longer knows the media ids. Upload again, then send."""


class Rejected(PublishError):  # noqa: N818
    """Certainly nothing was published, and the same draft will never be accepted."""


class AccountStopped(PublishError):  # noqa: N818
    """Certainly nothing was published, and nothing will be until a person does `what_to_do`."""

    exit_status = 4

    def __init__(self, reason: str, what_to_do: str, *, http_status: int | None = None) -> None:
        super().__init__(f"{reason} {what_to_do}", http_status=http_status)
        self.reason = reason
        self.what_to_do = what_to_do


class Unclear(PublishError):  # noqa: N818
    """It may have been published. Only `find` can tell; sending again blind is forbidden."""

    exit_status = 4


class PossibleDuplicate(Unclear):
    """The network says that it already has this text: an earlier attempt may have landed."""


class Publisher(Protocol):
    """One network for one account. Not safe for several threads at once; `close` it when done."""

    name: ClassVar[str]
    idempotency: ClassVar[Idempotency]
    key_valid_for: ClassVar[timedelta | None]
    """How long an idempotency key is remembered; None where there is none, or for good."""

    max_media: ClassVar[int]
    max_image_bytes: ClassVar[int]
    max_image_side: ClassVar[int]
    """Pixels."""
    max_caption_weight: ClassVar[int]
    """As `meshibot.captions.weighted_length` counts."""
    max_alt_text: ClassVar[int]
    """Characters."""
    media_types: ClassVar[tuple[str, ...]]

    price_per_post: ClassVar[float]
    """US dollars, as the other prices; a failed request costs nothing."""
    price_per_post_with_url: ClassVar[float]
    price_per_alt_text: ClassVar[float]
    price_per_read: ClassVar[float]
    """One post read from the account's own timeline."""

    @staticmethod
    def named(said: str) -> Sent:
        """The post that a person names by its id or its address. Raises UsageError for what is neither."""
        ...

    def upload(self, draft: Draft) -> tuple[MediaRef, ...]:
        """Hand over the pictures with their alt text. May be repeated: an unused upload is harmless.

        Raises RetryLater, Rejected or AccountStopped; never Unclear.
        """
        ...

    def send(self, draft: Draft, media: tuple[MediaRef, ...]) -> Sent:
        """Publish. Raises any PublishError; only Unclear leaves open whether the post exists."""
        ...

    def find(self, draft: Draft, since: datetime) -> Sent | None:
        """Look for the draft among what the account published since `since` (aware), by its marker.

        None says only that it can't be seen now: a read may lag behind a write. Raises RetryLater, Rejected
        or AccountStopped.
        """
        ...

    def delete(self, remote_id: str) -> None:
        """Take a post down; one that is gone already is no error. Raises as `upload` does."""
        ...

    def check(self) -> Identity:
        """Ask who the credentials belong to, publishing nothing. Raises as `upload` does."""
        ...

    def close(self) -> None:
        """Give back connections. May be called twice."""
        ...


def require_within_limits(publisher: type[Publisher] | Publisher, draft: Draft) -> None:
    """Raise Rejected where the network would refuse the draft anyway, before anything is sent or paid for."""
    if not 1 <= len(draft.media) <= publisher.max_media:
        raise Rejected(
            f"A post on {publisher.name} takes 1 to {publisher.max_media} pictures, and this one has "
            f"{len(draft.media)}."
        )
    if not contains_marker(draft.caption, draft.marker):
        raise Rejected(
            f"The caption lacks its serial {draft.marker}, by which an unclear post is found again."
        )
    weight = weighted_length(draft.caption)
    if weight > publisher.max_caption_weight:
        raise Rejected(
            f"The caption weighs {weight} of the {publisher.max_caption_weight} that {publisher.name} "
            "allows; shorten the template (a Japanese character or an emoji counts 2)."
        )
    if len(draft.alt_text) > publisher.max_alt_text:
        raise Rejected(
            f"The alt text has {len(draft.alt_text)} of the {publisher.max_alt_text} characters that "
            f"{publisher.name} allows."
        )


def contains_marker(text: str, marker: str) -> bool:
    """Whether `text` names exactly this serial: `No.0042` is not in `No.00421`.

    Letters and digits of ASCII end the marker, Japanese text beside it does not.
    """
    return re.search(rf"(?<![0-9A-Za-z]){re.escape(marker)}(?![0-9A-Za-z])", text) is not None
