"""At most once, for a long time: daemons that are killed, a network that fails, and every slot accounted for.

    python -m benchmarks.soak [--slots 1000] [--workers 3] [--accounts 5] [--share 0.3] [--seed 1]
                              [--networks bluesky,mastodon,misskey,x] [--group] [--database sqlite|postgresql]

Real daemons, processes of their own, work on one database. Their accounts are on fakes of the networks by
turns, each a process with a ledger of its own, which spoil a share of all requests in every way they know and
would take the same post twice where the network would. With `--group` all accounts post the same pictures.
Every few seconds a daemon is killed and another one started at once; every few seconds one is suspended
beyond its lease, wherever it is, and wakes when others have taken over its work. A person starts accounts
that were stopped, and does nothing else. The delays of the outbox are shrunk, its rules are not.

Prints a table in Markdown; ends with 1 when a post was made twice, or a slot has no end or no reason for it.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from testbed.postgres import cluster, empty_database
from testbed.soak import Trial, soak


@contextmanager
def database_url(kind: str, folder: Path) -> Iterator[str]:
    """The address of an empty database: a file in the folder, or a PostgreSQL server of our own."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'bot.sqlite'}"
        return
    with cluster() as server, empty_database(server) as address:
        yield address


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("slots", "workers", "accounts", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Trial, name))
    parser.add_argument("--share", type=float, default=Trial.share)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--networks", type=lambda said: tuple(said.split(",")), default=Trial.networks)
    parser.add_argument("--group", action="store_true")
    options = vars(parser.parse_args(arguments))
    kind = options.pop("database")
    folder = Path(tempfile.mkdtemp(prefix="meshibot-soak-"))
    with database_url(kind, folder) as url:
        result = soak(Trial(**options), url, folder)
    print(file=sys.stderr)
    where = "one group" if options["group"] else "accounts"
    print(
        result.table(
            f"{kind}, {options['workers']} daemons, {options['accounts']} {where} on "
            f"{', '.join(options['networks'])}"
        )
    )
    if result.sound:
        shutil.rmtree(folder)
        return 0
    for line in (*result.posted_twice, *result.without_reason, *result.stuck, *result.untrue):
        print(line)
    print(f"BROKEN: logs and ledgers are in {folder}.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
