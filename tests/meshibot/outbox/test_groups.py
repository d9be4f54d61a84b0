"""Groups: one choice of picture at a slot, and for each account a delivery of its own."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from meshibot.database import Account, Database, Picture, PictureState, Post, PostState, Slot, Verdict
from meshibot.outbox import Group, Outbox
from meshibot.publishers.base import Identity
from meshibot.views import recent_posts
from testbed.ledger import (
    NOON,
    Ledger,
    LedgerPublisher,
    MovableClock,
    channel,
    new_database,
    slot,
    stock,
)

ACCOUNTS = ("sky", "toot", "note")


class OwnNetwork(LedgerPublisher):
    """Its account is not that of another ledger."""

    def check(self) -> Identity:
        return Identity(self.ledger.path.stem, self.ledger.path.stem, "https://ledger.example")


class Band:
    """Three accounts of one group, each on a network of its own, and one that is in none."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.clock = MovableClock()
        group = Group("night", ACCOUNTS)
        names = (*ACCOUNTS, "alone")
        self.networks = {name: OwnNetwork(Ledger(folder / f"{name}.ledger"), self.clock) for name in names}
        channels = [
            replace(channel(folder, self.networks[name], name), group=group if name in ACCOUNTS else None)
            for name in names
        ]
        self.box = Outbox(database, clock=self.clock, elapsed=lambda: self.clock.elapsed, channels=channels)

    def work(self, *accounts: str) -> None:
        for name in accounts or ACCOUNTS:
            while self.box.step(name) is not None:
                pass

    def pictures(self) -> dict[str, list[int]]:
        """The pictures of each account's posts, oldest post first."""
        shown: dict[str, list[int]] = {}
        with self.database.read() as session:
            for post in session.scalars(select(Post).order_by(Post.id)):
                shown.setdefault(post.account, []).extend(link.picture_id for link in post.pictures)
        return shown

    def post(self, account: str) -> Post:
        with self.database.read() as session:
            return session.scalars(select(Post).where(Post.account == account)).one()

    def states(self) -> list[PictureState]:
        with self.database.read() as session:
            return list(session.scalars(select(Picture.state).order_by(Picture.id)))


@pytest.fixture
def band(tmp_path: Path) -> Iterator[Band]:
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 4)
        yield Band(database, tmp_path)


def test_all_post_the_same_picture_each_with_its_own_serial(band: Band) -> None:
    slot(band.database, NOON, "alone")
    band.work("alone")
    for name in ACCOUNTS:
        slot(band.database, NOON, name)
    with band.database.write() as session:
        session.get_one(Account, "toot").next_serial = 70
    band.work()
    assert band.pictures() == {"alone": [1], "sky": [2], "toot": [2], "note": [2]}
    assert {name: band.post(name).serial for name in ACCOUNTS} == {"sky": 1, "toot": 70, "note": 1}
    assert all(band.post(name).state is PostState.POSTED for name in ACCOUNTS)
    assert [len(band.networks[name].ledger.posts()) for name in ACCOUNTS] == [1, 1, 1]
    assert band.states() == ["posted", "posted", "approved", "approved"]


def test_history_shows_them_together(band: Band) -> None:
    slot(band.database, NOON, "sky")
    slot(band.database, NOON, "alone")
    band.work("sky", "alone")
    slot(band.database, NOON, "toot")
    band.work("toot")
    with band.database.read() as session:
        posts = recent_posts(session, 10)
        assert [post.account for post in posts] == ["toot", "sky", "alone"]
        assert posts[0].group_key == posts[1].group_key
        assert str(posts[0].group_key).startswith("night|2026-11-24T12:00")
        assert posts[2].group_key is None


@pytest.mark.parametrize(("approved", "shown"), [(1, 1), (3, 3)])
def test_an_account_that_posts_only_what_was_approved_takes_no_other_choice(
    band: Band, approved: int, shown: int
) -> None:
    for name in ACCOUNTS:
        slot(band.database, NOON, name)
    with band.database.write() as session:
        session.get_one(Picture, approved).verdict = Verdict.APPROVED
    channels = [replace(band.box.channel(name), reviewed=name == "toot") for name in ACCOUNTS]
    band.box = Outbox(band.database, clock=band.clock, elapsed=lambda: band.clock.elapsed, channels=channels)
    band.work()
    assert band.pictures() == {"sky": [1], "toot": [shown], "note": [1]}


@pytest.mark.parametrize("fault", ["rejected", "stopped", "limited", "unclear"])
def test_one_networks_failure_holds_back_none(band: Band, fault: str) -> None:
    for name in ACCOUNTS:
        slot(band.database, NOON, name)
    band.networks["sky"].faults["send"] = deque([fault])
    band.work()
    assert [band.post(name).state for name in ("toot", "note")] == ["posted", "posted"]
    assert band.post("sky").state is not PostState.POSTED
    assert band.pictures() == {"sky": [1], "toot": [1], "note": [1]}
    assert band.states()[0] is PictureState.POSTED, "whatever became of it at the first"


def test_what_one_gave_back_another_still_shows(band: Band) -> None:
    for name in ("sky", "toot"):
        slot(band.database, NOON, name)
    band.networks["sky"].faults["upload"] = deque(["rejected"])
    band.work("sky")
    assert band.states()[0] is PictureState.REJECTED
    band.work("toot")
    assert band.pictures() == {"sky": [1], "toot": [1]}
    assert band.states()[0] is PictureState.POSTED


def test_a_picture_that_nobody_could_post_is_back_in_the_end(band: Band) -> None:
    for name in ("sky", "toot"):
        slot(band.database, NOON, name)
        band.networks[name].faults["upload"] = deque(["later"] * 10)
    band.work("sky", "toot")
    assert band.states()[0] is PictureState.RESERVED
    band.clock.move(hours=3)
    band.work("sky")
    assert band.post("sky").state is PostState.MISSED
    assert band.states()[0] is PictureState.RESERVED, "the other may still post it"
    band.work("toot")
    assert band.states()[0] is PictureState.APPROVED


def test_what_somebody_else_has_by_now_or_a_person_rejected_is_not_shown(band: Band) -> None:
    slot(band.database, NOON, "sky")
    band.networks["sky"].faults["upload"] = deque(["later"] * 10)
    band.work("sky")
    band.clock.move(hours=3)
    band.work("sky")
    slot(band.database, band.clock.now(), "alone")
    band.work("alone")
    assert band.pictures()["alone"] == [1]
    with band.database.write() as session:
        for name in ("toot", "note"):  # the same slot, drawn later by their jitter
            key = f"{name}|{NOON:%Y-%m-%dT%H:%M:%S.%f}"
            session.add(Slot(account=name, key=key, due_at=band.clock.now(), local=""))
    band.work("toot")
    assert band.pictures()["toot"] == [2]
    with band.database.write() as session:
        session.get_one(Picture, 2).verdict = Verdict.REJECTED
    band.work("note")
    assert band.pictures()["note"] == [3]
