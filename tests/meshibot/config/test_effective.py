"""What counts, and where it was said; never a secret."""

import json
from pathlib import Path
from typing import Any

import pytest

from meshibot.config import SETTINGS, effective, load_settings

SECRET = "s3cr3t-planted-value"


def all_of(document: dict[str, Any]) -> dict[str, tuple[object, str]]:
    """Each setting's value and where it was said."""
    (account,) = document["accounts"]
    return {
        line["name"]: (line["value"], line["from"]) for line in document["settings"] + account["settings"]
    }


def test_every_setting_is_shown_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHIBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESHIBOT_DATABASE_URL", f"postgresql://me:{SECRET}@host/name")
    (tmp_path / ".env").write_text(
        f"MESHIBOT_X_ACCESS_TOKEN={SECRET}\nMESHIBOT_GRACE=90m\nMESHIBOT_TIMEZONE=Asia/Tokyo\n"
    )
    (tmp_path / "meshibot.toml").write_text("quiet_hours = '1:00-5:30'\ncaptions = ['a', 'b']\n")
    document = effective(load_settings())
    assert SECRET not in json.dumps(document)
    shown = all_of(document)
    assert set(shown) == set(SETTINGS)
    assert shown["MESHIBOT_DATABASE_URL"] == ("set", "the environment")
    assert shown["MESHIBOT_X_ACCESS_TOKEN"] == ("set", str(tmp_path / ".env"))
    assert shown["MESHIBOT_X_CONSUMER_KEY"] == (None, "default")
    assert shown["MESHIBOT_GRACE"] == ("90m", str(tmp_path / ".env"))
    assert shown["MESHIBOT_QUIET_HOURS"] == ("01:00-05:30", str(tmp_path / "meshibot.toml"))
    assert shown["MESHIBOT_CAPTIONS"] == (["a", "b"], str(tmp_path / "meshibot.toml"))
    assert shown["MESHIBOT_TIMEZONE"] == ("Asia/Tokyo", str(tmp_path / ".env"))
    assert shown["MESHIBOT_STOCK_TARGET"] == (24, "default")
    assert document["files"] == [str(tmp_path / ".env"), str(tmp_path / "meshibot.toml")]


def test_what_is_taken_where_nothing_is_set_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = all_of(effective(load_settings()))
    assert shown["MESHIBOT_DATABASE_URL"] == (f"sqlite:///{tmp_path}/home/meshibot.sqlite3", "default")
    assert str(shown["MESHIBOT_CHECKPOINT"][0]).endswith(".safetensors")
    assert shown["MESHIBOT_BACKUP_FOLDER"] == (str(tmp_path / "home" / "backups"), "default")
    assert shown["MESHIBOT_BACKUP_KEEP"] == ("7d 4w 3m", "default")
    monkeypatch.setenv("MESHIBOT_BACKUP_KEEP", "none")
    assert all_of(effective(load_settings()))["MESHIBOT_BACKUP_KEEP"] == ("none", "the environment")
    monkeypatch.setenv("MESHIBOT_HOME", str(tmp_path / "a?b"))  # no database can lie there
    assert all_of(effective(load_settings()))["MESHIBOT_DATABASE_URL"] == (None, "default")


@pytest.mark.parametrize(
    ("said", "shown"), [("0h", "0"), ("7200", "2h"), ("120", "2m"), ("3661", "3661s"), ("1h1m", "61m")]
)
def test_a_duration_is_shown_in_its_largest_unit(
    monkeypatch: pytest.MonkeyPatch, said: str, shown: str
) -> None:
    monkeypatch.setenv("MESHIBOT_JITTER", said)
    assert all_of(effective(load_settings()))["MESHIBOT_JITTER"][0] == shown
