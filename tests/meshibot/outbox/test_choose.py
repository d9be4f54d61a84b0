"""What comes next: slots that are due, budget, quiet hours, spacing, and what comes too late."""

import itertools
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from meshibot import views
from meshibot.captions import load_captions
from meshibot.database import (
    Account,
    Database,
    Picture,
    PictureState,
    Post,
    PostPicture,
    PostState,
    Slot,
    SlotState,
)
from meshibot.errors import MeshibotError, NothingToDo
from meshibot.kinds import Kind, Mix
from meshibot.outbox import Outbox, Words, people
from meshibot.quiet import QuietHours
from meshibot.slots import Schedule
from testbed.ledger import (
    NOON,
    UTC_ZONE,
    LedgerPublisher,
    MovableClock,
    OneDue,
    channel,
    outbox,
    slot,
    stock,
)
from tests.meshibot.outbox.asking import only_post, picture_states, the_slot


def test_nothing_is_sent_before_its_time(box: Outbox, database: Database, clock: MovableClock) -> None:
    slot(database, NOON + timedelta(minutes=1))
    assert box.step("main") is None
    assert box.next_moment("main") == NOON + timedelta(minutes=1)
    clock.move(minutes=1)
    assert box.step("main") is not None
    assert box.next_moment("main") is None


def test_slots_in_a_rate_limit_of_a_day_are_missed_with_that_reason(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 2)
    slot(database, NOON)
    box = outbox(database, tmp_path, publisher)
    with database.write() as session:
        session.get_one(Account, "main").not_before = NOON + timedelta(hours=24)
    for _ in range(5):
        assert box.step("main") is None
        clock.move(minutes=31)
    assert the_slot(database).state is SlotState.MISSED
    assert the_slot(database).reason == (
        "The network takes nothing from the account until 2026-11-25 12:00 UTC (its rate limit)."
    )


def test_slots_of_a_stopped_account_are_missed_with_the_reason(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    slot(database, NOON + timedelta(minutes=30))
    publisher.faults["send"].append("stopped")
    box.step("main")
    clock.move(hours=3)
    box.step("main")
    with database.read() as session:
        post = session.scalars(select(Post)).one()
        late = session.scalars(select(Slot).where(Slot.state == SlotState.MISSED)).one()
    assert post.state is PostState.MISSED
    assert post.reason == "The credits are used up. Its grace is over."
    assert late.reason == "The account is stopped: The credits are used up. Buy some."


def test_downtime_is_caught_up_within_the_grace_one_at_a_time(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    for minutes in (-180, -100, -60, -20):
        slot(database, NOON + timedelta(minutes=minutes))
    assert box.step("main") is not None
    assert box.step("main") is None  # not in a burst
    clock.move(minutes=4)
    assert box.step("main") is None
    slot(database, clock.now())  # what is on time does not wait for what is late
    assert box.step("main") is not None
    for _ in range(3):
        clock.move(minutes=5)
        box.step("main")
    with database.read() as session:
        missed = session.scalars(select(Slot).where(Slot.state == SlotState.MISSED)).all()
        serials = session.scalars(select(Slot.due_at).join(Post).order_by(Post.serial)).all()
    assert [slot.due_at for slot in missed] == [NOON - timedelta(minutes=180)]
    assert "grace of 2:00:00" in str(missed[0].reason)
    assert [(due - NOON) / timedelta(minutes=1) for due in serials] == [-100, 4, -60, -20]
    assert len(publisher.ledger.posts()) == 4


def test_an_empty_stock_is_waited_for_until_the_grace_ends(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    box = outbox(database, tmp_path, publisher)
    slot(database, NOON)
    assert box.step("main") is None
    assert the_slot(database).state is SlotState.PLANNED
    clock.move(hours=1)
    stock(database, tmp_path, 1)
    assert box.step("main") is not None
    slot(database, clock.now())
    clock.move(hours=3)
    assert box.step("main") is None
    with database.read() as session:
        missed = session.scalars(select(Slot).where(Slot.state == SlotState.MISSED)).one()
    assert "grace" in str(missed.reason)


def test_the_reason_of_a_slot_without_a_picture_is_the_stock(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    box = outbox(database, tmp_path, publisher)
    slot(database, NOON)
    box.step("main")
    clock.move(hours=3)
    box.step("main")
    assert the_slot(database).reason == "The stock was empty."


def test_quiet_hours_hold_back_neither_a_look_nor_what_a_person_asked_for(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 3)
    schedule = Schedule("0 * * * *", UTC_ZONE, quiet=QuietHours.parse("12:05-14:00"))
    box = Outbox(database, [channel(tmp_path, publisher, schedule=schedule)], clock=clock)
    publisher.faults["send"].extend(["lost", "limited"])
    slot(database, NOON)
    box.step("main")
    clock.move(minutes=10)
    assert box.step("main") == 1
    assert people.load_post(database, 1).state is PostState.POSTED
    people.post_now(box, "main")
    assert people.load_post(database, 2).state is PostState.RETRY
    clock.move(minutes=16)
    assert box.step("main") == 2
    assert people.load_post(database, 2).state is PostState.POSTED


def test_quiet_hours_and_daily_budget(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 9)
    schedule = Schedule("0 * * * *", UTC_ZONE, quiet=QuietHours.parse("13:00-13:30"), daily_budget=2)
    box = Outbox(database, channels=[channel(tmp_path, publisher, schedule=schedule)], clock=clock)
    slot(database, NOON + timedelta(minutes=59))
    clock.move(minutes=61)
    assert box.step("main") is None  # a late one waits for the quiet hours to end
    clock.move(minutes=30)
    assert box.step("main") is not None
    slot(database, clock.now())
    assert box.step("main") is not None
    slot(database, clock.now() + timedelta(seconds=1))
    clock.move(seconds=1)
    assert box.step("main") is None
    with database.read() as session:
        missed = session.scalars(select(Slot).where(Slot.state == SlotState.MISSED)).one()
    assert missed.reason == "The daily budget (posts: 2) is used up."
    with pytest.raises(NothingToDo, match=r"daily budget \(posts: 2\)"):
        people.post_now(box, "main")
    clock.move(hours=11)
    assert people.post_now(box, "main").state is PostState.POSTED


def test_a_post_that_is_tried_again_later_counts_in_the_budget(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 9)
    schedule = Schedule("0 * * * *", UTC_ZONE, daily_budget=1)
    box = Outbox(database, channels=[channel(tmp_path, publisher, schedule=schedule)], clock=clock)
    slot(database, NOON)
    publisher.faults["send"].append("later")
    box.step("main")
    slot(database, NOON + timedelta(seconds=1))
    clock.move(seconds=1)
    assert box.step("main") is None
    with pytest.raises(NothingToDo, match=r"daily budget \(posts: 1\)"):
        people.post_now(box, "main")
    clock.move(minutes=1)
    assert box.step("main") == 1
    assert [line["text"][-4:] for line in publisher.ledger.posts()] == ["0001"]


def test_what_was_sent_while_the_clock_ran_ahead_is_no_part_of_todays_budget(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 9)
    schedule = Schedule("0 * * * *", UTC_ZONE, daily_budget=1)
    box = Outbox(database, channels=[channel(tmp_path, publisher, schedule=schedule)], clock=clock)
    clock.jump(days=30)
    people.post_now(box, "main")
    clock.jump(days=-30)
    for _ in range(3):
        slot(database, clock.now())
        assert box.step("main") is not None
        clock.move(days=1)
    assert len(publisher.ledger.posts()) == 4


@pytest.mark.parametrize("state", [PostState.POSTED, PostState.DELETED, PostState.NEEDS_PERSON])
def test_a_post_that_was_or_may_have_been_made_counts_in_the_budget(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock, state: PostState
) -> None:
    stock(database, tmp_path, 9)
    schedule = Schedule("0 * * * *", UTC_ZONE, daily_budget=1)
    box = Outbox(
        database,
        clock=clock,
        elapsed=lambda: clock.elapsed,
        channels=[channel(tmp_path, publisher, schedule=schedule)],
    )
    if state is PostState.NEEDS_PERSON:
        publisher.faults["send"].append("duplicate")
    people.post_now(box, "main")
    if state is PostState.DELETED:
        people.delete(database, 1, lambda row: publisher, clock=clock)
    assert people.load_post(database, 1).state is state
    with pytest.raises(NothingToDo, match=r"daily budget \(posts: 1\)"):
        people.post_now(box, "main")


def test_a_day_ends_at_midnight_where_the_account_is(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 9)
    schedule = Schedule("0 * * * *", ZoneInfo("Asia/Tokyo"), daily_budget=1)
    box = Outbox(database, channels=[channel(tmp_path, publisher, schedule=schedule)], clock=clock)
    people.post_now(box, "main")
    clock.move(hours=2, minutes=59)  # 23:59 in Tokyo
    with pytest.raises(NothingToDo, match="daily budget"):
        people.post_now(box, "main")
    clock.move(minutes=2)
    assert people.post_now(box, "main").state is PostState.POSTED


def test_a_picture_that_cannot_be_posted_gives_way_to_the_next(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """Within its slot, and for good."""
    stock(database, tmp_path, 3)
    faults = {"picture-0-0.png": "Its file is missing."}
    judging = replace(channel(tmp_path, publisher), fault=lambda picture: faults.get(picture.file))
    box = Outbox(database, channels=[judging], clock=clock)
    slot(database, NOON)
    box.step("main")
    assert only_post(database).state is PostState.POSTED
    assert picture_states(database) == ["rejected", "posted", "approved"]
    with database.read() as session:
        assert session.get_one(Picture, 1).reason == "Its file is missing."


def test_a_stock_that_is_away_costs_no_picture(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """A disk that is mounted late."""
    stock(database, tmp_path, 2)

    def away(picture: Picture) -> str | None:
        raise MeshibotError("The folder pictures is missing: mount its disk.")

    good = channel(tmp_path, publisher)
    slot(database, NOON)
    assert Outbox(database, channels=[replace(good, fault=away)], clock=clock).step("main") is None
    assert picture_states(database) == ["approved"] * 2
    assert "mount its disk" in str(the_slot(database).reason)
    clock.move(minutes=1)
    assert Outbox(database, channels=[good], clock=clock).step("main") is not None


def test_pictures_of_the_configured_checkpoint_come_first(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 4)
    with database.write() as session:
        for number in (3, 4):
            session.get_one(Picture, number).checkpoint = "new"
    good = replace(channel(tmp_path, publisher), preferred=lambda: "new")
    box = Outbox(database, channels=[good], clock=clock)
    for _ in range(3):
        people.post_now(box, "main")
    with database.read() as session:
        shown = session.scalars(select(PostPicture.picture_id).order_by(PostPicture.post_id)).all()
    assert shown == [3, 4, 1]


def test_missed_slots_are_told_with_their_reasons(
    box: Outbox, database: Database, clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    for minutes in range(8):
        slot(database, NOON + timedelta(minutes=minutes))
    clock.move(hours=5)
    box.step("main")
    told = [record for record in caplog.records if "missed" in record.message]
    assert all(record.levelname == "WARNING" for record in told)
    assert told[0].message == (
        "slot main|2026-11-24T12:00:00.000000 is missed: No meshibot came to it before its grace of 2:00:00 "
        "was over."
    )
    assert len(told) == 6
    assert told[-1].message == "account main: more slots were missed; `meshibot status` lists them"


def test_a_picture_whose_post_was_missed_is_posted_by_the_next(
    one_due: OneDue, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """It looks like that post's own, which nobody saw."""
    box = one_due(publisher)
    publisher.faults["upload"].append("later")
    box.step("main")
    clock.move(hours=3)
    box.step("main")
    assert only_post(database).state is PostState.MISSED
    slot(database, clock.now())
    assert box.step("main") == 2
    assert picture_states(database) == ["posted"]


def test_a_picture_that_looks_like_a_recent_post_is_not_taken(
    box: Outbox, database: Database, publisher: LedgerPublisher
) -> None:
    slot(database, NOON)
    box.step("main")
    with database.write() as session:
        pictures = session.scalars(select(Picture).order_by(Picture.id)).all()
        pictures[1].phash = pictures[0].phash ^ 0b111
        pictures[2].phash = pictures[3].phash ^ 0b11
    post = people.post_now(box, "main")
    assert post.state is PostState.POSTED
    assert picture_states(database) == ["posted", "rejected", "posted", "approved", "approved"]
    with pytest.raises(NothingToDo):
        people.post_now(box, "main", Kind.GRID)


def test_late_retries_are_missed_not_sent(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    slot(database, NOON)
    publisher.faults["send"].append("later")
    box.step("main")
    clock.move(hours=3)
    box.step("main")
    assert only_post(database).state is PostState.MISSED
    assert only_post(database).reason == "The network is busy. Its grace is over."
    assert publisher.calls.count("send") == 1


def write_ahead(database: Database, slot_id: int, caption: str | None = None) -> int:
    """A post for a slot, with the newest picture of the stock."""
    with database.write() as session:
        row = session.get_one(Slot, slot_id)
        picture = session.scalars(select(Picture).order_by(Picture.id.desc())).first()
        assert picture is not None
        picture.state = PictureState.RESERVED
        post = Post(
            account="main",
            publisher="ledger",
            slot_id=slot_id,
            kind=Kind.SINGLE,
            state=PostState.APPROVED,
            caption=caption,
            not_before=row.due_at,
            due_at=row.due_at,
            deadline=row.due_at,
            created_at=row.due_at - timedelta(days=1),
            pictures=[PostPicture(picture_id=picture.id, position=0)],
        )
        session.add(post)
        session.flush()
        return post.id


def test_what_was_written_ahead_and_approved_is_what_the_slot_posts(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    people.post_now(box, "main")
    ahead = write_ahead(database, slot(database, NOON), "By hand. No.0002")
    assert views_of(database) == [1]
    assert box.step("main") == ahead
    assert people.load_post(database, ahead).serial == 2
    assert the_slot(database).state is SlotState.TAKEN
    assert [line["text"] for line in publisher.ledger.posts()] == ["A bowl. No.0001", "By hand. No.0002"]
    assert [line["alt"] for line in publisher.ledger.posts()] == ["A generated picture."] * 2
    assert picture_states(database) == ["posted", *["approved"] * 3, "posted"]


def views_of(database: Database) -> list[int | None]:
    """The serials that `history` shows."""
    with database.read() as session:
        return [post.serial for post in views.recent_posts(session, 9)]


def test_what_was_written_ahead_for_a_slot_that_is_missed_is_missed_with_it(
    box: Outbox, database: Database, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    ahead = write_ahead(database, slot(database, NOON))
    clock.move(hours=3)
    assert box.step("main") is None
    post = people.load_post(database, ahead)
    assert (post.state, post.serial) == (PostState.MISSED, None)
    assert "No meshibot came to it" in str(post.reason)
    assert the_slot(database).state is SlotState.MISSED
    assert picture_states(database) == ["approved"] * 5
    assert publisher.calls == []


def test_a_slot_that_is_skipped_posts_nothing(box: Outbox, database: Database, clock: MovableClock) -> None:
    slot(database, NOON)
    with database.write() as session:
        row = session.scalars(select(Slot)).one()
        row.state, row.pinned = SlotState.SKIPPED, True
    for _ in range(3):
        assert box.step("main") is None
        clock.move(hours=2)
    assert the_slot(database).state is SlotState.SKIPPED


def test_a_slot_shows_what_its_weekday_has_on_the_clocks_of_the_account(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    """NOON is a Tuesday; sixteen hours later it is Wednesday in Tokyo, and in Greenwich too."""
    stock(database, tmp_path, 30)
    tokyo = Schedule("0 * * * *", ZoneInfo("Asia/Tokyo"), grace=timedelta(days=1))
    mix = Mix.parse("single, wed grid, thu grid9")
    box = Outbox(
        database,
        clock=clock,
        channels=[replace(channel(tmp_path, publisher, schedule=tokyo), mix=mix)],
    )
    for hours in (0, 4, 28):
        slot(database, NOON + timedelta(hours=hours))
    clock.move(hours=4)
    while box.step("main") is not None:
        clock.move(minutes=6)
    clock.move(hours=24)
    while box.step("main") is not None:
        clock.move(minutes=6)
    with database.read() as session:
        posts = session.scalars(select(Post).order_by(Post.due_at)).all()
        assert [(post.kind, len(post.pictures)) for post in posts] == [
            (Kind.SINGLE, 1),
            (Kind.GRID, 4),
            (Kind.GRID_OF_NINE, 9),
        ]


@pytest.mark.parametrize("kind", [Kind.MORPH, Kind.BEFORE_AND_AFTER])
def test_what_is_drawn_anew_takes_pictures_of_the_present_checkpoint_alone(
    kind: Kind, database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 6)
    with database.write() as session:
        for picture in session.scalars(select(Picture).where(Picture.id > 4)):
            picture.checkpoint = "the present one"
    present: list[str | None] = [None]
    own = replace(
        channel(tmp_path, publisher),
        preferred=lambda: present[0],
        mix=Mix(kind),
    )
    box = Outbox(database, clock=clock, channels=[own])
    slot(database, NOON)
    assert box.step("main") is None, "no checkpoint is there"
    present[0] = "the present one"
    slot(database, NOON + timedelta(minutes=1))
    while box.step("main") is not None:
        pass
    with database.read() as session:
        first = session.scalars(select(Post).order_by(Post.id)).first()
        assert first is not None
        assert first.kind is kind
        assert [each.picture_id for each in first.pictures] == ([5, 6] if kind is Kind.MORPH else [5])
    slot(database, NOON + timedelta(minutes=2))
    slot(database, NOON + timedelta(minutes=3))
    clock.move(minutes=5)
    while box.step("main") is not None:
        clock.move(minutes=6)
    with database.read() as session:
        planned = select(Slot.reason).where(Slot.state == SlotState.PLANNED, Slot.reason.is_not(None))
        reasons = set(session.scalars(planned))
    assert len(reasons) == 1
    assert "meshibot stock clear --others" in str(reasons.pop())


def test_a_caption_is_made_knowing_what_the_last_posts_said(
    database: Database, tmp_path: Path, publisher: LedgerPublisher, clock: MovableClock
) -> None:
    stock(database, tmp_path, 30)
    captions = load_captions(["one AI", "two AI", "three AI"])
    own = replace(
        channel(tmp_path, publisher),
        describe=lambda order: Words(
            captions.caption(order.serial, order.at, Kind.SINGLE, order.lately), "alt"
        ),
        captions_apart=2,
    )
    box = Outbox(database, clock=clock, channels=[own])
    for number in range(9):
        slot(database, NOON + timedelta(hours=number))
        while box.step("main") is not None:
            pass
        clock.move(hours=1)
        with database.write() as session:  # somebody's own words on every third: no line is known by them
            post = session.scalars(select(Post).order_by(Post.id.desc())).first()
            assert post is not None
            if number % 3 == 2:
                post.caption = f"A person's words. No.{post.serial:04d}"
    said = [post["text"].split()[0] for post in publisher.ledger.posts()]
    assert len(said) == 9
    assert all(one != other for one, other in itertools.pairwise(said))
