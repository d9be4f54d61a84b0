"""An empty current folder, and a home beside it, for every test of settings."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; the home is `home` beside it."""
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("MESHIBOT_HOME", str(tmp_path / "home"))
    return here
