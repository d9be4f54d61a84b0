"""A channel that is put together by hand, out of what the packages show: so programs of others do it."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from meshibot import outbox
from meshibot.assembly import render_media, words_for
from meshibot.captions import load_captions
from meshibot.database import Post, PostState
from meshibot.outbox import Channel, Order, Outbox, Policy, Words
from meshibot.publishers.folder import FolderPublisher
from meshibot.slots import Schedule
from testbed.ledger import NOON, MovableClock, new_database, slot, stock


def test_it_posts_and_its_crash_points_can_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = FolderPublisher(tmp_path / "posts")
    captions = load_captions("en")

    def prepare(order: Order, words: Words) -> Path:
        target = tmp_path / "media" / f"{order.serial}.jpg"
        return render_media(tmp_path, order.pictures, words.alt_text, target, publisher)

    passed: list[str] = []
    monkeypatch.setattr(outbox, "crash_point", passed.append)
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 2)
        slot(database, NOON)
        channel = Channel(
            "main",
            publisher,
            Schedule("0 0 1 1 *", ZoneInfo("UTC")),
            lambda order: words_for(captions, order),
            prepare,
        )
        Outbox(database, [channel], Policy(), MovableClock()).step("main")
        with database.read() as session:
            assert session.scalars(select(Post.state)).all() == [PostState.POSTED]
    assert passed[0] == "before-claim"
    assert {"before-send-request", "after-posted"} <= set(passed)
