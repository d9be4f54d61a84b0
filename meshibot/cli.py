"""The command line: options to calls, answers for people or as JSON. Parts are imported by the commands."""

from __future__ import annotations

import errno
import gc
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshibot import __version__
from meshibot.display import (
    outcome,
    print_json,
    print_pairs,
    print_table,
    say,
    show_insights,
    show_post,
    show_posts,
    show_settings,
    show_status,
    show_stock,
)
from meshibot.errors import MeshibotError, NothingToDo, UsageError

if TYPE_CHECKING:
    from meshibot.config import Settings
    from meshibot.database import Database, Picture
    from meshibot.logs import Redactor

app = typer.Typer(
    no_args_is_help=True,
    # Plain help: it fits 80 columns, names choices and defaults, and needs no rich.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Posts pictures of food that does not exist, on a schedule.",
)
stock_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The approved pictures that wait.")
db_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The database.")
slots_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The moments at which is posted.")
review_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What people said of pictures.")
app.add_typer(stock_app, name="stock")
app.add_typer(slots_app, name="slots")
app.add_typer(review_app, name="review")
app.add_typer(db_app, name="db")

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
AccountOption = Annotated[
    str | None, typer.Option("--account", metavar="NAME", help="Which account, where there are several.")
]


SlotArgument = Annotated[
    str, typer.Argument(metavar="SLOT", help="Its id, as in slots list, or its local time: 2026-11-27T23:00.")
]

_redact: Redactor | None = None
"""Knows the secrets as soon as the settings are read."""


class Because(StrEnum):
    """Why a picture is rejected."""

    ALIKE = "alike"
    NO_BOWL = "no-bowl"
    BLURRED = "blurred"
    OTHER = "other"


class PostKind(StrEnum):
    """What a post may show."""

    SINGLE = "single"
    GRID = "grid"
    GRID_OF_NINE = "grid9"


def _version(asked: bool) -> None:
    if asked:
        print(f"meshibot {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Posts pictures of food that does not exist, on a schedule."""


@app.command("post-now")
def post_now(
    account: AccountOption = None,
    kind: Annotated[PostKind, typer.Option(help="One picture, or a grid of four or nine.")] = PostKind.SINGLE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show everything; change nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Post once, now."""
    settings = _settings(cautious=True)
    chosen = settings.account(account)

    from meshibot import posting
    from meshibot.database import Kind

    status = 0
    if dry_run:
        from meshibot import preview

        with preview.workshop() as folder:
            post = preview.keep(posting.rehearse(settings, chosen, Kind(kind.value), _now(), folder))
        say("Nothing was posted: this was a rehearsal.")
        if not json:
            preview.draw(Path(post["picture"]))
    else:
        post, status = posting.post_now(settings, chosen, Kind(kind.value))
        say(outcome(post))
    if json:
        print_json(post)
    else:
        show_post(post)
    raise typer.Exit(status)


@app.command()
def init(
    account: Annotated[
        str | None, typer.Option(metavar="NAME", help="A name for the account. (main)")
    ] = None,
    publisher: Annotated[str | None, typer.Option(metavar="NETWORK", help="Where it posts to.")] = None,
    server: Annotated[str | None, typer.Option(metavar="URL", help="The account's server.")] = None,
    handle: Annotated[str | None, typer.Option(help="The account's handle on Bluesky.")] = None,
    schedule: Annotated[str | None, typer.Option(metavar="CRON", help="When. (0 23 * * *)")] = None,
    timezone: Annotated[str | None, typer.Option(metavar="ZONE", help="Such as Asia/Tokyo.")] = None,
    captions: Annotated[str | None, typer.Option(help="ja, en, or a template.")] = None,
    secrets: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Lines of NAME=value; - is standard input.")
    ] = None,
    into: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the files go. (HOME)")] = None,
    paid: Annotated[bool, typer.Option("--paid", help="Also ask what a network charges for.")] = False,
    no_input: Annotated[
        bool, typer.Option("--no-input", help="Ask nobody; 2 where something lacks.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run/--no-dry-run", help="End with a rehearsal.")] = True,
) -> None:
    """Set an account up: questions, a look at it, .env and meshibot.toml, a rehearsal."""
    current = _settings(said=False)

    from meshibot.database import Kind
    from meshibot.setup import files
    from meshibot.setup.init import prepare
    from meshibot.setup.questions import Questions

    given = {
        "account": account,
        "publisher": publisher,
        "server": server,
        "handle": handle,
        "schedule": schedule,
        "timezone": timezone,
        "captions": captions,
        "paid": "yes" if paid else None,
    }
    questions = Questions(given, _secrets_of(secrets), asks=not no_input)
    folder = (into or current.home).absolute()
    prepared = prepare(questions, folder, _now())
    _keep_secrets_in(prepared.settings)
    print_table(("", "looked at", "found"), [(f.level, f.subject, f.says) for f in prepared.findings])
    if not prepared.sound and not questions.agrees("Write the files all the same?", otherwise=False):
        raise UsageError("Nothing was written: mend what failed above, then run it again.")
    for file in files.write(folder, prepared.texts):
        say(f"Written: {file}")
        if file.suffix == ".new":
            say(f"  {file.with_suffix('').name} was there and stays: compare, then move the new one over it.")
    if dry_run and prepared.sound:
        from meshibot import posting, preview

        chosen = prepared.settings.accounts[0]
        with preview.workshop() as workshop:
            post = posting.rehearse(prepared.settings, chosen, Kind.SINGLE, _now(), workshop)
            post = preview.keep(post)
        preview.draw(Path(post["picture"]))
        show_post(post)
        say("Nothing was posted: this was a rehearsal.")
    say(
        f"Next: `meshibot post-now --account {prepared.account}` posts one, `meshibot run` posts on schedule."
    )


@app.command()
def run() -> None:
    """Post on schedule until told to stop (SIGTERM or Ctrl-C)."""
    gc.enable()
    settings = _settings(logging.INFO, to_file=True, cautious=True)

    from meshibot.assembly import open_bot
    from meshibot.chores import chores
    from meshibot.daemon import Daemon
    from meshibot.insights.reading import Reader
    from meshibot.stock.stock import Restocker

    with open_bot(settings, settings.accounts) as bot:
        restocker = Restocker(bot.stock, settings.stock_target)
        reader = Reader(bot.database, settings)
        daemon = Daemon(
            bot.database,
            bot.channels,
            fill_stock=restocker,
            others=tuple(chores(settings, bot.database, reader)),
        )
        restocker.stopping = reader.stopping = daemon.stopping
        daemon.run()


@stock_app.command("fill")
def stock_fill(
    target: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="How many are to wait. (default: MESHIBOT_STOCK_TARGET)"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Sample until the stock is full."""
    settings = _settings()

    from meshibot.assembly import open_bot

    with open_bot(settings, ()) as bot:
        filling = bot.stock.fill(target or settings.stock_target)
    say(f"{filling.added} pictures added, {filling.stock} of {filling.target} wait.")
    if filling.acceptance is not None:
        say(f"{filling.acceptance:.1%} of {filling.candidates} candidates scored high enough.")
    if filling.stock < filling.target:
        say("The rest did not pass: run it again, or lower MESHIBOT_MIN_QUANTILE.")
    if json:
        print_json(
            {
                "added": filling.added,
                "stock": filling.stock,
                "target": filling.target,
                "candidates": filling.candidates,
                "acceptance": filling.acceptance,
            }
        )


@stock_app.command("list")
def stock_list(json: JsonOption = False) -> None:
    """The pictures that wait, the next one first."""
    settings = _settings()

    from meshibot.views import picture_json

    with _existing(settings) as database:
        configured = _fingerprint(settings)
        pictures = _waiting(database, configured)
        documents = [picture_json(picture, settings.home) for picture in pictures]
    if json:
        print_json(documents)
    else:
        say(f"{len(documents)} of {settings.stock_target} pictures wait in {settings.pictures_folder}.")
        others = sum(document["checkpoint"] != configured for document in documents)
        if configured is not None and others:
            say(
                f"{others} of them are of another checkpoint than {settings.checkpoint_file.name}: "
                "`meshibot stock clear --others` takes them out."
            )
        show_stock(documents)


@stock_app.command("show")
def stock_show(
    picture: Annotated[int, typer.Argument(metavar="PICTURE", help="The picture's id, as in stock list.")],
    json: JsonOption = False,
) -> None:
    """Everything about one picture."""
    settings = _settings()

    from meshibot.stock import inventory
    from meshibot.views import picture_json

    with _existing(settings) as database:
        document = picture_json(inventory.find(_required(database), picture), settings.home)
    document["fault"] = inventory.fault_of(Path(document["file"]))
    if json:
        print_json(document)
    else:
        print_pairs([(name.replace("_", " "), value) for name, value in document.items()])


@stock_app.command("sheet")
def stock_sheet(
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The PNG to write. (default: HOME/stock.png)")
    ] = None,
) -> None:
    """A contact sheet of the pictures that wait."""
    settings = _settings()

    from meshibot.stock.sheet import contact_sheet

    with _existing(settings) as database:
        pictures = [
            (picture.id, settings.home / picture.file)
            for picture in _waiting(database, _fingerprint(settings))
        ]
    if not pictures:
        raise NothingToDo("No picture waits: `meshibot stock fill` makes some.")
    target = to or settings.home / "stock.png"
    contact_sheet(pictures, target)
    print(target)


@stock_app.command("drop")
def stock_drop(
    pictures: Annotated[
        list[int], typer.Argument(metavar="PICTURE...", help="The pictures' ids, as in stock list.")
    ],
) -> None:
    """Take pictures out of the stock."""
    settings = _settings()

    from meshibot.stock import inventory

    with _existing(settings) as database:
        count = inventory.drop(_required(database), pictures)
    say(f"{_pictures(count)} taken out of the stock.")


@stock_app.command("clear")
def stock_clear(
    others: Annotated[
        bool, typer.Option("--others", help="Those of other checkpoints than MESHIBOT_CHECKPOINT.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """Take all pictures out of the stock, or those of other checkpoints."""
    if others is everything:
        raise UsageError("Say either --others or --all.")
    settings = _settings()

    from meshibot.stock import inventory
    from trainer.checkpoint import fingerprint_of, read_metadata

    keep = None
    if others:
        read_metadata(settings.checkpoint_file)  # where it is none, all would be of others
        keep = fingerprint_of(settings.checkpoint_file)
    with _existing(settings) as database:
        count = 0 if database is None else inventory.clear(database, keep=keep)
    say(f"{_pictures(count)} taken out of the stock.")


@stock_app.command("approve")
def stock_approve(
    pictures: Annotated[
        list[int], typer.Argument(metavar="PICTURE...", help="The pictures' ids, as in stock list.")
    ],
    json: JsonOption = False,
) -> None:
    """Say that pictures may be posted (see MESHIBOT_REVIEW)."""
    _judge(pictures, "approved", None, json)


@stock_app.command("reject")
def stock_reject(
    pictures: Annotated[
        list[int], typer.Argument(metavar="PICTURE...", help="The pictures' ids, as in stock list.")
    ],
    reason: Annotated[Because | None, typer.Option(help="Why.")] = None,
    json: JsonOption = False,
) -> None:
    """Take pictures out of the stock, and keep why for the next training."""
    _judge(pictures, "rejected", reason, json)


def _judge(pictures: list[int], said: str, reason: str | None, json: bool) -> None:
    settings = _settings()

    from meshibot.database import Verdict
    from meshibot.outbox.people import COMMAND_LINE
    from meshibot.stock import review

    with _existing(settings) as existing:
        judged = review.judge(
            _required(existing),
            dict.fromkeys(pictures),
            Verdict(said),
            now=_now(),
            by=COMMAND_LINE,
            reason=reason,
        )
    refused = [each.refused for each in judged if each.refused is not None]
    for sentence in refused:
        say(sentence)
    say(f"{_pictures(len(judged) - len(refused))} {said}.")
    if json:
        print_json([{"picture": each.picture, "event": each.event, "says": each.refused} for each in judged])
    raise typer.Exit(1 if refused else 0)


@stock_app.command("again")
def stock_again(
    picture: Annotated[int, typer.Argument(metavar="PICTURE", help="The picture's id, as in stock list.")],
    size: Annotated[int, typer.Option(min=16, max=1024, metavar="N", help="Pixels a side.")] = 1024,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The PNG to write. (default: picture-ID.png, here)")
    ] = None,
) -> None:
    """Make a picture again from its seed, at another size."""
    settings = _settings()

    from meshibot.stock import again, inventory

    with _existing(settings) as database:
        row = inventory.find(_required(database), picture)
    target = to or Path(f"picture-{picture}.png")
    again.make(settings.checkpoint_file, row, size, target)
    print(target)


@review_app.command("export")
def review_export(
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write. (default: standard output)")
    ] = None,
) -> None:
    """Every verdict as a line of JSON: checkpoint, seed, score, verdict, reason."""
    settings = _settings()

    import json as jsonlib

    from meshibot.stock import review
    from trainer.files import atomic_write

    with _existing(settings) as database:
        rows = []
        if database is not None:
            with database.read() as session:
                rows = [jsonlib.dumps(row, ensure_ascii=False) + "\n" for row in review.verdicts(session)]
    if to is None:
        sys.stdout.writelines(rows)
    else:
        atomic_write(to, "".join(rows).encode())
        say(f"{len(rows)} verdicts were written to {to}.")


@slots_app.command("list")
def slots_list(
    account: AccountOption = None,
    days: Annotated[int, typer.Option(min=1, max=366, metavar="N", help="How many days ahead.")] = 7,
    json: JsonOption = False,
) -> None:
    """The slots ahead, and what was said for them."""
    settings = _settings()
    accounts = settings.accounts if account is None else (settings.account(account),)

    from meshibot import agenda
    from meshibot.schedule import schedule_of
    from meshibot.views import entry_json

    documents = []
    with _existing(settings) as database:
        if database is not None:
            with database.read() as session:
                for each in accounts:
                    now = _now()
                    end = now + timedelta(days=days)
                    span = agenda.entries(session, each.name, schedule_of(each), now, end, now)
                    documents += [entry_json(entry) for entry in span]
    documents.sort(key=lambda document: document["due_at"])
    if json:
        print_json(documents)
    else:
        columns = ("slot", "account", "local", "state", "picture", "caption")
        print_table(columns, [[document[name] for name in columns] for document in documents])


@slots_app.command("skip")
def slots_skip(slot: SlotArgument, account: AccountOption = None, json: JsonOption = False) -> None:
    """Let a slot go by without a post."""
    _change_slot(account, json, lambda slots, desk: slots.skip(desk, _slot(slot)))


@slots_app.command("restore")
def slots_restore(slot: SlotArgument, account: AccountOption = None, json: JsonOption = False) -> None:
    """Plan a slot again that was skipped."""
    _change_slot(account, json, lambda slots, desk: slots.restore(desk, _slot(slot)))


@slots_app.command("move")
def slots_move(
    slot: SlotArgument,
    to: Annotated[str, typer.Argument(metavar="TIME", help="A local time such as 2026-11-27T23:00.")],
    account: AccountOption = None,
    json: JsonOption = False,
) -> None:
    """Have a slot at another time."""
    _change_slot(account, json, lambda slots, desk: slots.move(desk, _slot(slot), _local(to)))


@slots_app.command("add")
def slots_add(
    at: Annotated[str, typer.Argument(metavar="TIME", help="A local time such as 2026-11-27T23:00.")],
    account: AccountOption = None,
    json: JsonOption = False,
) -> None:
    """A slot that the schedule does not have."""
    _change_slot(account, json, lambda slots, desk: slots.add(desk, _local(at)))


@slots_app.command("swap")
def slots_swap(
    slot: SlotArgument,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another slot of the same account.")],
    account: AccountOption = None,
    json: JsonOption = False,
) -> None:
    """Exchange what two slots show."""
    _change_slot(account, json, lambda slots, desk: slots.swap(desk, _slot(slot), _slot(other)))


@slots_app.command("put")
def slots_put(
    slot: SlotArgument,
    picture: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="A picture of the stock. (default: the next one)"),
    ] = None,
    caption: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What is said; may use {marker}. (default: as usual)"),
    ] = None,
    alt_text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="For those who don't see it. (default: as usual)")
    ] = None,
    account: AccountOption = None,
    json: JsonOption = False,
) -> None:
    """Say what a slot is to show and say."""

    def put(slots: Any, desk: Any) -> Any:
        from meshibot.assembly import require_postable

        require_postable(_settings(said=False).account(desk.account), caption, alt_text)
        words = None if caption is None and alt_text is None else slots.Words(caption, alt_text)
        return slots.put(desk, _slot(slot), picture, words)

    _change_slot(account, json, put)


@slots_app.command("clear")
def slots_clear(slot: SlotArgument, account: AccountOption = None, json: JsonOption = False) -> None:
    """Take back what was said for a slot."""
    _change_slot(account, json, lambda slots, desk: slots.clear(desk, _slot(slot)))


def _change_slot(account: str | None, json: bool, change: Callable[[Any, Any], Any]) -> None:
    settings = _settings()
    chosen = settings.account(account)

    from meshibot import agenda, slots
    from meshibot.outbox.people import COMMAND_LINE
    from meshibot.schedule import schedule_of
    from meshibot.views import entry_json

    schedule = schedule_of(chosen)
    with _existing(settings) as existing:
        database = _required(existing)
        desk = slots.Desk(database, chosen.name, chosen.publisher, schedule, COMMAND_LINE)
        changed = change(slots, desk)
        with database.read() as session:
            entry = agenda.entry_of(session, changed.slot, schedule)
    document = {} if entry is None else entry_json(entry)
    say(
        f"Slot {changed.slot}: {document['state']}, {document['local']} "
        f"(`meshibot undo {changed.event}` takes it back)."
    )
    if json:
        print_json(document | {"event": changed.event})


def _slot(text: str) -> int | datetime:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else _local(text)


def _local(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is neither a slot's id nor a local time such as 2026-11-27T23:00."
        ) from None
    return moment.replace(tzinfo=None, second=0, microsecond=0)


@app.command()
def events(
    limit: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="How many at most.")] = 20,
    json: JsonOption = False,
) -> None:
    """What people changed, the newest first."""
    settings = _settings()

    from meshibot import events as log_of_events
    from meshibot.undo import can_be_taken_back
    from meshibot.views import event_json

    documents = []
    with _existing(settings) as database:
        if database is not None:
            with database.read() as session:
                documents = [
                    event_json(event) | {"undo": can_be_taken_back(event)}
                    for event in log_of_events.recent(session, limit)
                ]
    if json:
        print_json(documents)
    else:
        columns = ("id", "at", "actor", "action", "account", "post", "slot", "picture")
        print_table(columns, [[document[name] for name in columns] for document in documents])


@app.command()
def undo(
    event: Annotated[list[int], typer.Argument(metavar="EVENT...", help="As in events.")],
) -> None:
    """Take back what was changed, as long as nothing has come of it."""
    settings = _settings()

    from meshibot.outbox.people import COMMAND_LINE
    from meshibot.schedule import schedule_of
    from meshibot.slots import Desk
    from meshibot.undo import undo as take_back

    def desk_of(name: str) -> Desk:
        account = settings.account(name)
        return Desk(database, name, account.publisher, schedule_of(account), COMMAND_LINE)

    with _existing(settings) as existing:
        database = _required(existing)
        done = take_back(database, event, desk_of, now=_now(), by=COMMAND_LINE)
    say(f"{'1 change was' if len(done) == 1 else f'{len(done)} changes were'} taken back.")


@app.command()
def web(
    address: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="N", help="The port.")] = 8742,
    expose: Annotated[
        bool,
        typer.Option("--expose", help="Let others than this machine reach it."),
    ] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name by which it may be asked, such as a proxy's."),
    ] = None,
    https: Annotated[bool, typer.Option("--https", help="A proxy in front of it speaks https.")] = False,
    run: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A training's run folder, to be shown live.")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Only print a link that lets somebody in once.")
    ] = False,
) -> None:
    """The page for review, gallery and calendar; a process of its own, which never posts by itself."""
    gc.enable()
    settings = _settings(logging.INFO)

    from meshibot.web.server import Place, new_link, serve

    place = Place(address, port, expose, tuple(name or ()), https)
    place.require_meant()
    say(f"This link lets you in once, within ten minutes: {new_link(settings, place)}")
    if not link:
        serve(settings, place, run=run)


@app.command()
def history(
    account: AccountOption = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000_000, metavar="N", help="How many posts at most.")
    ] = 100,
    json: JsonOption = False,
) -> None:
    """The posts, newest first."""
    settings = _settings()

    from meshibot.database.migrate import open_existing
    from meshibot.views import post_json, recent_posts

    with open_existing(settings.database_address) as database:
        documents = []
        if database is not None:
            with database.read() as session:
                documents = [post_json(post, settings) for post in recent_posts(session, limit, account)]
    if account is not None and not documents:
        settings.account(account)  # without posts it has to be one of the settings at least
    if json:
        print_json(documents)
    else:
        show_posts(documents)


@app.command()
def status(
    alive: Annotated[
        bool, typer.Option("--alive", help="Say nothing; end with 0 while a daemon lives, 1 otherwise.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """How things stand."""
    settings = _settings(said=not alive)

    from meshibot.status import status as look

    document = look(settings, _now())
    if alive:
        raise typer.Exit(0 if document["daemon"] and document["daemon"]["running"] else 1)
    if json:
        print_json(document)
    else:
        show_status(document)


@app.command()
def insights(account: AccountOption = None, json: JsonOption = False) -> None:
    """How people answered to the posts."""
    settings = _settings()
    accounts = settings.accounts if account is None else (settings.account(account),)

    from meshibot.insights.tables import insights as of_account

    with _existing(settings) as database:
        if database is None:
            documents = []
        else:
            with database.read() as session:
                documents = [of_account(session, each, _now()) for each in accounts]
    if json:
        print_json(documents)
        return
    for document in documents:
        show_insights(document)
    if not documents:
        say("There is no database yet, and so no post.")


@app.command()
def plan(
    account: AccountOption = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="A date such as 2026-11-24. (default: now)")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3660, metavar="N", help="How many days.")] = 7,
    json: JsonOption = False,
) -> None:
    """The slots that the schedule gives, without writing any."""
    settings = _settings()
    accounts = settings.accounts if account is None else (settings.account(account),)

    from meshibot.schedule import schedule_of
    from meshibot.views import upcoming

    pairs = [(each, schedule_of(each)) for each in accounts]
    documents = upcoming(pairs, _date(start), days, _now())
    if json:
        print_json(documents)
    else:
        for each, schedule in pairs:
            if schedule.auto is not None:
                say(f"{each.name}: hours are drawn a day or two ahead; `meshibot slots list` has them.")
        print_table(("account", "local", "UTC"), [(d["account"], d["local"], d["due_at"]) for d in documents])


@app.command()
def check(
    paid: Annotated[bool, typer.Option("--paid", help="Also ask what a network charges for.")] = False,
    json: JsonOption = False,
) -> None:
    """Everything that a post depends on, and how to mend it. Ends with 0, 1 (a warning) or 2 (broken)."""
    settings = _settings(cautious=True, said=False)

    from meshibot import health

    findings = health.check(settings, _now(), paid=paid)
    if json:
        print_json([finding.to_json() for finding in findings])
    else:
        print_table(("", "looked at", "found"), [(f.level, f.subject, f.says) for f in findings])
    raise typer.Exit(health.exit_status(findings))


@app.command()
def notify(
    test: Annotated[bool, typer.Option("--test", help="Only send a trial by every way.")] = False,
) -> None:
    """Look what is wrong, and tell it by the ways of MESHIBOT_NOTIFY_…, as the daemon does each minute."""
    settings = _settings()

    from meshibot.notices.notifier import Notifier, try_out
    from meshibot.notices.ways import ways

    there = ways(settings)
    if not there:
        raise UsageError("No way is set: see MESHIBOT_NOTIFY_NTFY and the others in .env.example.")
    if test:
        went = try_out(settings, _now())
    else:
        with _existing(settings) as database:
            notifier = Notifier(_required(database), settings)
            notifier.look(patient=False)
            went = [(way.name, notifier.tell(way, _now())) for way in there]
    for name, error in went:
        say(f"{name}: {error or 'told.'}")
    raise typer.Exit(1 if any(error for _, error in went) else 0)


@app.command()
def config(json: JsonOption = False) -> None:
    """The settings that count, and where each was said."""
    settings = _settings()

    from meshibot.config import effective

    document = effective(settings)
    if json:
        print_json(document)
    else:
        show_settings(document)


@app.command()
def resolve(
    post: Annotated[int, typer.Argument(metavar="POST", help="The post's id, as in history.")],
    posted: Annotated[
        str | None, typer.Option("--posted", metavar="ID", help="It is there: its address, or its id.")
    ] = None,
    absent: Annotated[bool, typer.Option("--absent", help="It is not there.")] = False,
    json: JsonOption = False,
) -> None:
    """Say of an unclear post whether it was posted."""
    if (posted is None) is not absent:
        raise UsageError("Say either --posted ID or --absent.")
    settings = _settings()

    from meshibot.assembly import publisher_of
    from meshibot.database.migrate import open_existing
    from meshibot.outbox import people

    with open_existing(settings.database_address) as existing:
        database = _required(existing)
        found = None
        if posted is not None:
            row = people.load_post(database, post)
            account = settings.account(row.account)
            with closing(publisher_of(settings, account, row.publisher)) as publisher:
                found = publisher.named(posted)
        people.resolve(database, post, posted=found)
        document = _post_document(settings, database, post)
    say(outcome(document))
    if json:
        print_json(document)


@app.command()
def cancel(
    post: Annotated[int, typer.Argument(help="The post's id, as in history.")], json: JsonOption = False
) -> None:
    """Withdraw a post that waits."""
    settings = _settings()

    from meshibot.database.migrate import open_existing
    from meshibot.outbox import people

    with open_existing(settings.database_address) as existing:
        database = _required(existing)
        people.cancel(database, post)
        document = _post_document(settings, database, post)
    say(outcome(document))
    if json:
        print_json(document)


@app.command()
def resume(
    account: Annotated[
        str | None, typer.Argument(help="Which account. (default: all that are stopped)")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Let a stopped account send again, where its network accepts it."""
    settings = _settings()

    from meshibot.resuming import resume as resume_accounts

    chosen = settings.accounts if account is None else (settings.account(account),)
    documents = resume_accounts(settings, chosen)
    for document in documents:
        say(document["says"])
    if not documents:
        say("No account is stopped.")
    if json:
        print_json(documents)
    raise typer.Exit(max((document["exit_status"] for document in documents), default=0))


@app.command()
def delete(
    post: Annotated[int, typer.Argument(metavar="POST", help="The post's id, as in history.")],
    json: JsonOption = False,
) -> None:
    """Take a post down."""
    settings = _settings()

    from meshibot.assembly import publisher_of
    from meshibot.database.migrate import open_existing
    from meshibot.outbox import people

    with open_existing(settings.database_address) as existing:
        database = _required(existing)
        people.delete(
            database, post, lambda row: publisher_of(settings, settings.account(row.account), row.publisher)
        )
        document = _post_document(settings, database, post)
    say(f"Post {post} was taken down.")
    if json:
        print_json(document)


@app.command("backup")
def backup_everything(
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The archive, or its folder. (default: HOME/backups)")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Everything in one archive: database, pictures, settings without secrets."""
    settings = _settings()

    from meshibot.backup.archive import name_of
    from meshibot.backup.make import make

    now = _now()
    if to is None or to.is_dir():
        to = (to or settings.backups_folder) / name_of(now)
    made = make(settings, to, now)
    says = [f"{made.pictures} pictures, {made.bytes / 1e6:.1f} MB."]
    if made.missing:
        says.append(f"{made.missing} pictures are not inside: their files are missing.")
    if made.secrets_left_out:
        says.append(f"Left out, keep them elsewhere: {', '.join(made.secrets_left_out)}.")
    say(" ".join(says))
    if json:
        print_json(
            {
                "file": str(made.file),
                "bytes": made.bytes,
                "pictures": made.pictures,
                "missing": made.missing,
                "secrets_left_out": list(made.secrets_left_out),
            }
        )
    else:
        print(made.file)


@app.command("restore")
def restore_everything(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="What meshibot backup made.")],
    stopped: Annotated[
        bool, typer.Option("--stopped", help="Ask no network; accounts stay stopped until meshibot resume.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Put a backup in place; nothing that was posted since is posted again."""
    settings = _settings()

    from meshibot import restoring
    from meshibot.resuming import resume as resume_accounts

    document = restoring.restore(settings, archive, _now())
    say(f"Restored as of {document['made_at']}; {document['pictures']} pictures were put in place.")
    for each in document["held"]:
        say(f"{each['account']}: {each['slots']} slots since are held, {each['unclear']} posts are unclear.")
    if document["kept"]:
        say(f"What was there before is kept as {document['kept']}.")
    for file in document["settings"]:
        say(f"Settings of the backup, without secrets: {file}")
    document["accounts"] = [] if stopped else resume_accounts(settings, settings.accounts)
    for account in document["accounts"]:
        say(account["says"])
    if json:
        print_json(document)
    raise typer.Exit(max((account["exit_status"] for account in document["accounts"]), default=0))


@db_app.command("hold")
def db_hold(
    since: Annotated[
        str,
        typer.Option("--since", metavar="TIME", help="When its backup was made, as 2026-11-24T03:00."),
    ],
    json: JsonOption = False,
) -> None:
    """After restoring a database by other means: post nothing again."""
    moment = _date(since, "--since")
    settings = _settings()

    from meshibot import restoring

    if moment is None or moment.astimezone(UTC) > _now():
        raise UsageError(f"--since is {since!r}: say when the backup was made, in the past.")
    document = restoring.hold(settings, moment.astimezone(UTC), _now())
    for each in document["held"]:
        say(f"{each['account']}: {each['slots']} slots since are held, {each['unclear']} posts are unclear.")
    say("The accounts are stopped: `meshibot resume` asks their networks what was posted since.")
    if json:
        print_json(document)


@db_app.command("upgrade")
def db_upgrade() -> None:
    """Create the database, or bring it up to this version."""
    settings = _settings()

    from meshibot.assembly import make_home
    from meshibot.database.migrate import upgrade

    make_home(settings)
    say("The database was brought up to date." if upgrade(settings.database_address) else "Nothing to do.")


@db_app.command("backup")
def db_backup(
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file, or its folder. (default: HOME/backups)")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Copy the database, consistent even while the bot writes."""
    settings = _settings()

    from meshibot.database.migrate import backup

    name = f"meshibot-{_now():%Y%m%dT%H%M%SZ}.sqlite3"
    if to is None:
        to = settings.home / "backups" / name
    elif to.is_dir():
        to /= name
    file = backup(settings.database_address, to)
    if json:
        print_json({"file": str(file)})
    else:
        print(file)


def main() -> None:
    """Run the command line; whatever a user can mend ends in one sentence and its status, not a traceback."""
    # a command ends before garbage matters, and imports alone would have it looked for 170 times
    gc.disable()
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that can't show Japanese must not stop a post.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # what can't be written is said by the sentences below, not by Python's exit
    except MeshibotError as error:
        _end(str(error), error.exit_status)
    except BrokenPipeError:
        # The reader went away (`| head`): nothing is wrong.
        _give_up_output()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        _give_up_output()
        where = f"{error.filename}: " if error.filename else ""
        hint = " Make room, then try again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        _end(f"{where}{error.strerror or error}.{hint}", 1)
    except Exception as error:
        # Imported only now: what has not been imported has not raised.
        from sqlalchemy.exc import SQLAlchemyError

        from trainer.errors import TrainerError

        if isinstance(error, TrainerError):
            _end(str(error), error.exit_status)
        if isinstance(error, SQLAlchemyError):
            _end(f"The database failed: {' '.join(str(error.args[0] if error.args else error).split())}.", 1)
        raise


def _open_standard_streams() -> None:
    """Where one was closed (`>&-`): its number would go to the next file, and what is printed into that."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 (for the whole process)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _give_up_output() -> None:
    """Have the flush at exit say nothing of what could not be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(sentence: str, status: int) -> None:
    from meshibot.logs import Redactor

    say(f"meshibot: {(_redact or Redactor())(sentence)}")
    sys.exit(status)


def _settings(
    level: int = logging.WARNING, *, to_file: bool = False, cautious: bool = False, said: bool = True
) -> Settings:
    """The settings, with logging set up by them and their warnings said.

    `cautious` adds to the warnings what whoever posts should know.
    """
    from meshibot.config import load_settings
    from meshibot.logs import configure_logging

    settings = load_settings()
    _keep_secrets_in(settings)
    if cautious:
        from meshibot.assembly import cautions

        settings = settings.model_copy(update={"warnings": (*settings.warnings, *cautions(settings))})
    if to_file:
        from meshibot.assembly import make_home

        make_home(settings)
    configure_logging(
        logging.getLevelNamesMapping()[settings.log_level.upper()] if settings.log_level else level,
        settings.log_format,
        secrets=settings.secrets,
        file=settings.home / "logs" / "meshibot.log" if to_file else None,
    )
    for warning in settings.warnings if said else ():
        logging.getLogger("meshibot").warning("%s", warning)
    return settings


def _keep_secrets_in(settings: Settings) -> None:
    """A crash must not write them to the terminal or, as a core dump, to the disk."""
    global _redact
    from meshibot.logs import Redactor, hide_in_tracebacks

    _redact = Redactor(settings.secrets)
    hide_in_tracebacks(_redact)
    with suppress(ImportError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _secrets_of(file: Path | None) -> dict[str, str]:
    """The lines of a file with secrets, or of standard input. UsageError where it can't be read."""
    if file is None:
        return {}
    from io import StringIO

    from dotenv import dotenv_values

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The file of --secrets, {file}, can't be read: give one in UTF-8.") from error
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value}


def _existing(settings: Settings) -> AbstractContextManager[Database | None]:
    from meshibot.database.migrate import open_existing

    return open_existing(settings.database_address)


def _waiting(database: Database | None, preferred: str | None) -> list[Picture]:
    from meshibot.stock.inventory import waiting

    return waiting(database, preferred) if database else []


def _fingerprint(settings: Settings) -> str | None:
    """The SHA-256 of the configured checkpoint; None where it can't be read."""
    from trainer.checkpoint import fingerprint_of

    try:
        return fingerprint_of(settings.checkpoint_file)
    except OSError:
        return None


def _pictures(count: int) -> str:
    return "1 picture was" if count == 1 else f"{count} pictures were"


def _required(database: Database | None) -> Database:
    if database is None:
        raise UsageError("There is no database yet, and so no post: see `meshibot history`.")
    return database


def _post_document(settings: Settings, database: Database, post: int) -> dict[str, Any]:
    from meshibot.views import load_post, post_json

    with database.read() as session:
        return post_json(load_post(session, post), settings)


def _now() -> datetime:
    return datetime.now(UTC)


def _date(text: str | None, option: str = "--from") -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} is {text!r}: write a date such as 2026-11-24.") from None
    if not 1900 <= moment.year < 3000:  # a schedule looks around it, and the calendar ends at both ends
        raise UsageError(f"{option} is {text!r}: write a date between 1900 and 2999.")
    return moment
