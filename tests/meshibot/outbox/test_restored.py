"""Bluesky: one slot is one post, whichever database, machine or moment it is posted from."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from meshibot.database import Database, Post, PostState
from meshibot.outbox import Outbox
from testbed.fakes.network import Fake, Fakes
from testbed.ledger import MovableClock, channel, new_database, slot, stock
from testbed.publishers import at

DUE = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)


def work(folder: Path, fake: Fake, *, late: float = 0.0) -> Post:
    """A machine with what is in the folder comes to the slot; what its database says of it then."""
    clock = MovableClock(DUE)
    clock.move(seconds=late)
    with Database.open(f"sqlite:///{folder / 'bot.sqlite'}") as database:
        publisher = at("bluesky", fake.url)
        box = Outbox(
            database,
            clock=clock,
            elapsed=lambda: clock.elapsed,
            channels=[channel(folder, publisher)],
        )
        for _ in range(6):
            box.step("main")
            clock.move(seconds=31)
        publisher.close()
        with database.read() as session:
            return session.scalars(select(Post)).one()


def machine(folder: Path, seed: int) -> Path:
    """A home with the slot before it is due, and with pictures that no other has."""
    folder.mkdir()
    with new_database(folder) as database:
        stock(database, folder, 2, seed=seed)
        slot(database, DUE)
    return folder


def test_a_database_from_before_the_post_makes_no_other(fakes: Fakes, tmp_path: Path) -> None:
    fake = fakes("bluesky")
    first = machine(tmp_path / "first", 1)
    backup = (first / "bot.sqlite").read_bytes()
    made = work(first, fake)
    assert made.state is PostState.POSTED
    again = tmp_path / "again"
    again.mkdir()
    (again / "bot.sqlite").write_bytes(backup)
    for file in first.glob("picture-*"):
        (again / file.name).write_bytes(file.read_bytes())
    restored = work(again, fake, late=900)
    assert (restored.state, restored.remote_id) == (PostState.POSTED, made.remote_id)
    assert len(fake.posts()) == 1


def test_another_machine_with_the_same_account_makes_no_other(fakes: Fakes, tmp_path: Path) -> None:
    fake = fakes("bluesky")
    posts: list[Any] = [work(machine(tmp_path / str(seed), seed), fake, late=60 * seed) for seed in (1, 2, 3)]
    assert {post.state for post in posts} == {PostState.POSTED}
    assert len({post.remote_id for post in posts}) == 1
    assert len(fake.posts()) == 1


def test_one_whose_answer_was_lost_there_too(fakes: Fakes, tmp_path: Path) -> None:
    fake = fakes("bluesky")
    fake.set_fault("put", "commit_then_drop")
    made = work(machine(tmp_path / "first", 1), fake)
    fake.set_fault("put", "commit_then_drop", times=2)
    other = work(machine(tmp_path / "other", 2), fake)
    assert made.remote_id == other.remote_id
    assert len(fake.posts()) == 1
