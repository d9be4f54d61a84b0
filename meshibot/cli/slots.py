"""The moments at which is posted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from meshibot.cli.apps import (
    AccountOption,
    JsonOption,
    SlotArgument,
    app,
    slots_app,
)
from meshibot.cli.settings import read_settings
from meshibot.cli.shared import (
    current_time,
    desk_of,
    existing_database,
    parse_date,
    required,
)
from meshibot.display import (
    print_json,
    print_table,
    say,
)
from meshibot.errors import UsageError


@slots_app.command("list")
def slots_list(
    account: AccountOption = None,
    days: Annotated[int, typer.Option(min=1, max=366, metavar="N", help="How many days ahead.")] = 7,
    json: JsonOption = False,
) -> None:
    """The slots ahead, and what was said for them."""
    settings = read_settings()
    accounts = settings.accounts if account is None else (settings.account(account),)

    from meshibot import agenda
    from meshibot.slots import schedule_of
    from meshibot.views import entry_json

    documents = []
    with existing_database(settings) as database:
        if database is not None:
            with database.read() as session:
                for each in accounts:
                    now = current_time()
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
    _change_slot(account, json, lambda changes, desk: changes.skip(desk, _slot(slot)))


@slots_app.command("restore")
def slots_restore(slot: SlotArgument, account: AccountOption = None, json: JsonOption = False) -> None:
    """Plan a slot again that was skipped."""
    _change_slot(account, json, lambda changes, desk: changes.restore(desk, _slot(slot)))


@slots_app.command("move")
def slots_move(
    slot: SlotArgument,
    to: Annotated[str, typer.Argument(metavar="TIME", help="A local time such as 2026-11-27T23:00.")],
    account: AccountOption = None,
    json: JsonOption = False,
) -> None:
    """Have a slot at another time."""
    _change_slot(account, json, lambda changes, desk: changes.move(desk, _slot(slot), _local(to)))


@slots_app.command("add")
def slots_add(
    at: Annotated[str, typer.Argument(metavar="TIME", help="A local time such as 2026-11-27T23:00.")],
    account: AccountOption = None,
    json: JsonOption = False,
) -> None:
    """A slot that the schedule does not have."""
    _change_slot(account, json, lambda changes, desk: changes.add(desk, _local(at)))


@slots_app.command("swap")
def slots_swap(
    slot: SlotArgument,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another slot of the same account.")],
    account: AccountOption = None,
    json: JsonOption = False,
) -> None:
    """Exchange what two slots show."""
    _change_slot(account, json, lambda changes, desk: changes.swap(desk, _slot(slot), _slot(other)))


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

    def put(changes: Any, desk: Any) -> Any:
        from meshibot.assembly import require_postable

        said = require_postable(read_settings(said=False).account(desk.account), caption, alt_text)
        words = None if caption is None and alt_text is None else changes.Words(*said)
        return changes.put(desk, _slot(slot), picture, words)

    _change_slot(account, json, put)


@slots_app.command("clear")
def slots_clear(slot: SlotArgument, account: AccountOption = None, json: JsonOption = False) -> None:
    """Take back what was said for a slot."""
    _change_slot(account, json, lambda changes, desk: changes.clear(desk, _slot(slot)))


def _change_slot(account: str | None, json: bool, change: Callable[[Any, Any], Any]) -> None:
    settings = read_settings()
    chosen = settings.account(account)

    from meshibot import agenda
    from meshibot.slots import changes
    from meshibot.views import entry_json

    with existing_database(settings) as existing:
        database = required(existing)
        desk = desk_of(settings, database, chosen.name)
        changed = change(changes, desk)
        with database.read() as session:
            entry = agenda.entry_of(session, changed.slot, desk.schedule)
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
def plan(
    account: AccountOption = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="A date such as 2026-11-24. (default: now)")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3660, metavar="N", help="How many days.")] = 7,
    json: JsonOption = False,
) -> None:
    """The slots that the schedule gives, without writing any."""
    settings = read_settings()
    accounts = settings.accounts if account is None else (settings.account(account),)

    from meshibot.slots import schedule_of
    from meshibot.views import upcoming

    pairs = [(each, schedule_of(each)) for each in accounts]
    documents = upcoming(pairs, parse_date(start), days, current_time())
    if json:
        print_json(documents)
    else:
        for each, schedule in pairs:
            if schedule.auto is not None:
                say(f"{each.name}: hours are drawn a day or two ahead; `meshibot slots list` has them.")
        print_table(("account", "local", "UTC"), [(d["account"], d["local"], d["due_at"]) for d in documents])
