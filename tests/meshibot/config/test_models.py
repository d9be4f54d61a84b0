"""What can be set: the defaults, the bounds, and what follows from what was set."""

import re
from pathlib import Path

import pytest

from meshibot.config import SETTINGS, Settings, load_settings
from meshibot.config.models import account_fields, general_fields
from meshibot.errors import UsageError
from meshibot.layered import variable

EXAMPLE = Path(__file__).resolve().parents[3] / ".env.example"

OTHER_THAN_DEFAULT = {"HOME", "SCHEDULE", "KINDS", "TIMEZONE", "NOTIFY_DIGEST"}
"""Settings with a default whose line in `.env.example` shows what else there is."""


def examples() -> dict[str, str]:
    """The lines of `.env.example` as they are where the # is taken away, by the variable's name."""
    found = re.findall(r"^# (MESHIBOT_[A-Z_]+)=(.*)$", EXAMPLE.read_text("utf-8"), re.MULTILINE)
    assert len(dict(found)) == len(found), "each of them once"
    return dict(found)


def said(settings: Settings) -> dict[str, object]:
    """Every setting's value, by the variable's name."""
    (account,) = settings.accounts
    general = {variable(name): getattr(settings, name) for name in general_fields()}
    return general | {variable(name): getattr(account, name) for name in account_fields()}


def test_every_setting_is_explained() -> None:
    assert set(examples()) == {*SETTINGS, "MESHIBOT_ACCOUNTS"}
    named = ("home", "database_url", "checkpoint", "min_quantile", "stock_target", "log_format")
    assert all(Settings.model_fields[name].description for name in named)


def test_the_example_shows_the_defaults(place: Path) -> None:
    default = said(load_settings())
    with_default = {name for name, value in default.items() if value is not None}
    others = set(map(variable, OTHER_THAN_DEFAULT))
    assert others <= with_default
    lines = (f"{name}={text}\n" for name, text in examples().items() if name in with_default - others)
    (place / ".env").write_text("".join(lines), "utf-8")
    assert said(load_settings()) == default


def test_what_the_example_shows_can_be_set(place: Path) -> None:
    lines = (f"{name}={text}\n" for name, text in examples().items() if name != "MESHIBOT_ACCOUNTS")
    (place / ".env").write_text("".join(lines), "utf-8")
    assert str(load_settings().accounts[0].kinds) == "single, sat grid, sun grid9"


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("AUTO_POSTS", ("1", "24"), ("0", "25")),
        ("CAPTIONS_APART", ("0", "1000"), ("-1", "1001")),
        ("DAILY_BUDGET", ("1", "1000000"), ("0",)),
        ("MONTHLY_BUDGET", ("0", "0.5", "1000000"), ("-0.01", "inf")),
        ("MIN_QUANTILE", ("0", "1"), ("-0.01", "1.01")),
        ("STOCK_TARGET", ("1", "100000"), ("0", "100001")),
        ("GRACE", ("60", "1m"), ("59",)),
    ],
)
def test_a_number_has_bounds(
    monkeypatch: pytest.MonkeyPatch, name: str, allowed: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    for value in allowed:
        monkeypatch.setenv(f"MESHIBOT_{name}", value)
        load_settings()
    for value in refused:
        monkeypatch.setenv(f"MESHIBOT_{name}", value)
        with pytest.raises(UsageError, match=f"^MESHIBOT_{name} is '{value}': set it to "):
            load_settings()


def test_accounts_are_found_by_name(place: Path) -> None:
    (place / "meshibot.toml").write_text("[accounts.a]\n[accounts.b]\n")
    settings = load_settings()
    assert settings.account("b").name == "b"
    with pytest.raises(UsageError, match="give --account, one of a, b"):
        settings.account(None)
    with pytest.raises(UsageError, match="There is no account 'c'"):
        settings.account("c")


def test_the_only_account_needs_no_name_and_answers_to_no_other() -> None:
    settings = load_settings()
    assert settings.account(None).name == settings.account("main").name == "main"
    with pytest.raises(UsageError, match="There is no account 'mian': give one of main"):
        settings.account("mian")


def test_folders_are_the_homes_unless_they_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings, home = load_settings(), tmp_path / "home"
    folders = (settings.pictures_folder, settings.posts_folder, settings.backups_folder)
    assert folders == (home / "pictures", home / "posts", home / "backups")
    monkeypatch.setenv("MESHIBOT_BACKUP_FOLDER", str(tmp_path / "disk"))
    assert load_settings().backups_folder == tmp_path / "disk"


@pytest.mark.parametrize("shipped", [("a.safetensors",), (), ("a.safetensors", "b.safetensors")])
def test_the_package_ships_one_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shipped: tuple[str, ...]
) -> None:
    monkeypatch.setattr("meshibot.__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "assets").mkdir()
    for name in shipped:
        (tmp_path / "assets" / name).touch()
    if len(shipped) == 1:
        assert load_settings().checkpoint_file == tmp_path / "assets" / shipped[0]
    else:
        with pytest.raises(UsageError, match="ships no checkpoint: set MESHIBOT_CHECKPOINT"):
            load_settings().checkpoint_file  # noqa: B018 (asked for what it raises)
    monkeypatch.setenv("MESHIBOT_CHECKPOINT", str(tmp_path / "mine.safetensors"))
    assert load_settings().checkpoint_file == tmp_path / "mine.safetensors"
