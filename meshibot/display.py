"""What people read on a terminal: plain lines, and tables drawn by rich where there is a terminal."""

import json
import sys
from collections.abc import Sequence
from typing import Any, TextIO

Json = dict[str, Any]


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

    table = Table(*headers, box=box.SIMPLE_HEAD)
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
    }
    later = f"{name} is not posted yet:{because} `meshibot run` goes on with it."
    return said.get(post["state"], later)


def show_post(post: Json) -> None:
    """One post, whole."""
    quantile = post["quantile"]
    believes = None if quantile is None else f"above {quantile:.1%} of held-out photographs"
    cost = post.get("cost")
    print_pairs(
        [
            ("picture", post["picture"]),
            ("caption", post["caption"]),
            ("alt text", post["alt_text"]),
            ("critic", believes and f"{believes} (score {post['score']:.3f})"),
            ("weight", f"{post['weight']} of 280" if "weight" in post else None),
            ("cost", None if cost is None else f"${cost:.3f}"),
            ("state", post["state"]),
            ("url", post["url"]),
        ]
    )


def show_posts(posts: Sequence[Json]) -> None:
    """A line for each post."""
    print_table(
        ("post", "account", "serial", "state", "created", "caption", "url or reason"),
        [
            (
                post["id"],
                post["account"],
                f"No.{post['serial']:04d}",
                post["state"],
                post["created_at"],
                post["caption"],
                post["url"] or post["reason"],
            )
            for post in posts
        ],
    )


def show_status(status: Json) -> None:
    """Accounts, stock, daemon, what needs a person, what was missed, and the last posts."""
    for account in status["accounts"]:
        slot = account["next_slot"]
        stopped = f" STOPPED: {account['stopped_reason']}" if account["state"] == "stopped" else ""
        when = f"next post {slot['local']}" if slot else "no slot within a year"
        print(f"account {account['name']} ({account['publisher']}): {when}{stopped}")
    print(f"stock: {status['stock']['waiting']} of {status['stock']['target']} pictures wait")
    daemon = status["daemon"]
    if daemon and daemon["running"]:
        print(f"daemon: runs on {daemon['host']} (pid {daemon['pid']}) since {daemon['started_at']}")
    else:
        print(f"daemon: does not run{', last seen ' + daemon['seen_at'] if daemon else ''}")
    for post in status["needs_person"]:
        print(outcome(post))
    for slot in status["missed"]:
        print(f"missed {slot['local']} ({slot['account']}): {slot['reason']}")
    if status["recent"]:
        show_posts(status["recent"])
