"""Setting an account up, and seeing to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from meshibot.cli.apps import (
    JsonOption,
    app,
)
from meshibot.cli.settings import keep_secrets_in, read_settings
from meshibot.cli.shared import (
    current_time,
    existing_database,
    required,
)
from meshibot.display import (
    print_json,
    print_table,
    say,
    show_post,
    show_settings,
)
from meshibot.errors import UsageError


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
    current = read_settings(said=False)

    from meshibot.kinds import Kind
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
    prepared = prepare(questions, folder, current_time())
    keep_secrets_in(prepared.settings)
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
            post = posting.rehearse(prepared.settings, chosen, Kind.SINGLE, current_time(), workshop)
            post = preview.keep(post)
        preview.draw(Path(post["picture"]))
        show_post(post)
        say("Nothing was posted: this was a rehearsal.")
    say(
        f"Next: `meshibot post-now --account {prepared.account}` posts one, `meshibot run` posts on schedule."
    )


@app.command()
def check(
    paid: Annotated[bool, typer.Option("--paid", help="Also ask what a network charges for.")] = False,
    json: JsonOption = False,
) -> None:
    """Everything that a post depends on, and how to mend it. Ends with 0, 1 (a warning) or 2 (broken)."""
    settings = read_settings(cautious=True, said=False)

    from meshibot import health

    findings = health.check(settings, current_time(), paid=paid)
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
    settings = read_settings()

    from meshibot.notices.notifier import Notifier, try_out
    from meshibot.notices.ways import ways

    there = ways(settings)
    if not there:
        raise UsageError("No way is set: see MESHIBOT_NOTIFY_NTFY and the others in .env.example.")
    if test:
        went = try_out(settings, current_time())
    else:
        with existing_database(settings) as database:
            notifier = Notifier(required(database), settings)
            notifier.look(patient=False)
            awake = [way for way in there if not notifier.is_quiet(way, current_time())]
            went = [(way.name, notifier.tell(way, current_time())) for way in awake]
            for way in there:
                if way not in awake:
                    say(f"{way.name}: waits until the quiet hours are over ({settings.notify_quiet_hours}).")
    for name, error in went:
        say(f"{name}: {error or 'told.'}")
    raise typer.Exit(1 if any(error for _, error in went) else 0)


@app.command()
def config(json: JsonOption = False) -> None:
    """The settings that count, and where each was said."""
    settings = read_settings()

    from meshibot.config import effective

    document = effective(settings)
    if json:
        print_json(document)
    else:
        show_settings(document)


@app.command()
def resume(
    account: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which account. (all that are stopped)")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Let a stopped account send again, where its network accepts it."""
    settings = read_settings()

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
