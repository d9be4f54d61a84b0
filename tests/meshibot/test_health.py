"""What `check` finds wrong, and how it says to mend it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshibot.assembly import cautions
from meshibot.backup.archive import name_of
from meshibot.backup.make import make
from meshibot.config import Settings, load_settings
from meshibot.database import Account, Daemon, Database, Post, PostState
from meshibot.database.migrate import upgrade
from meshibot.health import Finding, check, exit_status, machine, network
from meshibot.kinds import Kind
from meshibot.status import status
from testbed.fakes.x import FakeX
from testbed.homes import x_settings
from testbed.ledger import stock
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
    ("name", "value", "subject", "says"),
    [
        ("CHECKPOINT", "/nowhere", "checkpoint", "There is no checkpoint at /nowhere"),
        ("DATABASE_URL", "mysql://h/n", "database", "SQLite file or PostgreSQL is needed"),
        ("SCHEDULE", "* *", "account main schedule", "it needs five fields"),
        ("PUBLISHER", "x", "account main", "lacks MESHIBOT_X_CONSUMER_KEY"),
    ],
)
def test_what_is_wrong_is_found(
    configured: pytest.MonkeyPatch, name: str, value: str, subject: str, says: str
) -> None:
    configured.setenv(f"MESHIBOT_{name}", value)
    found = check(load_settings(), NOW)
    finding = next(each for each in found if each.subject == subject)
    assert (finding.level, exit_status(found)) == ("failed", 2)
    assert says in finding.says


def test_a_run_folder_that_is_away_or_is_none(
    configured: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path
) -> None:
    """It may be mounted late; a wrong name reads the same, and was told by nothing but missed posts."""
    assert "run" not in findings(load_settings())
    run = tmp_path / "run"
    configured.setenv("MESHIBOT_RUN", str(run))
    configured.setenv("MESHIBOT_KINDS", "single, sat before-and-after")
    found = findings(load_settings())
    assert (found["run"].level, exit_status(list(found.values()))) == ("warning", 1)
    assert f"no checkpoints in {run}: set MESHIBOT_RUN" in found["run"].says
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.safetensors").symlink_to(checkpoint)
    found = findings(load_settings())
    assert (found["run"].level, found["run"].says) == ("ok", f"{run} keeps 1 of its checkpoints.")
    assert found["account main captions"].level == "failed"  # too few for earlier stages


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://bot:@planted@localhost:1/name",  # an @ that should have been escaped
        "postgresql://localhost:1/name?password=planted&sslmode=planted",  # its error quotes the mode
    ],
)
def test_a_password_in_a_failure_is_not_shown(configured: pytest.MonkeyPatch, address: str) -> None:
    configured.setenv("MESHIBOT_DATABASE_URL", address)
    found = check(load_settings(), NOW)
    assert exit_status(found) == 2
    assert "planted" not in str(found)


def test_a_schedule_that_lies_in_the_quiet_hours_never_posts(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("MESHIBOT_SCHEDULE", "0 3 * * *")
    configured.setenv("MESHIBOT_QUIET_HOURS", "02:00-05:00")
    found = check(load_settings(), NOW)
    schedule = next(each for each in found if each.subject == "account main schedule")
    assert (schedule.level, exit_status(found)) == ("failed", 2)
    assert "change MESHIBOT_SCHEDULE or MESHIBOT_QUIET_HOURS" in schedule.says
    assert status(load_settings(), NOW)["accounts"][0]["next_slot"] is None


def test_one_post_a_month_is_one(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("MESHIBOT_SCHEDULE", "0 12 1 * *")
    assert "about 1 post a month," in findings(load_settings())["account main cost"].says


def test_hours_that_are_learnt_where_nobody_can_answer_name_no_setting_that_can_not_help(
    configured: pytest.MonkeyPatch,
) -> None:
    configured.setenv("MESHIBOT_SCHEDULE", "auto")
    (said,) = cautions(load_settings())
    assert said.endswith("drawn blindly (nobody can answer there: give it cron lines).")
    configured.setenv("MESHIBOT_PUBLISHER", "x")
    said = next(iter(cautions(load_settings())))
    assert said.endswith("drawn blindly (see MESHIBOT_REACTIONS).")


def test_a_kind_that_takes_more_than_the_stock_has_is_told_beforehand(
    configured: pytest.MonkeyPatch,
) -> None:
    """Or the daemon alone would say it, and not start."""
    configured.setenv("MESHIBOT_KINDS", "single, sun grid9")
    configured.setenv("MESHIBOT_STOCK_TARGET", "8")
    captions = findings(load_settings())["account main captions"]
    assert captions.level == "failed"
    assert captions.says.endswith("takes 9 pictures, and MESHIBOT_STOCK_TARGET is 8: raise it.")


def test_a_link_in_the_captions_makes_a_month_dear(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("MESHIBOT_PUBLISHER", "x")
    configured.setenv("MESHIBOT_SCHEDULE", "0 */3 * * *")
    cost = findings(load_settings())["account main cost"]
    assert (cost.level, cost.says) == (
        "ok",
        "about 240 posts a month, $4.80 ($0.020 each, by the prices of August 2026).",
    )
    configured.setenv("MESHIBOT_MONTHLY_BUDGET", "3")
    cost = findings(load_settings())["account main cost"]
    assert cost.level == "warning"
    assert cost.says.endswith("is $3.00, so slots will be missed: raise it, or post less.")
    configured.delenv("MESHIBOT_MONTHLY_BUDGET")
    configured.setenv("MESHIBOT_CAPTIONS", "example.com {marker}")
    cost = findings(load_settings())["account main cost"]
    assert cost.level == "failed"
    assert "costs $0.205 in place of $0.020: take it out, or set MESHIBOT_LINKS=yes" in cost.says
    configured.setenv("MESHIBOT_LINKS", "yes")
    cost = findings(load_settings())["account main cost"]
    assert cost.level == "warning"
    assert "$49.20 ($0.205 each" in cost.says


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
    configured.setattr(machine, "LOW_DISK", low)
    configured.setattr(machine, "_NO_DISK", none)
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


def test_what_costs_is_asked_only_when_told_to(configured: pytest.MonkeyPatch, fake_x: FakeX) -> None:
    for name, value in x_settings(fake_x).items():
        configured.setenv(f"MESHIBOT_{name}", value)
    found = findings(load_settings())
    assert found["account main"].level == "ok"
    assert "costs $0.010: meshibot check --paid" in found["account main"].says
    assert "account main clock" not in found
    paid = {finding.subject: finding for finding in check(load_settings(), NOW, paid=True)}
    assert paid["account main"].says.startswith("posts to x as ")
    assert paid["account main clock"].says == "It agrees with that of X."
    assert "more requests now" in paid["account main limit"].says


@pytest.mark.parametrize(
    ("seconds", "level", "says"),
    [(-20, "ok", "agrees"), (90, "warning", "90 s ahead of that of X: set it"), (-600, "failed", "behind")],
)
def test_a_clock_that_differs_from_the_networks_is_told(seconds: float, level: str, says: str) -> None:
    finding = network._clock("clock", "X", timedelta(seconds=seconds))
    assert finding.level == level
    assert says in finding.says


def test_stock_daemon_and_backup_are_looked_at(configured: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    settings.home.mkdir()
    upgrade(settings.database_address)
    assert findings(settings)["stock"].level == "warning"
    assert findings(settings)["daemon"].says.startswith("None has run yet")
    with Database.open(settings.database_address) as database, database.write() as session:
        ended = NOW - timedelta(hours=3)
        session.add(Daemon(id="a", host="h", pid=1, version="0", started_at=ended, seen_at=ended))
        session.add(Account(name="main", publisher="folder"))
        session.flush()
        old = NOW - timedelta(days=5)
        session.add(
            Post(
                account="main", publisher="folder", serial=1, kind=Kind.SINGLE, state=PostState.NEEDS_PERSON,
                due_at=old, created_at=old, deadline=old, not_before=old,
            )
        )  # fmt: skip
    found = findings(settings)
    assert "was last seen at 2026-11-24T09:00:00Z: start it" in found["daemon"].says
    assert (found["backup"].level, found["backup"].says[:12]) == ("warning", "There is non")
    assert found["account main posts"].says.startswith("1 of them wait for your word")
    assert exit_status(found.values()) == 1
    without = findings(settings.model_copy(update={"backup_keep": None}))["backup"]
    assert (without.level, without.says) == ("ok", "The daemon makes none: MESHIBOT_BACKUP_KEEP is none.")
    make(settings, settings.backups_folder / name_of(NOW), NOW)
    assert findings(settings)["backup"].level == "ok"


@pytest.fixture
def stocked(configured: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Three pictures wait, of another checkpoint than the configured one."""
    home = tmp_path / "home"
    home.mkdir()
    settings = load_settings()
    upgrade(settings.database_address)
    with Database.open(settings.database_address) as database:
        stock(database, home, 3)
    return settings


def test_files_of_the_stock_that_are_gone_are_named(stocked: Settings) -> None:
    (stocked.home / "picture-0-1.png").unlink()
    found = findings(stocked)["stock"]
    assert found.level == "warning"
    assert "The files of 1 are missing or empty (picture 2: picture-0-1.png): mount their disk" in found.says


def test_pictures_of_another_checkpoint_are_counted(stocked: Settings) -> None:
    found = findings(stocked)["stock"]
    assert found.level == "ok"
    assert "3 of them are of another checkpoint than tiny.safetensors, and come last" in found.says


def test_the_files_that_were_read_are_named(configured: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "there is no .env and no meshibot.toml" in findings(load_settings())["settings files"].says
    (tmp_path / "meshibot.toml").write_text('captions = "en"\n')
    assert str(tmp_path / "meshibot.toml") in findings(load_settings())["settings files"].says


def test_names_that_posted_as_one_account_are_told(stocked: Settings, tmp_path: Path) -> None:
    (tmp_path / "meshibot.toml").write_text("[accounts.night]\n[accounts.lunch]\n[accounts.tea]\n")
    settings = load_settings()
    with Database.open(settings.database_address) as database, database.write() as session:
        for name, remote in (("night", "7"), ("lunch", "7"), ("tea", "8"), ("gone", "8")):
            session.add(Account(name=name, publisher="x", remote_user_id=remote))
    found = findings(settings)["accounts"]
    assert found.level == "warning"
    assert "lunch and night are the same account on X" in found.says


def test_the_same_credentials_twice_are_told_before_anything_is_posted(
    configured: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meshibot.toml").write_text('publisher = "x"\n[accounts.night]\n[accounts.lunch]\n')
    for name in ("NIGHT", "LUNCH"):
        configured.setenv(f"MESHIBOT_{name}_X_ACCESS_TOKEN", "one-token")
        configured.setenv(f"MESHIBOT_{name}_X_ACCESS_TOKEN_SECRET", "one-secret")
    (said,) = [line for line in cautions(load_settings()) if "same account" in line]
    assert said.startswith("lunch and night are the same account on X")
    assert "one-token" not in said
    configured.setenv("MESHIBOT_LUNCH_X_ACCESS_TOKEN", "another-token")
    assert not [line for line in cautions(load_settings()) if "same account" in line]
