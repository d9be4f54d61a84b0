"""`meshibot post-now`: a post made by hand, and its rehearsal, which leaves no trace."""

from datetime import datetime
from pathlib import Path

from meshibot.assembly import (
    captions_of,
    open_bot,
    picture_fault,
    require_possible,
    studio_of,
    words_for,
)
from meshibot.captions import Said, marker, with_marker
from meshibot.config import Account, Settings
from meshibot.database import Account as AccountRow
from meshibot.database import AccountState, Database, Picture, PostState
from meshibot.database.migrate import open_existing
from meshibot.database.models import OPEN_STATES
from meshibot.database.queries import choose_pictures
from meshibot.errors import NothingToDo
from meshibot.kinds import DRAWN_ANEW, PICTURES, Kind
from meshibot.outbox import Order, Words, drafts, people
from meshibot.publishers import publisher_class
from meshibot.slots import Schedule, schedule_of
from meshibot.stock.inventory import fingerprint
from meshibot.stock.sampler import sample_in_child
from meshibot.stock.stock import hashes_to_avoid, picture_of, sampling_request
from meshibot.views import Json, load_post, picture_json, post_json, weakest


def post_now(settings: Settings, account: Account, kind: Kind) -> tuple[Json, int]:
    """Post once, sampling first where the stock is too small. The post, and the exit status that it deserves.

    Raises MeshibotError where nothing was begun.
    """
    with open_bot(settings, [account]) as bot:
        require_possible(settings, account, bot.channels[0].publisher, kind)
        outbox = bot.outbox()
        if account.review == "off":  # what is sampled now, nobody has approved
            bot.stock.ensure(
                account.name, PICTURES[kind], bot.channels[0].preferred(), no_others=kind in DRAWN_ANEW
            )
        post = people.post_now(outbox, account.name, kind)
        with bot.database.read() as session:
            stopped = session.get_one(AccountRow, account.name).state is AccountState.STOPPED
            return post_json(load_post(session, post.id), settings), _status(post.state, stopped=stopped)


def _status(state: PostState, *, stopped: bool) -> int:
    if state is PostState.POSTED:
        return 0
    unclear = state in (PostState.NEEDS_PERSON, PostState.UNKNOWN, PostState.SENDING)
    return 4 if unclear or (stopped and state in OPEN_STATES) else 1


def rehearse(settings: Settings, account: Account, kind: Kind, now: datetime, folder: Path) -> Json:
    """What `post_now` would post, with its picture in `folder`; changes neither database nor home.

    Raises NothingToDo and UsageError as `post_now` does.
    """
    schedule = schedule_of(account)
    publisher = publisher_class(account.publisher)
    require_possible(settings, account, publisher)
    require_possible(settings, account, publisher, kind)
    captions = captions_of(account, publisher)
    with open_existing(settings.database_address) as database:
        serial = _next_serial(database, account.name)
        said = _lately(database, account, serial, schedule)
        pictures = _pictures(settings, database, account, kind, folder, now)
    order = Order(
        account.name, serial, marker(serial), kind, tuple(pictures), now.astimezone(schedule.tz), lately=said
    )
    words = _with_own(words_for(captions, order), order)
    stem = folder / f"{account.name}-{serial:04d}"
    file = studio_of(settings).make(kind, pictures, words.alt_text, stem, publisher.limits)
    return {
        "id": None,
        "account": account.name,
        "state": "planned",
        "dry_run": True,
        "serial": serial,
        "kind": kind.value,
        "caption": words.caption,
        "alt_text": words.alt_text,
        "picture": str(file),
        **weakest(pictures),
        "slot": None,
        "remote_id": None,
        "url": None,
        "reason": None,
        "publisher": publisher.name,
        "counts": [
            {"unit": count.unit, "used": count.used, "limit": count.limit}
            for count in publisher.count(words.caption, publisher.limits)
        ],
        "cost": publisher.price.of_post(with_link=publisher.has_link(words.caption)),
        "pictures": [picture_json(picture, settings.home) for picture in pictures],
    }


def _with_own(words: Words, order: Order) -> Words:
    """What a person wrote for the picture, where it is shown alone."""
    if order.kind is not Kind.SINGLE:
        return words
    (picture,) = order.pictures
    caption = words.caption if picture.caption is None else with_marker(picture.caption, order.serial)
    return Words(caption, picture.alt_text or words.alt_text)


def _next_serial(database: Database | None, account: str) -> int:
    if database is None:
        return 1
    with database.read() as session:
        row = session.get(AccountRow, account)
        return row.next_serial if row else 1


def _lately(database: Database | None, account: Account, serial: int, schedule: Schedule) -> tuple[Said, ...]:
    if database is None:
        return ()
    with database.read() as session:
        return drafts.lately(session, account.name, serial, account.captions_apart, schedule.tz)


def _pictures(
    settings: Settings, database: Database | None, account: Account, kind: Kind, folder: Path, now: datetime
) -> list[Picture]:
    """From the stock where it has enough, otherwise sampled into `folder`; never taken out of the stock."""
    avoid: list[int] = []
    reviewed = account.review == "required"
    if database is not None:
        with database.read() as session:
            chosen = choose_pictures(
                session,
                account.name,
                PICTURES[kind],
                preferred=fingerprint(settings.checkpoint_file),
                no_others=kind in DRAWN_ANEW,
                reviewed=reviewed,
                fault=picture_fault(settings),
            ).pictures
            avoid = hashes_to_avoid(session)
        if chosen:
            return chosen
    if reviewed:
        raise NothingToDo("No picture in stock was approved: run `meshibot stock approve`.")
    count = PICTURES[kind]
    result = sample_in_child(
        sampling_request(settings.checkpoint_file, settings.min_quantile, count, folder, avoid)
    )
    if len(result.pictures) < count:
        raise NothingToDo(
            f"Only {len(result.pictures)} of {count} pictures passed: try again, or lower "
            "MESHIBOT_MIN_QUANTILE."
        )
    return [picture_of(sampled, result.checkpoint, str(sampled.file), now) for sampled in result.pictures]
