"""What every publisher promises, whichever network it is."""

import dataclasses
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from meshibot.errors import UsageError
from meshibot.publishers import PUBLISHERS, publisher_class
from meshibot.publishers.base import (
    Draft,
    Idempotency,
    Lists,
    Measures,
    MediaRef,
    Publisher,
    Reactions,
    Rejected,
    contains_marker,
    stands_still,
    too_long,
)
from meshibot.publishers.settings import PublisherSettings
from meshibot.publishers.x import XPublisher, XSettings
from testbed.fakes.network import Fakes
from testbed.fakes.x import FakeX
from testbed.publishers import at
from tests.meshibot.publishers.openings import OPENINGS

SINCE = datetime.now(UTC) - timedelta(minutes=1)


@pytest.fixture(params=OPENINGS)
def publisher(
    request: pytest.FixtureRequest, fake_x: FakeX, fakes: Fakes, tmp_path: Path
) -> Iterator[Publisher]:
    """Each publisher in turn, empty."""
    opened = OPENINGS[request.param](tmp_path, fake_x, fakes)
    yield opened
    opened.close()
    opened.close()


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    """A post that every network takes."""
    return make_draft(tmp_path, 42)


def make_draft(folder: Path, serial: int, pictures: int = 1) -> Draft:
    """A draft with pictures drawn here."""
    files = []
    for number in range(pictures):
        files.append(folder / f"bowl-{serial}-{number}.jpg")
        Image.new("RGB", (64, 64), (200, 15 * number, serial % 256)).save(files[-1])
    return Draft(
        account="main",
        serial=serial,
        marker=f"No.{serial:04d}",
        caption=f"深夜の一杯 & <more>\nNo.{serial:04d} 🍜",
        alt_text="Generated; no real dish.",
        media=tuple(files),
        idempotency_key=f"main|{serial}",
        metadata={"seed": 7, "score": 0.5},
        created_at=datetime.now(UTC),
        language="ja",
    )


def make_gif(file: Path, side: int = 64, frames: int = 4) -> Path:
    """A small GIF that moves."""
    first, *others = (Image.new("RGB", (side, side), (60 * number % 256, 90, 10)) for number in range(frames))
    first.save(file, save_all=True, append_images=others, duration=80, loop=0)
    return file


def test_what_was_sent_is_found_and_can_be_taken_down(publisher: Publisher, draft: Draft) -> None:
    assert publisher.find(draft, SINCE) == ()
    sent = publisher.send(draft, publisher.upload(draft))
    assert sent.remote_id
    assert ":" in sent.url
    assert publisher.find(draft, SINCE) == (sent,)
    publisher.delete(sent.remote_id)
    assert publisher.find(draft, SINCE) == ()
    publisher.delete(sent.remote_id)


def test_what_was_published_is_listed_newest_first_where_the_network_can(
    publisher: Publisher, tmp_path: Path
) -> None:
    if not isinstance(publisher, Lists):
        return
    assert list(publisher.published(SINCE)) == []
    sent = []
    for serial in (42, 43):
        draft = make_draft(tmp_path, serial)
        sent.append(publisher.send(draft, publisher.upload(draft)))
        time.sleep(0.01)
    seen = list(publisher.published(SINCE))
    assert {each.sent for each in seen} == set(sent)
    assert [contains_marker(each.text, "No.0043") for each in seen if each.at > SINCE] in ([True, False], [])
    assert all(each.at.tzinfo is not None for each in seen)


def test_reactions_are_counted_and_a_post_that_is_gone_is_left_out(
    publisher: Publisher, tmp_path: Path
) -> None:
    if not isinstance(publisher, Measures):
        assert publisher.name in ("folder", "toy")
        return
    sent = []
    for serial in (42, 43, 44):
        draft = make_draft(tmp_path, serial)
        sent.append(publisher.send(draft, publisher.upload(draft)).remote_id)
    views = 120 if publisher.name == "x" else None
    said = Reactions(likes=5, reposts=3, replies=3, views=views)
    assert publisher.reactions(sent[:2]) == {sent[0]: said, sent[1]: said}
    publisher.delete(sent[1])
    assert publisher.reactions(sent) == {sent[0]: said, sent[2]: said}
    assert publisher.reactions(sent[1:2]) == {}


def test_a_server_without_a_call_for_several_posts_is_asked_for_each(fakes: Fakes, tmp_path: Path) -> None:
    fake = fakes("mastodon", software="gotosocial", version="0.19.0")
    publisher = at("mastodon", fake.url)
    assert isinstance(publisher, Measures)
    sent = []
    for serial in (42, 43):
        draft = make_draft(tmp_path, serial)
        sent.append(publisher.send(draft, publisher.upload(draft)).remote_id)
    publisher.delete(sent[0])
    assert publisher.reactions(sent) == {sent[1]: Reactions(likes=5, reposts=3, replies=3)}
    assert (fake.requests("several"), fake.requests("one")) == (1, 2)
    publisher.close()


def test_one_serial_is_not_taken_for_another(publisher: Publisher, tmp_path: Path) -> None:
    longer = make_draft(tmp_path, 421)
    publisher.send(longer, publisher.upload(longer))
    assert publisher.find(make_draft(tmp_path, 42), SINCE) == ()
    assert publisher.find(make_draft(tmp_path, 4), SINCE) == ()
    assert publisher.find(longer, SINCE)


def test_nothing_is_published_behind_a_fence_that_is_closed(publisher: Publisher, draft: Draft) -> None:
    """Whatever closes it goes through as it is: the outbox knows then that nothing left."""

    def closed() -> float:
        raise RuntimeError("closed")

    media = publisher.upload(draft)
    with pytest.raises(RuntimeError, match="closed"):
        publisher.send(draft, media, closed)
    assert publisher.find(draft, SINCE) == ()
    sent = publisher.send(draft, media, lambda: 60.0)
    assert publisher.find(draft, SINCE) == (sent,)


def test_every_post_with_the_marker_is_found_the_first_one_first(publisher: Publisher, draft: Draft) -> None:
    first = publisher.send(draft, publisher.upload(draft))
    again = dataclasses.replace(draft, caption=f"Again. {draft.marker}", idempotency_key="another")
    second = publisher.send(again, publisher.upload(again))
    assert first != second
    expected = (first,) if publisher.idempotency == "record" else (first, second)
    assert publisher.find(draft, SINCE) == expected


def test_the_latest_captions_say_which_serials_are_taken(publisher: Publisher, tmp_path: Path) -> None:
    assert publisher.latest(5) == ()
    for serial in (41, 42, 43):
        draft = make_draft(tmp_path, serial)
        publisher.send(draft, publisher.upload(draft))
    first, *_ = latest = publisher.latest(2)
    assert contains_marker(first, "No.0043")
    assert contains_marker(latest[1], "No.0042")


def test_uploading_again_does_no_harm(publisher: Publisher, draft: Draft) -> None:
    publisher.upload(draft)
    assert publisher.find(draft, SINCE) == (), "an upload is no post"
    sent = publisher.send(draft, publisher.upload(draft))
    assert publisher.find(draft, SINCE) == (sent,)


def test_several_pictures_make_one_post(publisher: Publisher, tmp_path: Path) -> None:
    draft = make_draft(tmp_path, 7, pictures=publisher.limits.media)
    media = publisher.upload(draft)
    assert len({item.id for item in media}) == publisher.limits.media
    assert publisher.find(draft, SINCE) == ()
    assert (publisher.send(draft, media),) == publisher.find(draft, SINCE)


def test_a_gif_is_one_post_where_it_moves_and_refused_before_anything_is_sent_elsewhere(
    publisher: Publisher, draft: Draft, tmp_path: Path
) -> None:
    moving = dataclasses.replace(draft, media=(make_gif(tmp_path / "walk.gif"),), kind="morph")
    if publisher.limits.moving is None:
        assert "morph" in (stands_still(publisher) or "")
        with pytest.raises(Rejected, match=r"walk\.gif is image/gif"):
            publisher.upload(moving)
        assert publisher.find(moving, SINCE) == ()
        return
    assert stands_still(publisher) is None
    media = publisher.upload(moving)
    assert publisher.find(moving, SINCE) == ()
    assert (publisher.send(moving, media),) == publisher.find(moving, SINCE)
    with pytest.raises(Rejected, match="with other pictures"):
        publisher.upload(dataclasses.replace(moving, media=(*moving.media, *draft.media)))
    with (tmp_path / "walk.gif").open("ab") as file:
        file.truncate(publisher.limits.moving.bytes + 1)
    with pytest.raises(Rejected, match=f"allows {publisher.limits.moving.bytes}"):
        publisher.upload(moving)


def test_nothing_is_sent_without_its_pictures(publisher: Publisher, draft: Draft) -> None:
    with pytest.raises(Rejected, match="picture"):
        publisher.send(draft, ())
    with pytest.raises(Rejected, match="pictures"):
        publisher.upload(dataclasses.replace(draft, media=()))
    with pytest.raises(Rejected, match="pictures"):
        publisher.send(dataclasses.replace(draft, media=()), (MediaRef("1"),))
    assert publisher.find(draft, SINCE) == ()


def test_beyond_a_limit_is_rejected_before_anything_is_sent(
    publisher: Publisher, draft: Draft, tmp_path: Path
) -> None:
    publisher.upload(draft)  # by which it knows its server's limits
    big = tmp_path / "big.jpg"
    big.write_bytes(b"\xff\xd8\xff" + bytes(publisher.limits.image_bytes))
    text = tmp_path / "menu.txt"
    text.write_text("ramen")
    long = "麺 " * 700 + "No.0042"
    says = too_long(publisher, long)
    beyond = {re.escape(says): {"caption": long}} if says else {}
    wrong = {
        **beyond,
        "lacks its serial": {"caption": "No.00421"},
        "characters": {"alt_text": "a" * (publisher.limits.alt_text + 1)},
        f"takes 1 to {publisher.limits.media}": {"media": draft.media * (publisher.limits.media + 1)},
        "bytes": {"media": (big,)},
        "can't be read": {"media": (tmp_path / "gone.jpg",)},
        r"menu\.txt": {"media": (text,)},
    }
    for says, change in wrong.items():
        with pytest.raises(Rejected, match=says):
            publisher.upload(dataclasses.replace(draft, **change))  # type: ignore[arg-type]
    for says, change in beyond.items():
        with pytest.raises(Rejected, match=says):
            publisher.send(dataclasses.replace(draft, **change), (MediaRef("1"),))  # type: ignore[arg-type]
    assert publisher.find(draft, SINCE) == ()


def test_it_says_who_it_is_and_publishes_nothing_by_that(publisher: Publisher, draft: Draft) -> None:
    identity = publisher.check()
    assert identity.id
    assert identity.name
    assert publisher.find(draft, SINCE) == ()


def test_every_network_is_opened_above() -> None:
    assert set(PUBLISHERS) <= set(OPENINGS)


@pytest.mark.parametrize("name", PUBLISHERS)
def test_limits_are_known_without_an_account(name: str) -> None:
    kind = publisher_class(name)
    assert kind.name == name
    assert kind.idempotency in get_args(Idempotency)
    assert 0 < kind.limits.image_bytes <= 50_000_000
    assert kind.limits.image_side >= 1024
    assert "image/jpeg" in kind.limits.media_types
    assert 0 <= kind.price.alt_text <= kind.price.post <= kind.price.link
    assert issubclass(kind.settings, PublisherSettings)
    own = set(kind.settings.model_fields) - set(PublisherSettings.model_fields)
    assert all(field.startswith(f"{name}_") for field in own)
    assert all(kind.settings.model_fields[field].description for field in own)


def test_an_unknown_publisher_is_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"no publisher 'myspace': set MESHIBOT_PUBLISHER to .*folder or "):
        publisher_class("myspace")


def test_x_without_its_four_values_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="MESHIBOT_X_CONSUMER_KEY, MESHIBOT_X_CONSUMER_SECRET"):
        XPublisher.open(XSettings(name="main", sole=True), tmp_path)
