"""How long a database with a long history takes to come up to this version.

    python -m benchmarks.migration [--history 1000000]

Writes a history as revision 0002 had it, on SQLite and on a PostgreSQL server of our own, both with fsync,
and times the work of `meshibot db upgrade` on it. Prints a table in Markdown; judges nothing.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import text

from benchmarks.history import REVISION, write_history
from meshibot.database import Database
from meshibot.database.migrate import HEAD, upgrade
from testbed.postgres import NoServerError, cluster, empty_database


def size_mb(url: str) -> float:
    """Of the database, in MB."""
    with Database.open(url) as database, database.read() as session:
        if not database.is_sqlite:
            return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0) / 1e6
        pages = session.scalar(text("PRAGMA page_count")) or 0
        return int(pages * (session.scalar(text("PRAGMA page_size")) or 0)) / 1e6


def measure(url: str, count: int) -> str:
    """Write, and bring up to date: seconds, and the sizes before and after."""
    write_history(url, count)
    before = size_mb(url)
    began = time.perf_counter()
    upgrade(url)
    seconds = time.perf_counter() - began
    return f"{seconds:.1f} s | {before:.0f} MB | {size_mb(url):.0f} MB"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--history", type=int, default=1_000_000)
    count = parser.parse_args().history
    rows: list[tuple[str, Callable[[], str]]] = [
        ("SQLite", lambda: on_sqlite(count)),
        ("PostgreSQL", lambda: on_postgresql(count)),
    ]
    print(
        f"| {REVISION} to {HEAD}, {count:,} posts | time | size before | size after |\n|---|---:|---:|---:|"
    )
    for name, run in rows:
        try:
            print(f"| {name} | {run()} |")
        except NoServerError as error:
            print(f"{error}: not measured.", file=sys.stderr)


def on_sqlite(count: int) -> str:
    """In a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="meshibot-bench-") as folder:
        return measure(f"sqlite:///{Path(folder) / 'bot.sqlite3'}", count)


def on_postgresql(count: int) -> str:
    """On a server of its own."""
    with cluster() as server, empty_database(server) as url:
        return measure(url, count)


if __name__ == "__main__":
    main()
