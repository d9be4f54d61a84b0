"""The pictures that wait, and what people say of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from meshibot.cli.apps import (
    Because,
    JsonOption,
    review_app,
    stock_app,
)
from meshibot.cli.settings import read_settings
from meshibot.cli.shared import (
    checkpoint_fingerprint,
    current_time,
    existing_database,
    required,
    waiting_pictures,
)
from meshibot.display import (
    print_json,
    print_pairs,
    say,
    show_stock,
)
from meshibot.errors import NothingToDo, UsageError
from meshibot.plural import counted, were
from meshibot.thresholds import LARGEST_STOCK


@stock_app.command("fill")
def stock_fill(
    target: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=LARGEST_STOCK,
            metavar="N",
            help="How many are to wait. (default: MESHIBOT_STOCK_TARGET)",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Sample until the stock is full."""
    settings = read_settings()

    from meshibot.assembly import open_bot

    with open_bot(settings, ()) as bot:
        filling = bot.stock.fill(target or settings.stock_target)
    say(f"{counted(filling.added, 'picture')} added, {filling.stock} of {filling.target} wait.")
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
    settings = read_settings()

    from meshibot.views import picture_json

    with existing_database(settings) as database:
        configured = checkpoint_fingerprint(settings)
        pictures = waiting_pictures(database, configured)
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
    settings = read_settings()

    from meshibot.stock import inventory
    from meshibot.views import picture_json

    with existing_database(settings) as database:
        document = picture_json(inventory.find(required(database), picture), settings.home)
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
    settings = read_settings()

    from meshibot.stock.sheet import contact_sheet

    with existing_database(settings) as database:
        pictures = [
            (picture.id, settings.home / picture.file)
            for picture in waiting_pictures(database, checkpoint_fingerprint(settings))
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
    settings = read_settings()

    from meshibot.stock import inventory

    with existing_database(settings) as database:
        count = inventory.drop(required(database), pictures)
    say(f"{were(count, 'picture')} taken out of the stock.")


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
    settings = read_settings()

    from meshibot.stock import inventory
    from trainer.metadata import fingerprint_of, read_metadata

    keep = None
    if others:
        read_metadata(settings.checkpoint_file)  # where it is none, all would be of others
        keep = fingerprint_of(settings.checkpoint_file)
    with existing_database(settings) as database:
        count = 0 if database is None else inventory.clear(database, keep=keep)
    say(f"{were(count, 'picture')} taken out of the stock.")


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
    settings = read_settings()

    from meshibot.database import Verdict
    from meshibot.outbox.people import COMMAND_LINE
    from meshibot.stock import review

    with existing_database(settings) as existing:
        judged = review.judge(
            required(existing),
            dict.fromkeys(pictures),
            Verdict(said),
            now=current_time(),
            by=COMMAND_LINE,
            reason=reason,
        )
    refused = [each.refused for each in judged if each.refused is not None]
    for sentence in refused:
        say(sentence)
    say(f"{were(len(judged) - len(refused), 'picture')} {said}.")
    if json:
        print_json([{"picture": each.picture, "event": each.event, "says": each.refused} for each in judged])
    raise typer.Exit(1 if refused else 0)


@stock_app.command("words")
def stock_words(
    picture: Annotated[int, typer.Argument(metavar="PICTURE", help="The picture's id, as in stock list.")],
    caption: Annotated[
        str | None, typer.Option(help="What is said with it; {marker} is the post's number.")
    ] = None,
    alt_text: Annotated[
        str | None, typer.Option("--alt-text", help="What is said to those who don't see it.")
    ] = None,
) -> None:
    """Keep words with a picture, for the post that will show it alone; without any it has the usual ones."""
    settings = read_settings()

    from meshibot.assembly import require_postable_everywhere
    from meshibot.outbox.people import COMMAND_LINE
    from meshibot.stock import review

    said = require_postable_everywhere(settings, caption, alt_text)
    with existing_database(settings) as existing:
        review.write(required(existing), picture, *said, now=current_time(), by=COMMAND_LINE)
    say(
        f"The words of picture {picture} were kept."
        if any(said)
        else f"Picture {picture} has the usual words."
    )


@stock_app.command("again")
def stock_again(
    picture: Annotated[int, typer.Argument(metavar="PICTURE", help="The picture's id, as in stock list.")],
    size: Annotated[int, typer.Option(min=16, max=1024, metavar="N", help="Pixels a side.")] = 1024,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The PNG to write. (default: picture-ID.png, here)")
    ] = None,
) -> None:
    """Make a picture again from its seed, at another size."""
    settings = read_settings()

    from meshibot.stock import again, inventory

    with existing_database(settings) as database:
        row = inventory.find(required(database), picture)
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
    settings = read_settings()

    import json as jsonlib

    from meshibot.stock import review
    from trainer.files import atomic_write

    with existing_database(settings) as database:
        rows = []
        if database is not None:
            with database.read() as session:
                rows = [jsonlib.dumps(row, ensure_ascii=False) + "\n" for row in review.verdicts(session)]
    if to is None:
        sys.stdout.writelines(rows)
    else:
        atomic_write(to, "".join(rows).encode())
        say(f"{len(rows)} verdicts were written to {to}.")
