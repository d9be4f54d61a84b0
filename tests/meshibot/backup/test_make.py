"""A daemon's daily backup: made once a day, thinned only after a new one, and never in the way of another."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshibot.backup.keep import Keep
from meshibot.backup.make import Keeper, archives
from meshibot.config import Settings
from meshibot.config.models import account_model
from meshibot.database.migrate import upgrade
from meshibot.errors import MeshibotError
from testbed.ledger import MovableClock

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    account = account_model().model_validate({"name": "main"})
    made = Settings.model_validate(
        {"home": tmp_path, "accounts": (account,), "checkpoint": tmp_path / "none"}
    )
    upgrade(made.database_address)
    return made


def test_one_a_day_is_made_and_so_many_stay(settings: Settings, tmp_path: Path) -> None:
    clock = MovableClock(NOON)
    keeper = Keeper(settings, Keep(3, 0, 0), clock)
    other = tmp_path / "backups" / "meshibot-20261124T140000Z.sqlite3"
    for _ in range(24 * 5):
        keeper()
        clock.move(hours=1)
    other.write_text("of `meshibot db backup`")
    keeper()
    found = [moment for moment, _ in archives(tmp_path / "backups")]
    assert found == [NOON + timedelta(days=day) for day in (3, 4, 5)]
    assert sorted(path.suffix for path in other.parent.iterdir()) == [".gz", ".gz", ".gz", ".sqlite3"]


def test_where_none_can_be_made_none_is_removed(settings: Settings, tmp_path: Path) -> None:
    clock = MovableClock(NOON)
    keeper = Keeper(settings, Keep(1, 0, 0), clock)
    keeper()
    (tmp_path / "meshibot.sqlite3").write_bytes(b"damaged" * 1000)
    clock.move(days=2)
    with pytest.raises(MeshibotError, match=r"no database|failed"):
        keeper()
    assert [moment for moment, _ in archives(tmp_path / "backups")] == [NOON]
    assert [path.name for path in (tmp_path / "backups").iterdir()] == ["meshibot-20261124T120000Z.tar.gz"]


def test_a_clock_that_ran_ahead_costs_no_backups(settings: Settings, tmp_path: Path) -> None:
    """Neither is one made at every look until it is right again, nor do those of the right time go."""
    clock = MovableClock(NOON + timedelta(days=30))
    keeper = Keeper(settings, Keep(2, 0, 0), clock)
    keeper()
    clock.jump(days=-30)
    for _ in range(24 * 3):
        keeper()
        clock.move(hours=1)
    found = [moment for moment, _ in archives(tmp_path / "backups")]
    assert found == [NOON + timedelta(days=day) for day in (1, 2, 30)]
