"""Power cuts: a process is killed at every commit and around every request, and a fresh one goes on.

What counts is what the network has afterwards: exactly one post for the slot, or none and a recorded reason.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from meshibot.daemon import Daemon
from meshibot.database import Database, Picture, PictureState, Post, PostState, Slot
from meshibot.outbox import CRASH_POINTS, CRASH_POINTS_OF_DELETION, Outbox, people
from meshibot.publishers.base import Publisher
from meshibot.publishers.folder import FolderPublisher
from meshibot.publishers.x import XPublisher
from meshibot.slots import Schedule
from testbed.fakes.network import Fake, Fakes
from testbed.fakes.x import CREDENTIALS, FakeX
from testbed.ledger import (
    UTC_ZONE,
    Ledger,
    LedgerPublisher,
    MovableClock,
    RecordPublisher,
    channel,
    new_database,
    slot,
    stock,
)
from testbed.publishers import at

NETWORKS = ("bluesky", "mastodon", "misskey")
PUBLISHERS = ("reconciling", "record", "folder", "x", *NETWORKS)
UNDER_A_NAME = ("record", "folder", "bluesky")
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__, "meshibot.publishers.x.client", "meshibot.publishers.transport"])


def make(name: str, folder: Path, api_base: str, clock: MovableClock) -> Publisher:
    if name == "reconciling":
        return LedgerPublisher(Ledger(folder / "ledger"), clock)
    if name == "record":
        return RecordPublisher(Ledger(folder / "ledger"), clock)
    if name == "folder":
        return FolderPublisher(folder / "posts")
    if name == "x":
        return XPublisher(CREDENTIALS, api_base=api_base)
    return at(name, api_base)


def work(folder: Path, name: str, api_base: str, start: datetime, crash_at: str) -> None:
    """What a process does: it steps, and time goes by."""
    os.environ["MESHIBOT_CRASH_AT"] = crash_at
    clock = MovableClock(start)
    publisher = make(name, folder, api_base, clock)
    with Database.open(f"sqlite:///{folder / 'bot.sqlite'}") as database:
        box = Outbox(
            database, channels=[channel(folder, publisher)], clock=clock, elapsed=lambda: clock.elapsed
        )
        for _ in range(12):
            box.step("main")
            clock.move(seconds=31)
    publisher.close()


def plan(folder: Path, crash_at: str) -> None:
    os.environ["MESHIBOT_CRASH_AT"] = crash_at
    with Database.open(f"sqlite:///{folder / 'bot.sqlite'}") as database:
        publisher = LedgerPublisher(Ledger(folder / "ledger"), MovableClock())
        account = channel(folder, publisher, schedule=Schedule("0 * * * *", UTC_ZONE))
        Daemon(database, [account], lambda: None, clock=publisher.clock).plan()


def run(target: Callable[..., None], *arguments: object) -> int | None:
    process = processes.Process(target=target, args=arguments)
    process.start()
    process.join(60)
    status = process.exitcode
    process.close()
    return status


def published(name: str, folder: Path, fake: FakeX | Fake) -> int:
    if name in ("x", *NETWORKS):
        return len(fake.posts())
    if name == "folder":
        return len(list((folder / "posts").glob("*.json")))
    return len(Ledger(folder / "ledger").posts())


def crashes_before(point: str) -> list[str]:
    """What must break first for a process to come to this point."""
    return ["after-send-request"] if "find" in point or "reconciled" in point else []


@pytest.mark.parametrize("name", PUBLISHERS)
@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_crash_anywhere_leaves_one_post_or_a_reason(
    tmp_path: Path, fake_x: FakeX, fakes: Fakes, name: str, point: str
) -> None:
    if name in UNDER_A_NAME and ("find" in point or "reconciled" in point):
        pytest.skip("it is written again under its name, and not looked for")
    fake = fakes(name) if name in NETWORKS else fake_x
    now = datetime.now(UTC)
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 2)
        slot(database, now)
        if "failed" in point:
            (tmp_path / "picture-0-0.png").unlink()
        for number, crash in enumerate([*crashes_before(point), point, ""]):
            status = run(work, tmp_path, name, fake.url, now + number * timedelta(minutes=6), crash)
            assert status == (-signal.SIGKILL if crash else 0)
        with database.read() as session:
            post = session.scalars(select(Post)).one()
            used = session.scalars(select(Picture).order_by(Picture.id)).first()
    if "failed" in point:
        assert published(name, tmp_path, fake) == 0
        assert post.state is PostState.REJECTED
        assert "picture-0-0.png" in str(post.reason)
    else:
        assert published(name, tmp_path, fake) == 1
        assert post.state is PostState.POSTED
        assert used is not None
        assert used.state is PictureState.POSTED
    assert post.lease_owner is None


def take_down(folder: Path, name: str, api_base: str, crash_at: str) -> None:
    os.environ["MESHIBOT_CRASH_AT"] = crash_at
    clock = MovableClock()
    publisher = make(name, folder, api_base, clock)
    with Database.open(f"sqlite:///{folder / 'bot.sqlite'}") as database:
        people.delete(database, 1, lambda post: publisher, clock=clock)


@pytest.mark.parametrize("name", ["folder", "x", *NETWORKS])
@pytest.mark.parametrize("point", CRASH_POINTS_OF_DELETION)
def test_a_crash_while_a_post_is_taken_down_leaves_it_to_be_taken_down_again(
    tmp_path: Path, fake_x: FakeX, fakes: Fakes, name: str, point: str
) -> None:
    fake = fakes(name) if name in NETWORKS else fake_x
    now = datetime.now(UTC)
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 1)
        slot(database, now)
        assert run(work, tmp_path, name, fake.url, now, "") == 0
        assert run(take_down, tmp_path, name, fake.url, point) == -signal.SIGKILL
        assert run(take_down, tmp_path, name, fake.url, "") == 0
        with database.read() as session:
            assert session.scalars(select(Post.state)).one() is PostState.DELETED
    if name != "folder":
        assert len(fake.ledger("delete")) == 1
    else:
        assert list((tmp_path / "posts").iterdir()) == []


@pytest.mark.parametrize("point", ["before-plan", "after-plan"])
def test_a_crash_while_planning_writes_every_slot_once(tmp_path: Path, point: str) -> None:
    new_database(tmp_path).close()
    assert run(plan, tmp_path, point) == -signal.SIGKILL
    assert run(plan, tmp_path, "") == 0
    with Database.open(f"sqlite:///{tmp_path / 'bot.sqlite'}") as database, database.read() as session:
        assert session.scalar(select(func.count(Slot.id))) == 48
