"""What the network gets is fixed at the first try, whole, and said again at every other."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from meshibot.database import Database, Picture, PictureState, Post, PostState
from meshibot.outbox import Outbox, Words
from meshibot.publishers.base import Draft, Fence, MediaRef, Sent, WordsRejected, unfenced
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
from tests.meshibot.outbox.asking import only_post


class Keeping(LedgerPublisher):
    """Keeps what it was given."""

    given: list[tuple[Draft, tuple[MediaRef, ...]]]

    def upload(self, draft: Draft) -> tuple[MediaRef, ...]:
        (media,) = super().upload(draft)
        return (replace(media, data={"blob": {"size": 7}, "width": 8}),)

    def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
        self.given.append((draft, media))
        return super().send(draft, media, fence)


class Bench:
    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.clock = MovableClock()
        self.publisher = Keeping(Ledger(folder / "ledger"), self.clock)
        self.publisher.given = []

    def step(self, caption: str = "#ramen {marker}", **how: object) -> None:
        """One step of a process that was just started, with these settings."""
        made = channel(self.folder, self.publisher)
        made = replace(
            made,
            describe=lambda order: Words(caption.format(marker=order.marker), "alt"),
            **how,  # type: ignore[arg-type]
        )
        box = Outbox(self.database, clock=self.clock, elapsed=lambda: self.clock.elapsed, channels=[made])
        box.step("main")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 1)
        slot(database, NOON)
        yield Bench(database, tmp_path)


def test_the_second_try_says_what_the_first_fixed(bench: Bench) -> None:
    bench.publisher.faults["send"].append("later")
    bench.step(language="ja", visibility="unlisted", sensitive=True)
    bench.clock.move(minutes=10)
    bench.step("other words {marker}", language="en", visibility="public")
    (first, media), (second, again) = bench.publisher.given
    assert second == first
    assert again == media
    assert (first.language, first.visibility, first.sensitive) == ("ja", "unlisted", True)
    assert first.created_at == NOON
    assert str(first.slot).startswith("main|2026-11-24T12:00")
    assert [(facet.kind, facet.value) for facet in first.facets] == [("tag", "ramen")]
    assert only_post(bench.database).state is PostState.POSTED


def test_it_is_stored_before_the_first_try(bench: Bench) -> None:
    def look() -> None:
        with bench.database.read() as session:
            post = session.get_one(Post, 1)
            assert post.draft is not None
            seen.append(Draft.from_json(post.draft["draft"]))
            assert MediaRef.from_json(post.draft["media"][0]).data == {"blob": {"size": 7}, "width": 8}

    seen: list[Draft] = []
    bench.publisher.during["fence"] = look
    bench.step()
    assert seen == [bench.publisher.given[0][0]]


def test_another_network_gets_a_draft_of_its_own(bench: Bench, tmp_path: Path) -> None:
    class Other(Keeping):
        name = "other"

    bench.publisher.faults["send"].append("later")
    bench.step(visibility="unlisted")
    bench.clock.move(minutes=10)
    first = bench.publisher
    bench.publisher = Other(Ledger(tmp_path / "other"), bench.clock)
    bench.publisher.given = []
    bench.step(visibility="public")
    ((draft, _),) = bench.publisher.given
    assert (draft.visibility, draft.created_at) == ("public", NOON + timedelta(minutes=10))
    assert draft.idempotency_key == first.given[0][0].idempotency_key


def test_a_picture_whose_words_were_refused_is_back_in_stock(bench: Bench) -> None:
    def refuse() -> None:
        raise WordsRejected("The caption has 47 of the 20 characters that this server allows.")

    bench.publisher.during["upload"] = refuse
    bench.step()
    assert only_post(bench.database).state is PostState.REJECTED
    with bench.database.read() as session:
        assert session.get_one(Picture, 1).state is PictureState.APPROVED
