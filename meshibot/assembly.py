"""From settings to working parts: database, stock, and a channel for each account.

The one place that knows every part by name; the commands that act ask it, and no part knows it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from meshibot.captions import WIDEST_SERIAL, Captions, load_captions, marker, own, with_marker, words_for_one
from meshibot.config import Account, Settings
from meshibot.database import Database, Picture
from meshibot.database.migrate import upgrade
from meshibot.errors import MeshibotError, UsageError
from meshibot.insights.reading import is_read
from meshibot.kinds import PICTURES, Kind
from meshibot.media import Studio, still
from meshibot.outbox import Channel, Group, Order, Outbox, Words
from meshibot.publishers import publisher_class
from meshibot.publishers.base import Publisher, lacks, reactions_at_once, stands_still, too_long
from meshibot.slots import AUTO, schedule_of
from meshibot.stock.inventory import fault_of, fingerprint
from meshibot.stock.stock import Stock


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
    with ExitStack() as stack:
        # What is wrong in the settings is said before anything is made.
        channels = tuple(_channel(settings, account, stack) for account in accounts)
        checkpoint = settings.checkpoint_file
        make_home(settings)
        upgrade(settings.database_address)
        database = stack.enter_context(Database.open(settings.database_address))
        stock = Stock(database, settings.home, checkpoint, settings.min_quantile)
        yield Bot(settings, database, stock, channels)


def make_home(settings: Settings) -> None:
    """Create the bot's folder. Raises MeshibotError where that can't be."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # Not wrong usage, which waiting doesn't mend: a disk may be mounted late.
        raise MeshibotError(
            f"The folder {settings.home} can't be made ({error.strerror}): mount its disk, or set "
            "MESHIBOT_HOME to a folder that can be made."
        ) from error


def publisher_of(settings: Settings, account: Account, name: str | None = None) -> Publisher:
    """The account's publisher, or the one of this name that it once had; the caller closes it.

    Raises UsageError where credentials are missing.
    """
    return publisher_class(name or account.publisher).open(account, settings.home)


def require_possible(
    settings: Settings,
    account: Account,
    publisher: type[Publisher] | Publisher,
    kind: Kind | None = None,
) -> None:
    """UsageError for what the account wishes and its network or the bot can't do.

    Of what its mix has the run folder may be away for now, as a disk is that is mounted late; not for the
    `kind` of a post that is to be made at once: then MeshibotError.
    """
    kinds: Collection[Kind] = account.kinds.kinds if kind is None else (kind,)
    says = lacks(publisher, account.visibility, sensitive=account.sensitive)
    if says is None and Kind.MORPH in kinds:
        says = stands_still(publisher)
    if says is not None:
        raise UsageError(f"The account {account.name}: {says}")
    if kind is None:
        _require_stock(settings, account)
    away = kind is None and settings.run is not None and not settings.run.exists()
    if Kind.BEFORE_AND_AFTER in kinds and not away:
        studio_of(settings).require_stages()


def captions_of(account: Account, publisher: type[Publisher] | Publisher) -> Captions:
    """What the account says. UsageError for captions that can't be read, or are too long for its network."""
    captions = load_captions(
        account.captions, account=account.name, subject=account.subject, alt_text=account.alt_text
    )
    alt_text = max(map(captions.alt_text, Kind), key=len)
    if len(alt_text) > publisher.limits.alt_text:
        raise UsageError(
            f"The alt text has {len(alt_text)} of the {publisher.limits.alt_text} characters that "
            f"{publisher.title} allows: shorten MESHIBOT_ALT_TEXT."
        )
    for caption in captions.widest():
        _require_cheap(account, publisher, caption, "MESHIBOT_CAPTIONS")
        if (says := too_long(publisher, caption)) is not None:
            raise UsageError(
                f"The caption for {marker(WIDEST_SERIAL)} {says}: shorten the template in MESHIBOT_CAPTIONS."
            )
    return captions


def _require_cheap(
    account: Account, publisher: type[Publisher] | Publisher, caption: str, where: str
) -> None:
    """UsageError for a link that the network charges for and nobody asked for."""
    if account.links or publisher.price.link <= publisher.price.post or not publisher.has_link(caption):
        return
    dear, cheap = (publisher.price.of_post(with_link=link) for link in (True, False))
    raise UsageError(
        f"{publisher.title} makes a link of something in {where}, and a post with one costs ${dear:.3f} in "
        f"place of ${cheap:.3f}: take it out, or set MESHIBOT_LINKS=yes."
    )


def require_postable(
    account: Account, caption: str | None, alt_text: str | None
) -> tuple[str | None, str | None]:
    """What a person wrote for one post, cleaned; what is blank is None, and left to the account's captions.

    UsageError for words that the account's network would refuse, or its owner regret.
    """
    publisher = publisher_class(account.publisher)
    alt_text = own.shown(alt_text or "", "The alt text") or None
    if alt_text is not None and len(alt_text) > publisher.limits.alt_text:
        raise UsageError(
            f"The alt text has {len(alt_text)} of the {publisher.limits.alt_text} characters that "
            f"{publisher.title} allows: shorten it."
        )
    caption = words_for_one(caption or "") or None
    if caption is not None:
        whole = with_marker(caption, WIDEST_SERIAL)
        _require_cheap(account, publisher, whole, "the caption")
        if (says := too_long(publisher, whole)) is not None:
            raise UsageError(f"The caption {says}: shorten it.")
    return caption, alt_text


def require_postable_everywhere(
    settings: Settings, caption: str | None, alt_text: str | None
) -> tuple[str | None, str | None]:
    """The same of words for whichever account will say them."""
    for account in settings.accounts:
        caption, alt_text = require_postable(account, caption, alt_text)
    return caption, alt_text


def cautions(settings: Settings) -> Iterator[str]:
    """What works, and what whoever posts should know of it, a sentence each."""
    yield from settings.cautions
    for account in settings.accounts:
        if account.schedule == AUTO and not is_read(account):
            yield (
                f"MESHIBOT_SCHEDULE of {account.name} is auto, and nobody asks how people answer there: its "
                f"hours are drawn blindly ({_instead_of_blindly(account)})."
            )
    yield from _twins(settings)
    for account in settings.accounts:
        with suppress(UsageError):  # said by whoever posts
            yield from captions_of(account, publisher_class(account.publisher)).cautions()


def _instead_of_blindly(account: Account) -> str:
    if reactions_at_once(publisher_class(account.publisher)):
        return "see MESHIBOT_REACTIONS"
    return "nobody can answer there: give it cron lines"


def one_account(names: Iterable[str], title: str) -> str:
    """What to say of several names that are one account of their network."""
    return (
        f"{' and '.join(sorted(names))} are the same account on {title}, and share one count of posts there: "
        "make one account of them, whose schedule has several lines (with ; between), or give each its own "
        "credentials."
    )


def _twins(settings: Settings) -> Iterator[str]:
    """Accounts with the same credentials."""
    found: dict[tuple[str, ...], list[str]] = {}
    for account in settings.accounts:
        publisher = publisher_class(account.publisher)
        values = [getattr(account, name) for name in publisher.settings.fields_of_one_account()]
        secrets = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        if secrets:
            found.setdefault((publisher.title, *secrets), []).append(account.name)
    for (title, *_), names in found.items():
        if len(names) > 1:
            yield one_account(names, title)


def render_media(
    home: Path,
    pictures: Iterable[Picture],
    alt_text: str,
    target: Path,
    publisher: type[Publisher] | Publisher,
) -> Path:
    """The file of pictures as they are, for a channel that is put together by hand, as `words_for` is."""
    return still([home / picture.file for picture in pictures], alt_text, target, publisher.limits)


def words_for(captions: Captions, order: Order) -> Words:
    """What is said with a post."""
    return Words(
        captions.caption(order.serial, order.at, order.kind, order.lately),
        captions.alt_text(order.kind),
    )


def studio_of(settings: Settings) -> Studio:
    """Where posts' files are made."""
    return Studio(settings.home, lambda: settings.checkpoint_file, settings.run)


def _channel(settings: Settings, account: Account, stack: ExitStack) -> Channel:
    schedule = schedule_of(account)
    publisher = publisher_of(settings, account)
    stack.callback(publisher.close)
    require_possible(settings, account, publisher)
    captions = captions_of(account, publisher)
    return Channel(
        account.name,
        publisher,
        schedule,
        describe=lambda order: words_for(captions, order),
        prepare=_prepare(settings, publisher),
        mix=account.kinds,
        captions_apart=account.captions_apart,
        language=captions.language,
        visibility=account.visibility,
        sensitive=account.sensitive,
        links=account.links,
        group=_group(settings, account),
        fault=picture_fault(settings),
        preferred=lambda: fingerprint(settings.checkpoint_file),
        reviewed=account.review == "required",
    )


def _require_stock(settings: Settings, account: Account) -> None:
    kind = max(account.kinds.kinds, key=PICTURES.__getitem__)
    if PICTURES[kind] > settings.stock_target and kind is not Kind.SINGLE:
        raise UsageError(
            f"MESHIBOT_KINDS of {account.name} has {kind}, which takes {PICTURES[kind]} pictures, and "
            f"MESHIBOT_STOCK_TARGET is {settings.stock_target}: raise it."
        )


def _group(settings: Settings, account: Account) -> Group | None:
    if account.group is None:
        return None
    members = tuple(each.name for each in settings.accounts if each.group == account.group)
    return Group(account.group, members) if len(members) > 1 else None


def picture_fault(settings: Settings) -> Callable[[Picture], str | None]:
    """Tells why a picture of the stock can't be posted. MeshibotError where the whole stock is away."""

    def fault(picture: Picture) -> str | None:
        if not settings.pictures_folder.is_dir():
            raise MeshibotError(
                f"The folder {settings.pictures_folder} is missing, and with it the stock: mount its disk."
            )
        return fault_of(settings.home / picture.file)

    return fault


def _prepare(settings: Settings, publisher: Publisher) -> Callable[[Order, Words], Path]:
    studio = studio_of(settings)

    def prepare(order: Order, words: Words) -> Path:
        stem = settings.home / "media" / f"{order.account}-{order.serial:04d}"
        return studio.make(order.kind, order.pictures, words.alt_text, stem, publisher.limits)

    return prepare
