"""A rehearsal leaves its picture in one place, and shows it."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from meshibot.preview import draw, keep
from tests.meshibot.test_display import Terminal


def rehearsed(folder: Path, name: str) -> dict[str, object]:
    folder.mkdir()
    for file in (name, "sampled.png"):
        Image.new("RGB", (8, 8), "red").save(folder / file)
    files = ("sampled.png", "/elsewhere/stocked.png")
    return {"picture": str(folder / name), "pictures": [{"file": str(folder / file)} for file in files]}


def test_the_latest_is_kept_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number in (1, 2):
        post = keep(rehearsed(tmp_path / "made", f"main-000{number}.jpg"))
        assert not (tmp_path / "made").exists()
    kept = tmp_path / "cache" / "meshibot" / "rehearsal"
    assert sorted(file.name for file in kept.iterdir()) == ["main-0002.jpg", "sampled.png"]
    assert post == {
        "picture": str(kept / "main-0002.jpg"),
        "pictures": [{"file": str(kept / "sampled.png")}, {"file": "/elsewhere/stocked.png"}],
    }


def test_a_terminal_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (64, 32), "red").save(tmp_path / "bowl.png")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    draw(tmp_path / "bowl.png")
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 10
    assert all(line.count("▀") == 40 for line in lines)


def test_a_pipe_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "none.png")
    assert capsys.readouterr().out == ""


def test_without_a_cache_it_stays_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_cache_path", nowhere)
    post = rehearsed(tmp_path / "made", "main-0001.jpg")
    assert keep(post) == post
