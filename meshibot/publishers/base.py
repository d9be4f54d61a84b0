"""What a publisher is, what it is given, and the closed set of what can go wrong.

A publisher knows one network: its settings, its calls, its limits, its prices, and which of its failures mean
what. It does not know the database, slots or retries: the outbox decides those, by the exception alone.
"""

import io
import math
import mimetypes
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

from pydantic import TypeAdapter

from meshibot.errors import MeshibotError
from meshibot.publishers.settings import PublisherSettings

Idempotency = Literal["record", "reconcile"]
"""How a publisher keeps one post one: it writes under a name that the
caller chose (`record`), or it can only be asked afterwards what it has (`reconcile`)."""

Visibility = Literal["public", "unlisted", "followers"]
VISIBILITIES: tuple[Visibility, ...] = get_args(Visibility)


@dataclass(frozen=True)
class Facet:
    """A part of the caption that a network is to show as a link or a hashtag, from `start` up to `end`.

    Both count characters of the caption: a network that counts bytes or UTF-16 units translates them.
    """

    kind: Literal["link", "tag"]
    start: int
    end: int
    value: str
    """The address, or the tag without its `#`."""


@dataclass(frozen=True)
class Draft:
    """What is to be published once: everything that the network will hold of it.

    All of it is fixed, and can be stored, before the first try; so a later try, a later version of this
    program and another machine make the same record.
    """

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
    created_at: datetime | None = None
    """The moment that the network is told, aware."""
    slot: str | None = None
    """The local key of its slot, such as `main|2026-11-24T23:30`; None for a post made by hand."""
    language: str | None = None
    """Of the caption, as ISO 639-1."""
    visibility: Visibility = "public"
    sensitive: bool = False
    facets: tuple[Facet, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        document: dict[str, Any] = _as_json(Draft).dump_python(self, mode="json")
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> "Draft":
        """The inverse of `to_json`. ValueError for what is no draft."""
        draft: Draft = _as_json(Draft).validate_python(document)
        return draft


@dataclass(frozen=True)
class MediaRef:
    """A picture that the network holds already, until `expires_at` (UTC; None: for good)."""

    id: str
    expires_at: datetime | None = None
    data: Mapping[str, Any] | None = None
    """What the network wants back word for word when the post is made, where an id is not enough."""

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        document: dict[str, Any] = _as_json(MediaRef).dump_python(self, mode="json")
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> "MediaRef":
        """The inverse of `to_json`. ValueError for what is no reference."""
        reference: MediaRef = _as_json(MediaRef).validate_python(document)
        return reference


@cache
def _as_json(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@dataclass(frozen=True)
class Sent:
    """A post that exists."""

    remote_id: str
    url: str
    age: timedelta | None = field(default=None, compare=False)
    """How long ago it was made, by the network's own clock alone; None where it doesn't say."""


@dataclass(frozen=True)
class Seen:
    """A post as the network's own list of the account's posts has it."""

    sent: Sent
    text: str
    at: datetime
    """When it was published, aware."""


@dataclass(frozen=True)
class Identity:
    """Who the credentials belong to."""

    id: str
    name: str
    url: str


@dataclass(frozen=True)
class Remark:
    """What a person should know of an account's server, or of the account there, in a sentence."""

    says: str
    warning: bool = False


MOVING = "image/gif"
"""The media type of pictures that move."""


def _media_type(path: Path) -> str | None:
    return mimetypes.guess_type(path.name)[0]


@dataclass(frozen=True)
class Moving:
    """What a network takes of a GIF, which it shows moving."""

    bytes: int
    side: int
    """Pixels."""
    frames: int = 350


@dataclass(frozen=True)
class Limits:
    """What a network, or one server of it, takes."""

    caption: int | None
    """As the network's own `count` counts; None where it has no limit."""
    alt_text: int
    """Characters."""
    media: int
    """Pictures in a post."""
    image_bytes: int
    image_side: int
    """Pixels."""
    media_types: tuple[str, ...]
    link: int | None = None
    """Characters that a link counts as, however long it is; None: its own length."""
    moving: Moving | None = None
    """None: it shows no GIF, or shows one standing still."""

    def bytes_of(self, path: Path) -> int:
        """How large a file of such a name may be."""
        if self.moving is not None and _media_type(path) == MOVING:
            return self.moving.bytes
        return self.image_bytes


@dataclass(frozen=True)
class Price:
    """US dollars. A failed request costs nothing."""

    post: float = 0.0
    link: float = 0.0
    """A post with a link in it."""
    alt_text: float = 0.0
    check: float = 0.0
    """To be told whose the credentials are."""
    read: float = 0.0
    """A post of the account's own that is looked at."""

    def of_post(self, *, with_link: bool) -> float:
        """A post with one picture and its alt text."""
        return (self.link if with_link else self.post) + self.alt_text


@dataclass(frozen=True)
class Count:
    """How much of what a network allows a caption uses up."""

    used: int
    limit: int
    unit: str = "characters"
    says: str = "has {used} of the {limit} characters"
    """The same in a sentence, after 'the caption'."""
    note: str = ""
    """What a person should know of this way to count."""

    def __str__(self) -> str:
        return self.says.format(used=self.used, limit=self.limit)


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


class WordsRejected(Rejected):
    """The same because of what is said with it, not of the pictures: others may show them."""


class AccountStopped(PublishError):  # noqa: N818
    """Certainly nothing was published, and nothing will be until a person does `what_to_do`.

    Or until it mends itself, where it `may_mend`: then `check` tells by asking that it has.
    """

    exit_status = 4

    def __init__(
        self, reason: str, what_to_do: str, *, http_status: int | None = None, may_mend: bool = False
    ) -> None:
        super().__init__(f"{reason} {what_to_do}", http_status=http_status)
        self.reason = reason
        self.what_to_do = what_to_do
        self.may_mend = may_mend


class Unclear(PublishError):  # noqa: N818
    """It may have been published. Only `find` can tell; sending again blind is forbidden."""

    exit_status = 4


class PossibleDuplicate(Unclear):
    """The network says that it already has this text: an earlier attempt may have landed."""


class Fence(Protocol):
    """The last look before a post leaves."""

    def __call__(self) -> float:
        """Seconds within which the request has to end. Where it raises, nothing leaves."""
        ...


def unfenced() -> float:
    """A fence that lets everything through, for as long as it takes."""
    return math.inf


class Publisher(Protocol):
    """One network for one account. Not safe for several threads at once; `close` it when done.

    What is a class's is known without an account. `limits` are, on the class, those that the network usually
    has, and on an opened publisher those of the server that it posts to.
    """

    name: ClassVar[str]
    """As in MESHIBOT_PUBLISHER."""
    title: ClassVar[str]
    """As in a sentence."""
    settings: ClassVar[type[PublisherSettings]]
    """What an account sets for it."""
    idempotency: ClassVar[Idempotency]
    visibilities: ClassVar[tuple[Visibility, ...]]
    """Who a post may be shown to."""
    marks_sensitive: ClassVar[bool]
    """Whether a picture may be hidden behind a warning."""
    price: ClassVar[Price]
    limits: Limits

    @classmethod
    def open(cls, account: Any, home: Path) -> "Publisher":
        """A publisher for the account, whose settings are of the class's own model.

        `home` is the bot's folder. Asks the network nothing. Raises UsageError where something is missing.
        """
        ...

    @staticmethod
    def count(caption: str, limits: Limits) -> tuple[Count, ...]:
        """How long the network takes a caption to be, in each way that it counts; empty where it doesn't."""
        ...

    @staticmethod
    def has_link(caption: str) -> bool:
        """Whether the network may see a link in a caption."""
        ...

    def post_url(self, remote_id: str) -> str:
        """Where a post is seen in a browser."""
        ...

    def named(self, said: str) -> Sent:
        """The post that a person names by its id or its address. Raises UsageError for what is neither."""
        ...

    def upload(self, draft: Draft) -> tuple[MediaRef, ...]:
        """Hand over the pictures with their alt text. May be repeated: an unused upload is harmless.

        Raises RetryLater, Rejected or AccountStopped; never Unclear.
        """
        ...

    def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
        """Publish. Raises any PublishError; only Unclear leaves open whether the post exists.

        `fence` is called when the connection stands and the request is complete, right before its first byte
        leaves. What it raises goes through as it is, and then certainly nothing was published.
        """
        ...

    def find(self, draft: Draft, since: datetime) -> tuple[Sent, ...]:
        """Look for the draft among what the account published since `since` (aware), by its marker.

        Every post that has it, the one that was made first first. None says that it can't be seen now: a
        request for it may still be under way, and a timeline may be behind. Raises RetryLater, Rejected or
        AccountStopped.
        """
        ...

    def latest(self, count: int) -> tuple[str, ...]:
        """The captions of what the account published last, the newest first: about `count`, of one request.

        By them it is told which serials are taken. Raises as `find` does.
        """
        ...

    def delete(self, remote_id: str) -> None:
        """Take a post down; one that is gone already is no error. Raises as `upload` does."""
        ...

    def check(self) -> Identity:
        """Ask who the credentials belong to, publishing nothing. Raises as `upload` does."""
        ...

    def remarks(self) -> tuple[Remark, ...]:
        """What a person should know of the account's server, which is asked. Raises as `upload` does."""
        ...

    def close(self) -> None:
        """Give back connections. May be called twice."""
        ...


@dataclass(frozen=True)
class Told:
    """What the latest answer of a network said besides. None: it did not say."""

    clock_ahead: timedelta | None = None
    """How far this machine's clock is ahead of the network's; to a second or so."""
    requests: int | None = None
    requests_left: int | None = None
    """Of so many that may be made within the network's present span of time."""


@runtime_checkable
class Tells(Protocol):
    """A publisher whose network's answers tell more than what was asked."""

    def told(self) -> Told | None:
        """What the latest one said; None before the first."""
        ...


@runtime_checkable
class Lists(Protocol):
    """A publisher that can say what its account published, without being told what to look for."""

    def published(self, since: datetime) -> Iterator[Seen]:
        """All of it since then (aware), the newest first, and perhaps a little of before.

        Raises RetryLater where the list can't be read to its end, Rejected or AccountStopped.
        """
        ...


@dataclass(frozen=True)
class Reactions:
    """How people answered to a post, as the network counts now. None: it does not say."""

    likes: int | None = None
    reposts: int | None = None
    """Those with words of their own among them."""
    replies: int | None = None
    views: int | None = None


@runtime_checkable
class Measures(Protocol):
    """A publisher whose network says how people answered to the account's posts."""

    reactions_at_once: ClassVar[int]
    """Posts in a call."""

    def reactions(self, remote_ids: Sequence[str]) -> Mapping[str, Reactions]:
        """Those of some of the account's posts by their ids; a post that is gone is left out.

        Costs `price.read` a post. Raises RetryLater, Rejected or AccountStopped.
        """
        ...


def reactions_at_once(publisher: type[Publisher] | Publisher) -> int:
    """Of how many posts a call tells the reactions; 0 where the network can't be asked for them."""
    posts: int = getattr(publisher, "reactions_at_once", 0)
    return posts


def count_of(document: Mapping[str, Any], *names: str) -> int | None:
    """The sum of what a network counts under these names; None where it has none of them."""
    found = [document.get(name) for name in names]
    counts = [number for number in found if isinstance(number, int) and not isinstance(number, bool)]
    return max(0, sum(counts)) if counts else None


def lacks(publisher: type[Publisher] | Publisher, visibility: Visibility, *, sensitive: bool) -> str | None:
    """Which of an account's wishes the network can't fulfil, in a sentence; None where it can."""
    if visibility not in publisher.visibilities:
        allowed = " or ".join(publisher.visibilities)
        return f"{publisher.title} can't show a post as {visibility}: set MESHIBOT_VISIBILITY to {allowed}."
    if sensitive and not publisher.marks_sensitive:
        return (
            f"{publisher.title} can't mark a picture as sensitive in general: take MESHIBOT_SENSITIVE out "
            "for this account."
        )
    return None


def stands_still(publisher: type[Publisher] | Publisher) -> str | None:
    """That the network, or this server of it, shows no pictures that move, in a sentence."""
    if publisher.limits.moving is not None:
        return None
    return f"{publisher.title} shows no GIF that moves: take morph out of MESHIBOT_KINDS for this account."


def too_long(publisher: type[Publisher] | Publisher, caption: str) -> str | None:
    """What is said after 'the caption' where the network would refuse its length; None where it would not."""
    for count in publisher.count(caption, publisher.limits):
        if count.used > count.limit:
            note = f" ({count.note})" if count.note else ""
            return f"{count} that {publisher.title} allows{note}"
    return None


def require_within_limits(
    publisher: Publisher, draft: Draft, media: tuple[MediaRef, ...] | None = None
) -> None:
    """Raise Rejected where the network would refuse the draft anyway, before anything is sent or paid for.

    `media`, where given, are to be its pictures as they were uploaded.
    """
    limits, title = publisher.limits, publisher.title
    if not 1 <= len(draft.media) <= limits.media:
        raise Rejected(
            f"A post on {title} takes 1 to {limits.media} pictures, and this one has {len(draft.media)}."
        )
    if len(draft.media) > 1 and any(_media_type(path) == MOVING for path in draft.media):
        raise Rejected("A GIF can't share a post with other pictures.")
    if not contains_marker(draft.caption, draft.marker):
        raise Rejected(
            f"The caption lacks its serial {draft.marker}, by which an unclear post is found again."
        )
    if (says := too_long(publisher, draft.caption)) is not None:
        raise WordsRejected(f"The caption {says}: shorten the template in MESHIBOT_CAPTIONS.")
    if len(draft.alt_text) > limits.alt_text:
        raise WordsRejected(
            f"The alt text has {len(draft.alt_text)} of the {limits.alt_text} characters that {title} allows."
        )
    if media is not None and len(media) != len(draft.media):
        raise Rejected(f"The post has {len(draft.media)} pictures, but {len(media)} were uploaded.")


def read_picture(publisher: Publisher, path: Path) -> tuple[bytes, str]:
    """The bytes of a picture and its media type. Rejected where the network would not take it."""
    limits, title = publisher.limits, publisher.title
    media_type = _media_type(path) or "an unknown type"
    taken = (*limits.media_types, *((MOVING,) if limits.moving is not None else ()))
    if media_type not in taken:
        raise Rejected(f"The picture {path.name} is {media_type}; {title} takes {', '.join(taken)} here.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Rejected(f"The picture {path} can't be read: {error.strerror}.") from error
    if len(data) > limits.bytes_of(path):
        raise Rejected(
            f"The picture {path.name} has {len(data)} bytes; {title} allows {limits.bytes_of(path)}."
        )
    return data, media_type


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels. Rejected for what is no picture."""
    from PIL import Image  # for those who post

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size
    except (OSError, ValueError) as error:
        raise Rejected(f"The picture can't be read: {error}.") from error


def contains_marker(text: str, marker: str) -> bool:
    """Whether `text` names exactly this serial: `No.0042` is not in `No.00421`.

    Letters and digits of ASCII end the marker, Japanese text beside it does not.
    """
    return re.search(rf"(?<![0-9A-Za-z]){re.escape(marker)}(?![0-9A-Za-z])", text) is not None


def marked(published: Iterable[Seen], marker: str) -> tuple[Sent, ...]:
    """Those with the marker, the first one first, of a timeline that lists the newest first."""
    return tuple(reversed([seen.sent for seen in published if contains_marker(seen.text, marker)]))
