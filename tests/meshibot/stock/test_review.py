"""A person's word on pictures: what it changes, what it refuses, how it is taken back and kept."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from meshibot import undo
from meshibot.config import Settings
from meshibot.config.models import account_model
from meshibot.database import Account, Database, Picture, PictureState, Post, Verdict
from meshibot.errors import ChangedMeanwhile, NothingToDo, UsageError
from meshibot.notices.conditions import conditions
from meshibot.outbox import Outbox, people
from meshibot.outbox.choose import NONE_REVIEWED
from meshibot.slots import Schedule, changes
from meshibot.slots.changes import Desk
from meshibot.stock import inventory, review
from meshibot.stock.review import Judged
from testbed.command import Command
from testbed.homes import stocked
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


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 4)
        yield database


def judge(database: Database, picture: int, verdict: Verdict, reason: str | None = None) -> Judged:
    return review.judge(database, {picture: None}, verdict, now=NOON, by="a test", reason=reason)[0]


def states(database: Database) -> list[tuple[str, str | None]]:
    found = []
    for number in range(1, 5):
        picture = inventory.find(database, number)
        found.append((picture.state.value, picture.verdict.value if picture.verdict else None))
    return found


def no_desk(name: str) -> Desk:
    raise AssertionError(name)


def test_approved_pictures_stay_in_stock_and_rejected_ones_leave_it(database: Database) -> None:
    judge(database, 1, Verdict.APPROVED)
    judge(database, 2, Verdict.REJECTED, "blurred")
    assert states(database)[:3] == [("approved", "approved"), ("rejected", "rejected"), ("approved", None)]
    with database.read() as session:
        assert [picture.id for picture in review.page(session, "waiting", 9)] == [3, 4]
        assert [picture.id for picture in review.page(session, "rejected", 9)] == [2]
        assert review.counts(session) == {"waiting": 2, "approved": 1}


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_word_is_taken_back_and_that_as_well_is_an_event(database: Database, verdict: Verdict) -> None:
    done = judge(database, 1, verdict, "alike" if verdict is Verdict.REJECTED else None)
    assert done.event is not None
    again = undo.undo(database, [done.event], no_desk, now=NOON, by="a test")
    assert states(database)[0] == ("approved", None)
    assert len(again) == 1
    with pytest.raises(ChangedMeanwhile):
        undo.undo(database, [done.event], no_desk, now=NOON, by="a test")


def test_who_looked_before_another_changed_it_is_told_so(database: Database) -> None:
    seen = inventory.find(database, 1).version
    first = review.judge(database, {1: seen}, Verdict.REJECTED, now=NOON, by="one")
    second = review.judge(database, {1: seen}, Verdict.APPROVED, now=NOON, by="the other")
    assert first[0].refused is None
    assert second[0].refused == "Picture 1 was changed meanwhile: look at it again, then try again."
    assert states(database)[0] == ("rejected", "rejected")


def test_of_several_each_has_its_own_outcome(database: Database) -> None:
    with database.write() as session:
        session.get_one(Picture, 2).state = PictureState.POSTED
        session.get_one(Picture, 3).state = PictureState.RESERVED
        row = session.get_one(Picture, 4)
        row.state, row.reason = PictureState.REJECTED, "It looks like a recent post."
    found = review.judge(database, dict.fromkeys([1, 2, 3, 4, 99]), Verdict.APPROVED, now=NOON, by="a test")
    assert [each.refused for each in found] == [
        None,
        "Picture 2 was posted meanwhile.",
        "Picture 3 belongs to a post: take it out of its slot first.",
        "Picture 4 is not in the stock: It looks like a recent post.",
        "There is no picture 99: see `meshibot stock list`.",
    ]


def test_a_reason_that_there_is_not_is_refused(database: Database) -> None:
    with pytest.raises(UsageError, match="none of alike, no-bowl, blurred, other"):
        judge(database, 1, Verdict.REJECTED, "ugly")


def reviewed_outbox(database: Database, folder: Path, clock: MovableClock) -> Outbox:
    from dataclasses import replace

    publisher = LedgerPublisher(Ledger(folder / "ledger"), clock)
    own = replace(channel(folder, publisher), reviewed=True)
    return Outbox(database, clock=clock, elapsed=lambda: clock.elapsed, channels=[own])


def test_where_review_is_required_only_what_was_approved_is_posted(
    database: Database, tmp_path: Path
) -> None:
    clock = MovableClock()
    box = reviewed_outbox(database, tmp_path, clock)
    slot(database, NOON)
    assert box.step("main") is None
    clock.move(minutes=30)
    judge(database, 3, Verdict.APPROVED)
    assert box.step("main") is not None
    assert states(database)[2] == ("posted", "approved")


def test_a_slot_for_which_nothing_was_approved_waits_and_is_missed_with_that_reason(
    database: Database, tmp_path: Path
) -> None:
    clock = MovableClock()
    box = reviewed_outbox(database, tmp_path, clock)
    slot(database, NOON)
    for _ in range(4):
        assert box.step("main") is None
        clock.move(hours=1)
    with database.read() as session:
        from meshibot.database import Slot

        row = session.get_one(Slot, 1)
        assert (row.state.value, row.reason) == ("missed", NONE_REVIEWED)
    with pytest.raises(NothingToDo, match="was approved"):
        people.post_now(box, "main", patience=timedelta(0))


def test_a_pictures_own_words_are_said_by_whichever_post_shows_it(database: Database, tmp_path: Path) -> None:
    clock = MovableClock()
    publisher = LedgerPublisher(Ledger(tmp_path / "ledger"), clock)
    box = Outbox(
        database, clock=clock, elapsed=lambda: clock.elapsed, channels=[channel(tmp_path, publisher)]
    )
    with database.read() as session:
        version = session.get_one(Picture, 1).version
    review.write(database, 1, "Mine. {marker}", "A bowl of mine.", version, now=NOON, by="a test")
    with pytest.raises(ChangedMeanwhile):
        review.write(database, 1, "Others'", None, version, now=NOON, by="a test")
    gone = review.write(database, 2, "Not this", None, now=NOON, by="a test")
    undo.undo(database, [gone], no_desk, now=NOON, by="a test")
    for hour in range(2):
        slot(database, NOON + timedelta(hours=hour))
    for _ in range(2):
        assert box.step("main") is not None
        clock.move(hours=1)
    mine, usual = publisher.ledger.posts()
    assert (mine["text"], mine["alt"]) == ("Mine. No.0001", "A bowl of mine.")
    assert "Not this" not in usual["text"]
    with pytest.raises(UsageError, match="Picture 1 is posted"):
        review.write(database, 1, "Too late", None, now=NOON, by="a test")


def test_words_go_with_the_picture_and_not_with_the_slot(database: Database, tmp_path: Path) -> None:
    schedule = Schedule("0 23 * * *", ZoneInfo("Asia/Tokyo"))
    with database.write() as session:
        session.add(Account(name="main", publisher="ledger"))
    desk = Desk(database, "main", "ledger", schedule, "a test", lambda: NOON)
    tonight = datetime(2027, 1, 1, 23)
    review.write(database, 1, "Of the first", None, now=NOON, by="a test")
    for picture, caption in ((1, "Of the first"), (2, None), (1, "Of the first")):
        changes.put(desk, tonight, picture)
        with database.read() as session:
            assert [post.caption for post in session.scalars(select(Post))] == [caption]


def test_words_are_kept_by_a_command_and_shown_by_a_rehearsal(tmp_path: Path) -> None:
    bot = stocked(Command(tmp_path, {"CAPTIONS": "en", "MIN_QUANTILE": "0"}))
    assert bot("stock", "words", "1", "--caption", "Mine", "--alt-text", "A bowl").returncode == 0
    rehearsed = bot.json("post-now", "--dry-run")
    assert (rehearsed["caption"], rehearsed["alt_text"]) == ("Mine\nNo.0001", "A bowl")
    assert bot.json("stock", "list")[0]["caption"] == "Mine"
    assert "mentions an account" in bot.refused("stock", "words", "1", "--caption", "@all", status=2)
    assert bot("stock", "words", "1").returncode == 0
    assert bot.json("stock", "list")[0]["caption"] is None


def test_the_commands_judge_take_back_and_export(tmp_path: Path) -> None:
    bot = stocked(Command(tmp_path))
    assert bot("stock", "approve", "1", "2").returncode == 0
    refused = bot("stock", "reject", "3", "99", "--reason", "no-bowl")
    assert refused.returncode == 1
    assert "There is no picture 99" in refused.stderr
    lines = [json.loads(line) for line in bot("review", "export").stdout.splitlines()]
    assert [(line["verdict"], line["reason"]) for line in lines] == [
        ("approved", None),
        ("approved", None),
        ("rejected", "no-bowl"),
    ]
    assert {"checkpoint", "seed", "score", "quantile", "reviewed_at"} <= set(lines[0])
    newest = bot.json("events")[0]
    assert (newest["action"], newest["picture"], newest["actor"]) == ("reject", 3, "command line")
    assert bot("undo", str(newest["id"])).returncode == 0
    assert [each["verdict"] for each in bot.json("stock", "list")] == ["approved", "approved", None, None]
    assert "can't be taken back" in bot.refused("undo", str(bot.json("events")[0]["id"]), status=2)


def test_post_now_posts_nothing_that_nobody_approved(tmp_path: Path) -> None:
    bot = stocked(Command(tmp_path, {"REVIEW": "required"}))
    assert "stock approve" in bot.refused("post-now", status=3)
    assert bot("stock", "approve", "2").returncode == 0
    assert bot.json("post-now")["pictures"][0]["id"] == 2


def test_slots_are_changed_by_commands(tmp_path: Path) -> None:
    bot = stocked(Command(tmp_path, {"SCHEDULE": "0 23 * * *"}))
    first, second = bot.json("slots", "list")[:2]
    tonight, tomorrow = first["local"][:16], second["local"][:16]
    put = bot.json("slots", "put", tonight, "--picture", "2", "--caption", "Mine {marker}")
    assert (put["picture"], put["caption"], put["state"]) == (2, "Mine {marker}", "planned")
    assert bot.json("slots", "swap", tonight, tomorrow)["picture"] is None
    assert bot.json("slots", "clear", tomorrow)["picture"] is None
    skipped = bot.json("slots", "skip", tonight)
    assert skipped["state"] == "skipped"
    assert bot.json("slots", "restore", str(skipped["slot"]))["state"] == "planned"
    noon = f"{tomorrow[:10]}T12:30"
    assert bot.json("slots", "move", str(skipped["slot"]), noon)["local"][:16] == noon
    assert bot.json("slots", "add", f"{tomorrow[:10]}T13:30")["state"] == "planned"
    assert "neither" in bot.refused("slots", "skip", "soon", status=2)


@pytest.mark.parametrize(
    ("option", "words", "says"),
    [
        ("--caption", "see example.com", "makes a link of something in the caption"),
        ("--caption", "hi @you", "take the @ out"),
        ("--caption", "caf\udce9", "no network shows"),
        ("--alt-text", "caf\udce9", "no network shows"),
        ("--alt-text", "x" * 1001, "1001 of the 1000"),
    ],
)
def test_words_that_would_be_refused_or_dear_are_refused_at_once(
    tmp_path: Path, option: str, words: str, says: str
) -> None:
    bot = stocked(Command(tmp_path, {"SCHEDULE": "0 23 * * *", "PUBLISHER": "x"}))
    tonight = bot.json("slots", "list")[0]["local"][:16]
    assert says in bot.refused("slots", "put", tonight, option, words, status=2)
    assert bot.json("slots", "put", tonight, option, "  ")["caption"] is None


def test_that_too_few_are_approved_is_told_in_time(database: Database, tmp_path: Path) -> None:
    said = {"name": "main", "review": "required", "timezone": "UTC", "schedule": "0 14,17 * * *"}
    account = account_model().model_validate(said)
    settings = Settings.model_validate({"home": tmp_path, "accounts": (account,), "backup_keep": "none"})

    def told() -> list[str]:
        with database.read() as session:
            return [each.text for each in conditions(session, settings, NOON) if each.key == "review"]

    judge(database, 1, Verdict.APPROVED)
    assert told()[0].startswith("1 picture approved, and the next 24 hours need 2. ")
    judge(database, 2, Verdict.APPROVED)
    assert told() == []


def test_status_says_how_many_are_approved(tmp_path: Path) -> None:
    bot = stocked(Command(tmp_path, {"REVIEW": "required"}))
    assert "review: 0 of them are approved, and only those are posted" in bot("status").stdout
