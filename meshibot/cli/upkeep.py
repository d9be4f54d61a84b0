"""Backup, restore, and the database."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Annotated

import typer

from meshibot.cli.apps import (
    JsonOption,
    app,
    db_app,
)
from meshibot.cli.settings import read_settings
from meshibot.cli.shared import (
    current_time,
    parse_date,
)
from meshibot.display import (
    Json,
    print_json,
    say,
)
from meshibot.errors import UsageError
from meshibot.plural import counted, were


@app.command("backup")
def backup_everything(
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The archive, or its folder. (default: HOME/backups)")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Everything in one archive: database, pictures, settings without secrets."""
    settings = read_settings()

    from meshibot.backup.archive import name_of
    from meshibot.backup.make import make

    now = current_time()
    if to is None or to.is_dir():
        to = (to or settings.backups_folder) / name_of(now)
    made = make(settings, to, now)
    says = [f"{counted(made.pictures, 'picture')}, {made.bytes / 1e6:.1f} MB."]
    if made.missing:
        says.append(f"Not inside, for their files are missing: {counted(made.missing, 'picture')}.")
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
    settings = read_settings()

    from meshibot import restoring
    from meshibot.resuming import resume as resume_accounts

    document = restoring.restore(settings, archive, current_time())
    say(f"Restored as of {document['made_at']}; {were(document['pictures'], 'picture')} put in place.")
    for each in document["held"]:
        say(_what_is_held(each))
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


def _what_is_held(account: Json) -> str:
    slots, posts = counted(account["slots"], "slot"), counted(account["unclear"], "post")
    return f"{account['account']}: held of what came since: {slots}; unclear: {posts}."


@db_app.command("hold")
def db_hold(
    since: Annotated[
        str,
        typer.Option("--since", metavar="TIME", help="When its backup was made, as 2026-11-24T03:00."),
    ],
    json: JsonOption = False,
) -> None:
    """After restoring a database by other means: post nothing again."""
    moment = parse_date(since, "--since")
    settings = read_settings()

    from meshibot import restoring

    if moment is None or moment.astimezone(UTC) > current_time():
        raise UsageError(f"--since is {since!r}: say when the backup was made, in the past.")
    document = restoring.hold(settings, moment.astimezone(UTC), current_time())
    for each in document["held"]:
        say(_what_is_held(each))
    say("The accounts are stopped: `meshibot resume` asks their networks what was posted since.")
    if json:
        print_json(document)


@db_app.command("upgrade")
def db_upgrade() -> None:
    """Create the database, or bring it up to this version."""
    settings = read_settings()

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
    settings = read_settings()

    from meshibot.database.migrate import backup

    name = f"meshibot-{current_time():%Y%m%dT%H%M%SZ}.sqlite3"
    if to is None:
        to = settings.home / "backups" / name
    elif to.is_dir():
        to /= name
    file = backup(settings.database_address, to)
    if json:
        print_json({"file": str(file)})
    else:
        print(file)
