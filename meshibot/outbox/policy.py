"""What the outbox goes by: how patient it is, and what it needs to know of an account."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from meshibot.captions import Said
from meshibot.database.models import Picture
from meshibot.database.queries import RECENT_POSTS, sound
from meshibot.kinds import Kind, Mix
from meshibot.publishers.base import Publisher, Visibility
from meshibot.slots import Schedule
from meshibot.thresholds import LOOK_ALIKE


@dataclass(frozen=True)
class Policy:
    """How patient the outbox is."""

    max_attempts: int = 6
    """Failed tries, after which a post is given up."""
    backoff: timedelta = timedelta(seconds=30)
    """After the first failure; it doubles with each, up to the limit, and is drawn from 50 to 150 %."""
    backoff_limit: timedelta = timedelta(minutes=30)
    lease: timedelta = timedelta(minutes=5)
    looks: int = 4
    """Reads of the timeline that must not find a post before it counts as absent."""
    look_interval: timedelta = timedelta(seconds=30)
    look_spread: timedelta = timedelta(seconds=75)
    """The least time between the first and the last of these reads."""
    patience: timedelta = timedelta(hours=6)
    """How long reading may fail before a person is asked."""
    punctual: timedelta = timedelta(minutes=1)
    """A post that is later than this is catching up."""
    refusals: int = 3
    """How often credentials are refused for one post before its account is stopped."""
    knock: timedelta = timedelta(hours=1)
    """Between two questions to the network whether it accepts a stopped account again."""
    spacing: timedelta = timedelta(minutes=5)
    """Between the last post and one that is catching up: no bursts."""
    media_margin: timedelta = timedelta(minutes=10)
    """An uploaded picture is not used this close to its expiry."""
    avoid_posts: int = RECENT_POSTS
    avoid_distance: int = LOOK_ALIKE

    @property
    def request_within(self) -> timedelta:
        """A request that sends ends so long after its claim was committed: before the lease does."""
        return 0.8 * self.lease


@dataclass(frozen=True)
class Order:
    """What a post is to be made of."""

    account: str
    serial: int
    marker: str
    """The serial as the caption shows it, such as `No.0042`."""
    kind: Kind
    pictures: tuple[Picture, ...]
    at: datetime
    """When it is due, in the account's own time zone."""
    slot: str | None = None
    """The local key of its slot; None for a post made by hand."""
    lately: tuple[Said, ...] = ()
    """What the account's last posts said, the newest first."""


@dataclass(frozen=True)
class Words:
    """What is said with a post."""

    caption: str
    alt_text: str


@dataclass(frozen=True)
class Group:
    """Accounts that post the same pictures at the same slot."""

    name: str
    accounts: tuple[str, ...]


@dataclass(frozen=True)
class Channel:
    """An account with everything that posting needs: where to, when, and how a post is made."""

    account: str
    publisher: Publisher
    schedule: Schedule
    describe: Callable[[Order], Words]
    """Pure and quick. A MeshibotError rejects the post."""
    prepare: Callable[[Order, Words], Path]
    """Makes the file that is uploaded; may be called again. A MeshibotError rejects the post."""
    mix: Mix = field(default_factory=Mix)
    """What its slots show on which weekday."""
    links: bool = False
    """Whether its captions may have links where the network charges for them."""
    captions_apart: int = 10
    """Within so many posts no caption is repeated."""
    language: str | None = None
    """Of its captions, as ISO 639-1."""
    visibility: Visibility = "public"
    sensitive: bool = False
    group: Group | None = None
    fault: Callable[[Picture], str | None] = sound
    """Why a picture's file can't be posted. A MeshibotError says that it can't be told now."""
    preferred: Callable[[], str | None] = lambda: None
    """The SHA-256 of the checkpoint whose pictures come first."""
    reviewed: bool = False
    """Only what a person approved is posted."""

    def cost(self, caption: str | None) -> float:
        """What a post of these words costs, in US dollars; None: of words that are not made yet."""
        with_link = self.links if caption is None else self.publisher.has_link(caption)
        return self.publisher.price.of_post(with_link=with_link)

    def kind_at(self, moment: datetime) -> Kind:
        """What a post shows that is due then."""
        return self.mix.on(moment.astimezone(self.schedule.tz).date())
