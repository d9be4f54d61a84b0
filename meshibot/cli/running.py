"""The daemon, the page, and how things stand."""

from __future__ import annotations

import gc
import logging
import signal
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from meshibot.cli.apps import (
    AccountOption,
    JsonOption,
    app,
)
from meshibot.cli.settings import read_settings
from meshibot.cli.shared import (
    current_time,
    desk_of,
    existing_database,
    required,
)
from meshibot.display import (
    print_json,
    print_table,
    say,
    show_insights,
    show_status,
)
from meshibot.plural import were


@app.command()
def run() -> None:
    """Post on schedule until told to stop (SIGTERM or Ctrl-C)."""
    gc.enable()
    settings = read_settings(logging.INFO, to_file=True, cautious=True)

    from meshibot.assembly import open_bot
    from meshibot.chores import chores
    from meshibot.daemon import Daemon, ending_signals
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
        for number in ending_signals():
            signal.signal(number, signal.SIG_IGN)  # it ends as it is


@app.command()
def events(
    limit: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="How many at most.")] = 20,
    json: JsonOption = False,
) -> None:
    """What people changed, the newest first."""
    settings = read_settings()

    from meshibot import events as log_of_events
    from meshibot.undo import can_be_taken_back
    from meshibot.views import event_json

    documents = []
    with existing_database(settings) as database:
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
    settings = read_settings()

    from meshibot.outbox.people import COMMAND_LINE
    from meshibot.undo import undo as take_back

    with existing_database(settings) as existing:
        database = required(existing)
        desk = partial(desk_of, settings, database)
        done = take_back(database, event, desk, now=current_time(), by=COMMAND_LINE)
    say(f"{were(len(done), 'change')} taken back.")


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
        Path | None,
        typer.Option(
            metavar="FOLDER", help="A training's run folder, to be shown live. (default: MESHIBOT_RUN)"
        ),
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Only print a link that lets somebody in once.")
    ] = False,
) -> None:
    """The page for review, gallery and calendar; a process of its own, which never posts by itself."""
    gc.enable()
    settings = read_settings(logging.INFO)

    from meshibot.web.server import Place, new_link, require_run, serve

    place = Place(address, port, expose, tuple(name or ()), https)
    place.require_meant()
    if run is None and settings.run is not None and settings.run.is_dir():
        run = settings.run
    require_run(run)
    say(f"This link lets you in once, within ten minutes: {new_link(settings, place)}")
    if not link:
        serve(settings, place, run=run)


@app.command()
def status(
    alive: Annotated[
        bool, typer.Option("--alive", help="Say nothing; end with 0 while a daemon lives, 1 otherwise.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """How things stand."""
    settings = read_settings(said=not alive)

    from meshibot.status import status as look

    document = look(settings, current_time())
    if alive:
        raise typer.Exit(0 if document["daemon"] and document["daemon"]["running"] else 1)
    if json:
        print_json(document)
    else:
        show_status(document)


@app.command()
def insights(account: AccountOption = None, json: JsonOption = False) -> None:
    """How people answered to the posts."""
    settings = read_settings()
    accounts = settings.accounts if account is None else (settings.account(account),)

    from meshibot.insights.tables import insights as of_account

    with existing_database(settings) as database:
        if database is None:
            documents = []
        else:
            with database.read() as session:
                documents = [of_account(session, each, current_time()) for each in accounts]
    if json:
        print_json(documents)
        return
    for document in documents:
        show_insights(document)
    if not documents:
        say("There is no database yet, and so no post.")
