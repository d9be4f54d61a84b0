"""What counts, and where it was said; never a secret."""

import json
from pathlib import Path

import pytest

from meshibot.config import SETTINGS, effective, load_settings

SECRET = "s3cr3t-planted-value"


def test_every_setting_is_shown_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHIBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESHIBOT_DATABASE_URL", f"postgresql://me:{SECRET}@host/name")
    (tmp_path / ".env").write_text(f"MESHIBOT_X_ACCESS_TOKEN={SECRET}\nMESHIBOT_GRACE=90m\n")
    (tmp_path / "meshibot.toml").write_text("quiet_hours = '1:00-5:30'\ncaptions = ['a', 'b']\n")
    document = effective(load_settings())
    assert SECRET not in json.dumps(document)
    (account,) = document["accounts"]
    shown = {
        line["name"]: (line["value"], line["from"]) for line in document["settings"] + account["settings"]
    }
    assert set(shown) == set(SETTINGS)
    assert shown["MESHIBOT_DATABASE_URL"] == ("set", "the environment")
    assert shown["MESHIBOT_X_ACCESS_TOKEN"] == ("set", str(tmp_path / ".env"))
    assert shown["MESHIBOT_X_CONSUMER_KEY"] == (None, "default")
    assert shown["MESHIBOT_GRACE"] == ("90m", str(tmp_path / ".env"))
    assert shown["MESHIBOT_QUIET_HOURS"] == ("01:00-05:30", str(tmp_path / "meshibot.toml"))
    assert shown["MESHIBOT_CAPTIONS"] == (["a", "b"], str(tmp_path / "meshibot.toml"))
    assert shown["MESHIBOT_STOCK_TARGET"] == (24, "default")
    assert document["files"] == [str(tmp_path / ".env"), str(tmp_path / "meshibot.toml")]
