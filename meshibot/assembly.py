"""From settings to working parts: database, stock, and a channel for each account.

The one place that knows every part by name; the commands that act ask it, and no part knows it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from meshibot.captions import Captions, load_captions
from meshibot.config import Account, Settings
from meshibot.database import Database, Picture
from meshibot.database.migrate import upgrade
from meshibot.errors import UsageError
from meshibot.outbox import Channel, Order, Outbox, Words
from meshibot.publishers import open_publisher
from meshibot.publishers.base import Publisher
from meshibot.schedule import Schedule, schedule_of
from meshibot.stock import Stock


@dataclass(frozen=True)
class Bot:
    """The parts of a running bot. Its database and publishers are closed by `open_bot`."""

    settings: Settings
    database: Database
    stock: Stock
    channels: tuple[Channel, ...]

    def outbox(self) -> Outbox:
        """The outbox of these channels; registers their accounts in the database."""
        return Outbox(self.database, channels=self.channels)


@contextmanager
def open_bot(settings: Settings, accounts: Iterable[Account]) -> Iterator[Bot]:
    """Bring the database up to date and open everything for these accounts; closed at the end.

    Raises UsageError for settings that can't be, DatabaseFailure or DatabaseNewer for such a database.
    """
    prepared = [(account, schedule_of(account), load_captions(account.captions)) for account in accounts]
    checkpoint = settings.checkpoint_file
    make_home(settings)
    upgrade(settings.database_address)
    with ExitStack() as stack:
        database = stack.enter_context(Database.open(settings.database_address))
        stock = Stock(database, settings.home, checkpoint, settings.min_quantile)
        channels = []
        for account, schedule, captions in prepared:
            publisher = publisher_of(settings, account)
            stack.callback(publisher.close)
            channels.append(_channel(settings, account, publisher, schedule, captions))
        yield Bot(settings, database, stock, tuple(channels))


def make_home(settings: Settings) -> None:
    """Create the bot's folder. Raises UsageError where that can't be."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The folder {settings.home} can't be made ({error.strerror}): set MESHIBOT_HOME to one that can."
        ) from error


def publisher_of(settings: Settings, account: Account, name: str | None = None) -> Publisher:
    """The account's publisher, or the one of this name that it once had; the caller closes it.

    Raises UsageError where credentials are missing.
    """
    name = name or account.publisher
    return open_publisher(
        name,
        folder=settings.posts_folder,
        x_credentials=account.x_credentials if name == "x" else None,
        x_api_base=account.x_api_base,
    )


def words_for(captions: Captions, order: Order) -> Words:
    """What is said with a post."""
    return Words(
        captions.caption(order.serial, order.at, order.kind.value), captions.alt_text(order.kind.value)
    )


def render_media(
    home: Path,
    pictures: Iterable[Picture],
    alt_text: str,
    target: Path,
    publisher: type[Publisher] | Publisher,
) -> Path:
    """Make the file that is uploaded, within the publisher's limits."""
    from meshibot.pictures import SIDE, Label, render  # Pillow is for those who post

    render(
        [home / picture.file for picture in pictures],
        target,
        Label(alt_text),
        side=min(SIDE, publisher.max_image_side),
        max_bytes=publisher.max_image_bytes,
    )
    return target


def _channel(
    settings: Settings, account: Account, publisher: Publisher, schedule: Schedule, captions: Captions
) -> Channel:
    return Channel(
        account.name,
        publisher,
        schedule,
        describe=lambda order: words_for(captions, order),
        prepare=_prepare(settings.home, publisher),
    )


def _prepare(home: Path, publisher: Publisher) -> Callable[[Order, Words], Path]:
    def prepare(order: Order, words: Words) -> Path:
        target = home / "media" / f"{order.account}-{order.serial:04d}.jpg"
        return render_media(home, order.pictures, words.alt_text, target, publisher)

    return prepare
