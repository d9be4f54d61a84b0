"""What `status` shows of daemons and of slots that came to nothing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshibot.config import Settings, load_settings
from meshibot.database import Account, Daemon, Database, Slot, SlotState
from meshibot.database.migrate import upgrade
from meshibot.display import show_status
from meshibot.status import status

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a home with an empty database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHIBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESHIBOT_TIMEZONE", "Asia/Tokyo")
    settings = load_settings()
    settings.home.mkdir()
    upgrade(settings.database_address)
    return settings


def test_status_knows_a_daemon_that_has_died(settings: Settings) -> None:
    with Database.open(settings.database_address) as database, database.write() as session:
        session.add(Daemon(id="a", host="h", pid=1, version="0", started_at=NOW, seen_at=NOW))
    assert status(settings, NOW + timedelta(minutes=1))["daemon"]["running"] is True
    assert status(settings, NOW + timedelta(minutes=4))["daemon"]["running"] is False


def test_a_daemon_that_lives_counts_more_than_one_that_ended_after_it_was_seen(settings: Settings) -> None:
    end = NOW + timedelta(seconds=20)
    with Database.open(settings.database_address) as database, database.write() as session:
        session.add(Daemon(id="a", host="h", pid=1, version="0", started_at=NOW, seen_at=NOW))
        session.add(Daemon(id="b", host="h", pid=2, version="0", started_at=NOW, seen_at=end, stopped_at=end))
    assert status(settings, end)["daemon"]["pid"] == 1
    assert status(settings, NOW + timedelta(minutes=4))["daemon"]["pid"] == 2


def test_a_daemon_that_died_under_a_clock_that_ran_ahead_does_not_live_until_then(settings: Settings) -> None:
    ahead = NOW + timedelta(days=30)
    with Database.open(settings.database_address) as database, database.write() as session:
        session.add(Daemon(id="a", host="h", pid=1, version="0", started_at=ahead, seen_at=ahead))
    assert status(settings, NOW)["daemon"]["running"] is False
    with Database.open(settings.database_address) as database, database.write() as session:
        session.add(Daemon(id="b", host="h", pid=2, version="0", started_at=NOW, seen_at=NOW))
    found = status(settings, NOW + timedelta(minutes=1))["daemon"]
    assert (found["pid"], found["running"]) == (2, True)
    found = status(settings, NOW + timedelta(hours=1))["daemon"]
    assert (found["pid"], found["running"]) == (2, False)


def test_another_machines_clock_may_be_some_minutes_ahead(settings: Settings) -> None:
    soon = NOW + timedelta(minutes=10)
    with Database.open(settings.database_address) as database, database.write() as session:
        session.add(Daemon(id="a", host="h", pid=1, version="0", started_at=soon, seen_at=soon))
    assert status(settings, NOW)["daemon"]["running"] is True


def test_what_was_missed_this_week_is_said_with_its_reason(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with Database.open(settings.database_address) as database, database.write() as session:
        session.add(Account(name="main", publisher="folder"))
        session.flush()
        for days in (-1, 2, 3, 8):
            due = NOW - timedelta(days=days)
            session.add(
                Slot(
                    account="main",
                    key=f"main|{days}",
                    due_at=due,
                    local=f"{days} days ago",
                    state=SlotState.MISSED,
                    reason="The stock was empty.",
                )
            )
    document = status(settings, NOW)
    assert [slot["key"] for slot in document["missed"]] == ["main|2", "main|3"]
    show_status(document)
    assert "missed 2 days ago (main): The stock was empty.\n" in capsys.readouterr().out
