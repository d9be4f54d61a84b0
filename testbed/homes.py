"""Homes that are ready to post from, made without sampling: pictures drawn here, and slots that are due."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from meshibot.daemon import Daemon
from meshibot.database import Daemon as DaemonRow
from meshibot.database import Database, Picture
from meshibot.database.migrate import upgrade
from meshibot.database.queries import ALIVE
from testbed import ledger
from testbed.command import Command
from testbed.fakes import bluesky, mastodon, misskey
from testbed.fakes.x import CREDENTIALS, FakeX


def draw_stock(database: Database, home: Path, count: int) -> None:
    """Fill the stock with small pictures that don't look alike, as files and as rows."""
    ledger.stock(database, home, count)
    with database.write() as session:
        (home / "pictures").mkdir(exist_ok=True)
        for number, picture in enumerate(session.scalars(select(Picture).order_by(Picture.id))):
            (home / picture.file).unlink()
            picture.file = f"pictures/{number}.png"
            image = Image.effect_noise((32, 32), 60 + number).convert("RGB")
            image.save(home / picture.file)


def stocked(bot: Command, count: int = 4) -> Command:
    """The bot with a database and so many pictures in stock; it never wants to sample more of them."""
    bot = bot.having({"STOCK_TARGET": "1", "CHECKPOINT": str(bot.folder / "none.safetensors")} | bot.settings)
    bot.home.mkdir(parents=True, exist_ok=True)
    upgrade(address(bot))
    with Database.open(address(bot)) as database:
        draw_stock(database, bot.home, count)
    return bot


def address(bot: Command) -> str:
    """The bot's database."""
    return bot.settings.get("DATABASE_URL", f"sqlite:///{bot.database}")


def due(bot: Command, *accounts: str, ago: float = 1.0) -> None:
    """Plan a slot for each account that was due a second ago."""
    with Database.open(address(bot)) as database:
        for account in accounts:
            ledger.slot(database, datetime.now(UTC) - timedelta(seconds=ago), account)


def ask(bot: Command, query: str) -> list[tuple[Any, ...]]:
    """What the bot's database answers."""
    with Database.open(address(bot)) as database, database.read() as session:
        return [tuple(row) for row in session.execute(text(query))]


def posts(bot: Command) -> list[tuple[Any, ...]]:
    """Account and state of every post."""
    return ask(bot, "SELECT account, state FROM posts ORDER BY account, id")


def x_settings(fake: FakeX, account: str = "") -> dict[str, str]:
    """The settings of an account at the fake X."""
    own = f"{account.upper()}_" if account else ""
    return {
        f"{own}PUBLISHER": "x",
        f"{own}X_API_BASE": fake.url,
        f"{own}X_CONSUMER_KEY": CREDENTIALS.consumer_key,
        f"{own}X_CONSUMER_SECRET": CREDENTIALS.consumer_secret,
        f"{own}X_ACCESS_TOKEN": CREDENTIALS.access_token,
        f"{own}X_ACCESS_TOKEN_SECRET": CREDENTIALS.access_token_secret,
    }


def network_settings(network: str, url: str, account: str = "") -> dict[str, str]:
    """The settings of an account at a fake of Bluesky, Mastodon or Misskey."""
    own = f"{account.upper()}_" if account else ""
    said = {
        "bluesky": {
            "HANDLE": bluesky.HANDLE,
            "APP_PASSWORD": bluesky.PASSWORD,
            "SERVICE": url,
        },
        "mastodon": {"SERVER": url, "TOKEN": mastodon.TOKEN},
        "misskey": {"SERVER": url, "TOKEN": misskey.TOKEN},
    }[network]
    values = {f"{own}{network.upper()}_{name}": value for name, value in said.items()}
    return values | {f"{own}PUBLISHER": network}


def living_daemons(session: Session, now: datetime) -> list[DaemonRow]:
    """The daemons that were seen lately and did not say that they ended."""
    alive = select(DaemonRow).where(DaemonRow.stopped_at.is_(None), DaemonRow.seen_at > now - ALIVE)
    return list(session.scalars(alive))


def wait_for(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until it has happened."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def locked(file: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process holds the write lock of a SQLite file; it lets go when its input is closed."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.read()\n"
        "c.execute('ROLLBACK'); c.close()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process


def run_beside(daemon: Daemon, story: Callable[[], None]) -> None:
    """Run a daemon here and a story beside it; the daemon ends when the story does, however that is."""
    failures: list[BaseException] = []

    def tell() -> None:
        try:
            story()
        except BaseException as error:  # noqa: BLE001 (it is raised again in the test's own thread)
            failures.append(error)
        finally:
            daemon.stop()

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        daemon.run()
    finally:
        thread.join()
    if failures:
        raise failures[0]
