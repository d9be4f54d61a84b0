"""Posting now, what was posted, and a person's word on a post."""

from __future__ import annotations

from contextlib import closing
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
    post_document,
    required,
)
from meshibot.display import (
    outcome,
    print_json,
    say,
    show_post,
    show_posts,
)
from meshibot.errors import UsageError
from meshibot.kinds import Kind


@app.command("post-now")
def post_now(
    account: AccountOption = None,
    kind: Annotated[Kind, typer.Option(help="What it shows.")] = Kind.SINGLE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show everything; change nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Post once, now."""
    settings = read_settings(cautious=True)
    chosen = settings.account(account)

    from meshibot import posting

    status = 0
    if dry_run:
        from meshibot import preview

        with preview.workshop() as folder:
            post = preview.keep(posting.rehearse(settings, chosen, kind, current_time(), folder))
        say("Nothing was posted: this was a rehearsal.")
        if not json:
            preview.draw(Path(post["picture"]))
    else:
        post, status = posting.post_now(settings, chosen, kind)
        say(outcome(post))
    if json:
        print_json(post)
    else:
        show_post(post)
    raise typer.Exit(status)


@app.command()
def history(
    account: AccountOption = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000_000, metavar="N", help="How many posts at most.")
    ] = 100,
    json: JsonOption = False,
) -> None:
    """The posts, newest first."""
    settings = read_settings()

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
    settings = read_settings()

    from meshibot.assembly import publisher_of
    from meshibot.database.migrate import open_existing
    from meshibot.outbox import people

    with open_existing(settings.database_address) as existing:
        database = required(existing)
        found = None
        if posted is not None:
            row = people.load_post(database, post)
            account = settings.account(row.account)
            with closing(publisher_of(settings, account, row.publisher)) as publisher:
                found = publisher.named(posted)
        people.resolve(database, post, posted=found)
        document = post_document(settings, database, post)
    say(outcome(document))
    if json:
        print_json(document)


@app.command()
def cancel(
    post: Annotated[int, typer.Argument(help="The post's id, as in history.")], json: JsonOption = False
) -> None:
    """Withdraw a post that waits."""
    settings = read_settings()

    from meshibot.database.migrate import open_existing
    from meshibot.outbox import people

    with open_existing(settings.database_address) as existing:
        database = required(existing)
        people.cancel(database, post)
        document = post_document(settings, database, post)
    say(outcome(document))
    if json:
        print_json(document)


@app.command()
def delete(
    post: Annotated[int, typer.Argument(metavar="POST", help="The post's id, as in history.")],
    json: JsonOption = False,
) -> None:
    """Take a post down."""
    settings = read_settings()

    from meshibot.assembly import publisher_of
    from meshibot.database.migrate import open_existing
    from meshibot.outbox import people

    with open_existing(settings.database_address) as existing:
        database = required(existing)
        people.delete(
            database, post, lambda row: publisher_of(settings, settings.account(row.account), row.publisher)
        )
        document = post_document(settings, database, post)
    say(f"Post {post} was taken down.")
    if json:
        print_json(document)
