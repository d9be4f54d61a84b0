"""Notices: told once, and that it is over; by every way; never lost, and never in the way of a post."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from meshibot.config import Settings
from meshibot.config.models import account_model
from meshibot.database import (
    Account,
    AccountState,
    Daemon,
    Database,
    Notice,
    Picture,
    PictureState,
    Post,
    Slot,
    SlotState,
)
from meshibot.errors import DatabaseFailure
from meshibot.notices import conditions as conditions_module
from meshibot.notices import ways
from meshibot.notices.notifier import Notifier
from meshibot.notices.ways import signature
from testbed import ledger
from testbed.command import ROOT, Command
from testbed.homes import ask, locked, stocked
from testbed.ledger import NOON, MovableClock


@dataclass(frozen=True)
class Receiver:
    """The process and what it was sent."""

    url: str
    folder: Path

    def requests(self) -> list[dict[str, Any]]:
        """All, the oldest first."""
        file = self.folder / "requests.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def answer(self, said: str) -> None:
        """From now on."""
        (self.folder / "status").write_text(said)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    folder = tmp_path / "receiver"
    folder.mkdir()
    command = [sys.executable, "-m", "testbed.fakes.receiver", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Receiver(f"http://127.0.0.1:{process.stdout.readline().strip()}", folder)
        process.kill()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with ledger.new_database(tmp_path) as database:
        ledger.stock(database, tmp_path, 5)
        with database.write() as session:
            session.add(Account(name="main", publisher="folder"))
        yield database


def notifier(database: Database, tmp_path: Path, clock: MovableClock, **said: str) -> Notifier:
    account = account_model().model_validate({"name": "main", "timezone": "UTC"})
    given = {"home": tmp_path, "accounts": (account,), "backup_keep": "none"}
    return Notifier(database, Settings.model_validate(given | said), clock)


def stop(database: Database, state: AccountState, reason: str | None = "The token is refused.") -> None:
    with database.write() as session:
        row = session.get_one(Account, "main")
        row.state, row.stopped_reason = state, reason


def test_a_netrc_does_not_take_the_place_of_a_token(
    database: Database, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password planted\n")
    monkeypatch.setenv("NETRC", str(netrc))
    look = notifier(
        database, tmp_path, MovableClock(), notify_ntfy=f"{receiver.url}/topic", notify_ntfy_token="tk"
    )
    look()
    stop(database, AccountState.STOPPED)
    look()
    (told,) = receiver.requests()
    assert told["headers"]["Authorization"] == "Bearer tk"


def test_a_home_that_is_gone_is_told_and_hides_nothing_else(
    database: Database, tmp_path: Path, receiver: Receiver
) -> None:
    """A shared folder may go where the database, on a server, stays: then no notice at all was told."""
    look = notifier(database, tmp_path / "gone", MovableClock(), notify_webhook=f"{receiver.url}/hook")
    stop(database, AccountState.STOPPED)
    look()
    told = "".join(json.loads(each["body"])["text"] for each in receiver.requests())
    assert "The account main is stopped" in told
    assert f"{tmp_path / 'gone'} can't be read (No such file or directory): mount its disk." in told


def test_once_and_that_it_is_over(database: Database, tmp_path: Path, receiver: Receiver) -> None:
    clock = MovableClock()
    look = notifier(
        database, tmp_path, clock, notify_ntfy=f"{receiver.url}/secret-topic", notify_ntfy_token="tk-planted"
    )
    look()
    assert receiver.requests() == []
    stop(database, AccountState.STOPPED)
    for _ in range(3):
        look()
        clock.move(minutes=1)
    stop(database, AccountState.ACTIVE, None)
    for _ in range(3):
        look()
    opened, closed = receiver.requests()
    assert opened["path"] == "/"
    assert opened["headers"]["Authorization"] == "Bearer tk-planted"
    document = json.loads(opened["body"])
    assert document["topic"] == "secret-topic"
    assert document["title"] == "meshibot: account stopped"
    assert document["message"] == "The account main is stopped: The token is refused."
    assert json.loads(closed["body"])["message"].startswith("This is over: The account main")
    stop(database, AccountState.STOPPED, "Again.")
    look()
    assert len(receiver.requests()) == 3, "a new event is told again"


def test_what_can_not_be_told_now_is_told_later_by_that_way_alone(
    database: Database, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = MovableClock()
    said = {"notify_webhook": f"{receiver.url}/hook", "notify_webhook_key": "planted-key"}
    look = notifier(database, tmp_path, clock, **said)
    stop(database, AccountState.STOPPED)
    receiver.answer("503")
    look()
    look()  # not again at once
    assert len(receiver.requests()) == 1
    receiver.answer("200")
    again = notifier(database, tmp_path, clock, **said)  # the process was started anew
    again()
    again()
    last = receiver.requests()[-1]
    assert len(receiver.requests()) == 2
    document = json.loads(last["body"])
    assert (document["id"], document["kind"], document["state"]) == ("1-open", "account stopped", "open")
    stamp = last["headers"]["X-Meshibot-Timestamp"]
    expected = signature("planted-key", stamp, last["body"].encode())
    assert last["headers"]["X-Meshibot-Signature"] == f"sha256={expected}"


def test_what_was_over_before_it_could_be_told_is_not_told(
    database: Database, tmp_path: Path, receiver: Receiver
) -> None:
    clock = MovableClock()
    look = notifier(database, tmp_path, clock, notify_ntfy=f"{receiver.url}/t")
    receiver.answer("500")
    stop(database, AccountState.STOPPED)
    look()
    stop(database, AccountState.ACTIVE, None)
    look()
    receiver.answer("200")
    notifier(database, tmp_path, clock, notify_ntfy=f"{receiver.url}/t")()
    assert len(receiver.requests()) == 1


def test_a_monitor_gets_signs_of_life_after_posts_and_once_a_day(
    database: Database, tmp_path: Path, receiver: Receiver
) -> None:
    clock = MovableClock()
    box = ledger.outbox(database, tmp_path, ledger.LedgerPublisher(ledger.Ledger(tmp_path / "ledger"), clock))
    look = notifier(database, tmp_path, clock, notify_ping=f"{receiver.url}/uuid")
    look()
    assert receiver.requests() == [], "a start says nothing of slots"
    ledger.slot(database, NOON)
    clock.move(seconds=5)
    box.step("main")
    look()
    look()
    assert [each["path"] for each in receiver.requests()] == ["/uuid"]
    clock.move(hours=25)
    look()
    assert [each["path"] for each in receiver.requests()] == ["/uuid"] * 2
    stop(database, AccountState.STOPPED)
    look()
    assert receiver.requests()[-1]["path"] == "/uuid/fail"


def test_every_kind_of_trouble_is_told(
    database: Database, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = MovableClock()
    monkeypatch.setattr(conditions_module, "LOW_DISK", 10**18)
    look = notifier(database, tmp_path, clock, notify_ntfy=f"{receiver.url}/t", backup_keep="7d")
    slots = [ledger.slot(database, NOON + timedelta(minutes=n)) for n in (-90, -60, -30, 600)]
    with database.write() as session:
        for number, reason in zip(
            slots, ("It lies in the quiet hours 1-2.", "Gone.", "Gone too."), strict=False
        ):
            row = session.get_one(Slot, number)
            row.state, row.reason = SlotState.MISSED, reason
        for picture in session.scalars(select(Picture)):
            picture.state = PictureState.REJECTED
        old = NOON - timedelta(days=3)
        session.add(Daemon(id="d", host="h", pid=1, version="0", started_at=old, seen_at=old))
        session.add(
            Post(
                account="main", publisher="folder", serial=7, kind="single", state="needs_person",
                reason="Look.", due_at=old, created_at=old, deadline=old, not_before=old,
            )
        )  # fmt: skip
    look()
    clock.move(minutes=61)
    look()
    told = "\n".join(json.loads(each["body"])["message"] for each in receiver.requests()).splitlines()
    assert len(told) == 6, told
    assert "2 slots were missed for main" in "".join(told)
    for part in (
        "waits for your word: Look.",
        "0 pictures waiting, and",
        "on h was last",
        "no backup since",
        "MB are",
    ):
        assert sum(part in line for line in told) == 1, part
    with database.write() as session:
        session.get_one(Slot, slots[3]).state = SlotState.TAKEN
    look()
    assert "This is over: 2 slots were missed" in json.loads(receiver.requests()[-1]["body"])["message"]


def test_a_way_that_hangs_ends(
    database: Database, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "PATIENCE", (0.5, 0.5, 0.5))
    look = notifier(database, tmp_path, MovableClock(), notify_ntfy=f"{receiver.url}/t")
    receiver.answer("hang")
    stop(database, AccountState.STOPPED)
    look()
    with database.read() as session:
        assert session.scalars(select(Notice)).one().told == {}


def test_a_person_tries_them_out_and_no_address_is_shown(tmp_path: Path, receiver: Receiver) -> None:
    bot = stocked(Command(tmp_path))
    assert "No way is set" in bot.refused("notify", status=2)
    bot = bot.having(
        {"NOTIFY_NTFY": f"{receiver.url}/planted-topic", "NOTIFY_PING": f"{receiver.url}/planted"}
    )
    assert bot("notify", "--test").stderr == "ntfy: told.\nping: told.\n"
    receiver.answer("404")
    failed = bot("notify", "--test")
    assert (failed.returncode, failed.stderr) == (
        1,
        "ntfy: The ntfy answered 404.\nping: The ping answered 404.\n",
    )
    assert "planted" not in json.dumps(bot.json("config"))
    assert bot("notify").returncode in (0, 1)
    (bot.here / "meshibot.toml").write_text('notify_ping = "https://example.org/planted"\n')
    assert "holds a secret (notify_ping)" in bot.refused("status", status=2)


def test_apprise_tells_in_a_process_of_its_own(tmp_path: Path, receiver: Receiver) -> None:
    pytest.importorskip("apprise")
    address = receiver.url.replace("http://", "json://")
    bot = stocked(Command(tmp_path)).having({"NOTIFY_APPRISE": f"{address}/here"})
    assert bot("notify", "--test").stderr == "apprise: told.\n"
    assert "This is a trial" in receiver.requests()[0]["body"]
    assert ask(bot, "SELECT count(*) FROM notices") == [(0,)]


def test_a_look_that_finds_nothing_new_is_not_in_the_way_of_a_post(
    database: Database, tmp_path: Path
) -> None:
    stop(database, AccountState.STOPPED)
    with Database.open(f"sqlite:///{tmp_path / 'bot.sqlite'}?timeout=0") as impatient:
        look = notifier(impatient, tmp_path, MovableClock())
        look()
        with locked(tmp_path / "bot.sqlite"):
            look()  # takes no lock for writing, or it would fail
        stop(database, AccountState.ACTIVE, None)
        with locked(tmp_path / "bot.sqlite"), pytest.raises(DatabaseFailure, match="locked"):
            look()


def test_people_sleep_and_a_monitor_does_not(database: Database, tmp_path: Path, receiver: Receiver) -> None:
    """NOON is 12:00 in UTC."""
    clock = MovableClock()
    said = {
        "notify_ntfy": f"{receiver.url}/t",
        "notify_ping": f"{receiver.url}/uuid",
        "notify_quiet_hours": "11:00-14:00",
    }
    look = notifier(database, tmp_path, clock, **said)
    stop(database, AccountState.STOPPED)
    look()
    assert [each["path"] for each in receiver.requests()] == ["/uuid/fail"]
    clock.move(hours=1, minutes=59)
    with database.write() as session:
        for picture in session.scalars(select(Picture)):
            picture.state = PictureState.REJECTED
    ledger.slot(database, clock.now() + timedelta(hours=9))
    look()
    clock.move(hours=1)
    look()
    told = [json.loads(each["body"]) for each in receiver.requests() if each["path"] == "/"]
    assert [each["title"] for each in told] == ["meshibot: 2 notices"]
    assert "main is stopped" in told[0]["message"]
    assert "0 pictures wait" in told[0]["message"]


def test_what_is_over_before_people_wake_is_not_told(
    database: Database, tmp_path: Path, receiver: Receiver
) -> None:
    clock = MovableClock()
    look = notifier(
        database, tmp_path, clock, notify_ntfy=f"{receiver.url}/t", notify_quiet_hours="11:00-14:00"
    )
    stop(database, AccountState.STOPPED)
    look()
    stop(database, AccountState.ACTIVE, None)
    look()
    clock.move(hours=3)
    look()
    assert receiver.requests() == []


def test_a_week_is_summed_up_once_and_is_no_failure(
    database: Database, tmp_path: Path, receiver: Receiver
) -> None:
    """NOON is a Tuesday; the week before it began on the 16th."""
    clock = MovableClock()
    with database.write() as session:
        for number, (day, state) in enumerate(
            (
                (15, "posted"),
                (16, "posted"),
                (20, "posted"),
                (22, "deleted"),
                (22, "rejected"),
                (23, "posted"),
            )
        ):
            at = NOON.replace(day=day)
            session.add(
                Post(
                    account="main", publisher="folder", serial=number + 1, kind="single", state=state,
                    due_at=at, created_at=at, deadline=at, not_before=at,
                    posted_at=None if state == "rejected" else at, sent_at=at,
                )
            )  # fmt: skip
    number = ledger.slot(database, NOON - timedelta(days=5))
    with database.write() as session:
        row = session.get_one(Slot, number)
        row.state, row.reason = SlotState.MISSED, "Gone."
    said = {"notify_ntfy": f"{receiver.url}/t", "notify_ping": f"{receiver.url}/uuid"}
    for _ in range(3):
        notifier(database, tmp_path, clock, notify_digest="weekly", **said)()
    (told,) = receiver.requests()
    document = json.loads(told["body"])
    assert document["message"] == "The week from 2026-11-16: main made 3 posts and missed 1."
    assert (document["title"], document["priority"]) == ("meshibot: weekly digest", 3)
    clock.move(days=5, hours=20)  # Monday, eight o'clock
    look = notifier(database, tmp_path, clock, notify_digest="weekly", **said)
    look()
    assert len(receiver.requests()) == 1
    clock.move(hours=1)
    look()
    assert [each["path"] for each in receiver.requests()] == ["/", "/"]
    assert (
        "The week from 2026-11-23: main made 1 post and"
        in json.loads(receiver.requests()[1]["body"])["message"]
    )
