"""Several processes on one database: every slot is published once, by one of them."""

import multiprocessing
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import select

from meshibot.database import Account, Attempt, Database, Phase, Post, PostState, Slot, SlotState
from meshibot.database.migrate import upgrade
from meshibot.outbox import Outbox, Policy
from testbed.ledger import Ledger, LedgerPublisher, ShiftedClock, channel, new_database, slot, stock

ACCOUNTS = ("main", "two")
SLOTS = 12
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__, "psycopg"])


def work(url: str, folder: Path, number: int) -> None:
    """A process that works both accounts until nothing is due any more."""
    clock = ShiftedClock(timedelta())
    publisher = LedgerPublisher(Ledger(folder / "ledger"), clock)
    policy = Policy(spacing=timedelta(), avoid_distance=0)
    with Database.open(url) as database:
        channels = [channel(folder, publisher, account) for account in ACCOUNTS]
        box = Outbox(database, channels, policy, clock)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            worked = [box.step(account) for account in ACCOUNTS[:: 1 if number % 2 else -1]]
            if worked == [None, None]:
                with database.read() as session:
                    if session.scalar(select(Slot.id).where(Slot.state == SlotState.PLANNED)) is None:
                        return
                time.sleep(0.01)


def empty(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    """The address of a database with empty tables."""
    if kind == "sqlite":
        new_database(folder).close()
        return f"sqlite:///{folder / 'bot.sqlite'}"
    url = str(request.getfixturevalue("postgres_url"))
    upgrade(url)
    return url


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_every_slot_is_published_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = empty(kind, tmp_path, request)
    now = datetime.now(UTC)
    with Database.open(url) as database:
        stock(database, tmp_path, SLOTS * len(ACCOUNTS))
        for number in range(SLOTS):
            for account in ACCOUNTS:
                slot(database, now - timedelta(minutes=number), account)
        workers = [processes.Process(target=work, args=(url, tmp_path, number)) for number in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(90)
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        for worker in workers:
            worker.close()
        with database.read() as session:
            posts = session.scalars(select(Post)).all()
            sends = session.scalars(select(Attempt).where(Attempt.phase == Phase.SEND)).all()
            assert all(row.lease_owner is None for row in session.scalars(select(Account)))
            shown = [picture.picture_id for post in posts for picture in post.pictures]
    assert len(posts) == SLOTS * len(ACCOUNTS) == len({post.slot_id for post in posts})
    assert {post.state for post in posts} == {PostState.POSTED}
    assert len(sends) == len(posts)
    assert len(set(shown)) == len(posts)
    ledger = Ledger(tmp_path / "ledger").posts()
    assert sorted(Counter(line["key"] for line in ledger).values()) == [1] * len(posts)
    # both names are one account of the network, and one account's serials are counted once
    assert sorted(post.number for post in posts) == list(range(1, len(posts) + 1))
    for account in ACCOUNTS:
        spans = sorted((post.sent_at, post.posted_at) for post in posts if post.account == account)
        for (_, ended), (begun, _) in pairwise(spans):
            assert ended is not None
            assert begun is not None
            assert ended <= begun  # one send at a time


def start(url: str, folder: Path) -> None:
    """What every process does first."""
    publisher = LedgerPublisher(Ledger(folder / "ledger"), ShiftedClock(timedelta()))
    with Database.open(url) as database:
        for number in range(20):
            Outbox(database, channels=[channel(folder, publisher, f"account{number}")])


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_processes_may_start_at_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = empty(kind, tmp_path, request)
    workers = [processes.Process(target=start, args=(url, tmp_path)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    for worker in workers:
        worker.close()
    with Database.open(url) as database, database.read() as session:
        assert len(session.scalars(select(Account)).all()) == 20
