"""What `check` finds wrong, and how it says to mend it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshibot import health
from meshibot.config import Settings, load_settings
from meshibot.database import Daemon, Database
from meshibot.database.migrate import upgrade
from meshibot.health import Finding, check, exit_status, posts_in_a_month
from meshibot.quiet import QuietHours
from meshibot.schedule import Schedule
from meshibot.status import status
from tests.checkpoints import make_checkpoint

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    return make_checkpoint(path, training_hashes=("0" * 16,))


@pytest.fixture
def configured(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A sound configuration, to be spoiled."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHIBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESHIBOT_CHECKPOINT", str(checkpoint))
    monkeypatch.setenv("MESHIBOT_TIMEZONE", "Asia/Tokyo")
    return monkeypatch


def findings(settings: Settings) -> dict[str, Finding]:
    return {finding.subject: finding for finding in check(settings, NOW)}


def test_a_sound_configuration_has_nothing_to_mend(configured: pytest.MonkeyPatch) -> None:
    found = check(load_settings(), NOW)
    assert [finding.level for finding in found] == ["ok"] * len(found)
    assert exit_status(found) == 0
    assert "It is 2026-11-24 21:00 in Asia/Tokyo." in [finding.says for finding in found]


@pytest.mark.parametrize(
    ("name", "value", "subject", "says", "code"),
    [
        ("CHECKPOINT", "/nowhere", "checkpoint", "There is no checkpoint at /nowhere", 2),
        ("DATABASE_URL", "mysql://h/n", "database", "SQLite file or PostgreSQL is needed", 2),
        ("SCHEDULE", "* *", "account main schedule", "it needs five fields", 2),
        ("PUBLISHER", "x", "account main", "lacks MESHIBOT_X_CONSUMER_KEY", 2),
    ],
)
def test_what_is_wrong_is_found(
    configured: pytest.MonkeyPatch, name: str, value: str, subject: str, says: str, code: int
) -> None:
    configured.setenv(f"MESHIBOT_{name}", value)
    found = check(load_settings(), NOW)
    finding = next(each for each in found if each.subject == subject)
    assert (finding.level, exit_status(found)) == ("failed", code)
    assert says in finding.says


def test_a_schedule_that_lies_in_the_quiet_hours_never_posts(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("MESHIBOT_SCHEDULE", "0 3 * * *")
    configured.setenv("MESHIBOT_QUIET_HOURS", "02:00-05:00")
    found = check(load_settings(), NOW)
    schedule = next(each for each in found if each.subject == "account main schedule")
    assert (schedule.level, exit_status(found)) == ("failed", 1)
    assert "change MESHIBOT_SCHEDULE or MESHIBOT_QUIET_HOURS" in schedule.says
    assert status(load_settings(), NOW)["accounts"][0]["next_slot"] is None


def test_a_link_in_the_captions_makes_a_month_dear(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("MESHIBOT_PUBLISHER", "x")
    configured.setenv("MESHIBOT_SCHEDULE", "0 */3 * * *")
    cost = findings(load_settings())["account main cost"]
    assert (cost.level, cost.says) == ("ok", "about 240 posts a month, $4.80 ($0.020 each).")
    configured.setenv("MESHIBOT_CAPTIONS", "example.com {marker}")
    cost = findings(load_settings())["account main cost"]
    assert cost.level == "warning"
    assert "$49.20 ($0.205 each)" in cost.says


def test_a_month_counts_neither_quiet_hours_nor_what_is_over_the_budget() -> None:
    quiet = QuietHours.parse("01:00-06:30")
    assert posts_in_a_month(Schedule("0 * * * *", UTC), NOW) == 720
    assert posts_in_a_month(Schedule("0 * * * *", UTC, quiet=quiet), NOW) == 30 * 18
    # Thirty days from noon to noon touch thirty-one dates.
    assert posts_in_a_month(Schedule("0 * * * *", UTC, daily_budget=2), NOW) == 31 * 2


def test_a_clock_that_fell_behind_is_a_warning(configured: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    settings.home.mkdir()
    upgrade(settings.database_address)
    ahead = NOW + timedelta(days=1)
    with Database.open(settings.database_address) as database, database.write() as session:
        session.add(Daemon(id="a", host="h", pid=1, version="0", started_at=NOW, seen_at=ahead))
    clock = findings(settings)["clock"]
    assert clock.level == "warning"
    assert "2026-11-25T12:00:00Z" in clock.says
    assert "set the clock" in clock.says


@pytest.mark.parametrize(("low", "none", "level"), [(10**18, 0, "warning"), (10**18, 10**18, "failed")])
def test_a_disk_that_fills_up_is_told(
    configured: pytest.MonkeyPatch, low: int, none: int, level: str
) -> None:
    configured.setattr(health, "_LOW_DISK", low)
    configured.setattr(health, "_NO_DISK", none)
    disk = findings(load_settings())["disk"]
    assert disk.level == level
    assert "Make room" in disk.says


def test_a_database_of_an_older_meshibot_has_to_be_upgraded(configured: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    settings.home.mkdir()
    upgrade(settings.database_address)
    with Database.open(settings.database_address) as database, database.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    assert "run `meshibot db upgrade`" in findings(settings)["database"].says


def test_a_warning_about_settings_is_a_finding(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("MESHIBOT_SHEDULE", "x")
    assert "did you mean MESHIBOT_SCHEDULE" in findings(load_settings())["settings"].says
