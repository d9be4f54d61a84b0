"""What people read on a terminal: plain lines, and tables drawn by rich where there is a terminal."""

import json
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any, TextIO

from meshibot.plural import counted

Json = dict[str, Any]

_INDENT = 7


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def say(text: str, *, stream: TextIO | None = None) -> None:
    """A line for people, on standard error unless told otherwise."""
    print(text, file=stream or sys.stderr)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headers; on anything but a terminal plain columns with tabs between, for `cut` and `awk`."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [list(headers), *texts]:
            print("\t".join(" ".join(cell.split()) for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for header in headers:
        table.add_column(header, overflow="fold")  # an address is of use only whole
    for row in texts:
        table.add_row(*map(Text, row))
    Console().print(table)


def print_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """Names and values, one a line, values in a column; a value of several lines stays in it."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        if value is not None:
            lines = str(value).splitlines() or [""]
            print(f"{name:<{width}}  {lines[0]}")
            for line in lines[1:]:
                print(f"{'':<{width}}  {line}")


def outcome(post: Json) -> str:
    """One sentence on what became of a post."""
    name = f"Post {post['id']} (No.{post['serial']:04d}, {post['account']})"
    because = f" {post['reason']}" if post["reason"] else ""
    said = {
        "posted": f"{name} is posted.",
        "rejected": f"{name} was rejected:{because}",
        "missed": f"{name} was given up:{because}",
        "deleted": f"{name} was taken down.",
        "cancelled": f"{name} was withdrawn.",
        "needs_person": f"{name} needs a person:{because}",
        "unknown": f"{name} may have been posted:{because} `meshibot run` finds out, or `meshibot resolve`.",
        "sending": f"{name} is being sent, or its process was ended there: `meshibot run` finds out.",
    }
    later = (
        f"{name} is not posted yet:{because} `meshibot run` goes on with it, `meshibot cancel {post['id']}` "
        "withdraws it."
    )
    return said.get(post["state"], later)


def show_post(post: Json) -> None:
    """One post, whole."""
    quantile = post["quantile"]
    above = None if quantile is None else f"above {quantile:.1%} of held-out photographs"
    cost = post.get("cost")
    print_pairs(
        [
            ("picture", post["picture"]),
            ("caption", post["caption"]),
            ("alt text", post["alt_text"]),
            ("critic score", above and f"{post['score']:.3f}, {above}"),
            *((count["unit"], f"{count['used']} of {count['limit']}") for count in post.get("counts", ())),
            ("cost", None if cost is None else f"${cost:.3f}"),
            ("state", post["state"]),
            ("url", post["url"]),
        ]
    )


def show_posts(posts: Sequence[Json]) -> None:
    """The posts: in a pipe a line each, on a terminal some lines that fit its width."""
    if sys.stdout.isatty():
        for post in posts:
            _show_post_briefly(post)
        return
    print_table(
        ("post", "account", "serial", "state", "created", "caption", "url or reason", "group"),
        [
            (
                post["id"],
                post["account"],
                f"No.{post['serial']:04d}",
                post["state"],
                post["created_at"],
                post["caption"],
                post["url"] or post["reason"],
                post.get("group"),
            )
            for post in posts
        ],
    )


def _show_post_briefly(post: Json) -> None:
    """What it is on one line, its caption on one, and where it is, or why it isn't, whole."""
    from rich.cells import cell_len, set_cell_size

    width = shutil.get_terminal_size().columns
    print(
        f"{post['id']:>5}  No.{post['serial']:04d}  {post['state']:<12}  "
        f"{_local(post['created_at'])}  {post['account']}{_with(post)}"
    )
    caption = " ".join((post["caption"] or "").split())
    if caption:
        room = max(20, width - _INDENT)
        shown = caption if cell_len(caption) <= room else set_cell_size(caption, room - 2).rstrip() + "…"
        print(f"{'':{_INDENT}}{shown}")
    said = post["url"] or post["reason"]
    for line in said.splitlines() if said else ():
        print(f"{'':{_INDENT}}{line}")


def _with(post: Json) -> str:
    """The group that it was posted with."""
    return f" (group {post['group'].partition('|')[0]})" if post.get("group") else ""


def _local(moment: str) -> str:
    """An instant on this machine's clock, such as `2026-11-24 23:00 JST`."""
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M %Z}"


def show_stock(pictures: Sequence[Json]) -> None:
    """The pictures that wait; on a terminal without the folder, which all of them share."""
    terminal = sys.stdout.isatty()
    print_table(
        ("picture", "quantile", "score", "checkpoint", "file"),
        [
            (
                picture["id"],
                f"{picture['quantile']:.3f}",
                f"{picture['score']:.3f}",
                picture["checkpoint"][:12] if terminal else picture["checkpoint"],
                PurePath(picture["file"]).name if terminal else picture["file"],
            )
            for picture in pictures
        ],
    )


def show_settings(document: Json) -> None:
    """The files that were read, then every setting with its value and where it was said."""
    for file in document["files"]:
        say(f"read: {file}")
    if not document["files"]:
        say("No .env and no meshibot.toml was found.")
    groups = [("", document["settings"])]
    groups += [(account["name"], account["settings"]) for account in document["accounts"]]
    print_table(
        ("account", "setting", "value", "from"),
        [
            (account, setting["name"], _as_written(setting["value"]), setting["from"])
            for account, settings in groups
            for setting in settings
        ],
    )


def _as_written(value: object) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def show_status(status: Json) -> None:
    """Accounts, stock, daemon, what needs a person or waits, what was missed, and the last posts."""
    for account in status["accounts"]:
        slot = account["next_slot"]
        stopped = f" STOPPED: {account['stopped_reason']}" if account["state"] == "stopped" else ""
        when = f"next post {slot['local']}" if slot else "no slot within a year"
        print(f"account {account['name']} ({account['publisher']}): {when}{stopped}")
    print(f"stock: {status['stock']['waiting']} of {status['stock']['target']} pictures wait")
    if "approved" in status["stock"]:
        print(f"review: {status['stock']['approved']} of them are approved, and only those are posted")
    daemon = status["daemon"]
    if daemon and daemon["running"]:
        print(f"daemon: runs on {daemon['host']} (pid {daemon['pid']}) since {daemon['started_at']}")
    else:
        print(f"daemon: does not run{', last seen ' + daemon['seen_at'] if daemon else ''}")
    for post in (*status["needs_person"], *status["open_posts"]):
        print(outcome(post))
    for slot in status["missed"]:
        print(f"missed {slot['local']} ({slot['account']}): {slot['reason']}")
    if status["recent"]:
        show_posts(status["recent"])


def show_insights(document: Json) -> None:
    """One account's: how much was counted, what it costs, and the tables."""
    name = f"{document['account']} ({document['publisher']})"
    if not document["has_reactions"]:
        say(f"{name}: nobody can answer to a post there, so there is nothing to count.")
    elif not document["is_read"]:
        say(f"{name}: reactions are not read here: see MESHIBOT_REACTIONS.")
    if document["has_reactions"] or document["counted"]:  # of where it posted before
        posts = counted(document["posts"], "post")
        say(f"{name}: {document['counted']} of {posts} counted, each when it was a day old.")
    if document["most_a_post"] and document["is_read"]:
        say(
            f"{name}: reading cost ${document['spent_this_month']:.3f} this month, and costs up to "
            f"${document['most_a_post']:.3f} a post."
        )
    rows = [
        (
            document["account"],
            by,
            line["value"],
            line["posts"],
            f"{line['mean']:.1f}",
            f"{line['low']:.1f}-{line['high']:.1f}",
        )
        for by, lines in document["by"].items()
        for line in lines
    ]
    if rows:
        likely = f"{document['level']:.0%} interval"
        print_table(("account", "by", "", "posts", "reactions a post", likely), rows)
