"""Databases that earlier versions left, stored here as SQL: each still opens, with all that was in it."""

import json
import sqlite3
import tarfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshibot.backup.archive import Manifest, measured, name_of, write
from meshibot.database.migrate import HEAD
from testbed.command import ROOT, Command
from testbed.homes import ask

STORED = sorted((ROOT / "tests" / "data").glob("database-*.sql"))


def test_every_format_is_stored() -> None:
    """Whoever adds a revision stores a small database of it: see the dump's first lines for its form."""
    assert [file.stem for file in STORED] == [f"database-{n:04d}" for n in range(1, int(HEAD) + 1)]


@pytest.mark.parametrize("stored", STORED, ids=lambda file: file.stem)
def test_a_stored_database_opens(stored: Path, tmp_path: Path) -> None:
    bot = Command(tmp_path)
    bot.home.mkdir()
    with closing(sqlite3.connect(bot.database)) as connection:
        connection.executescript(stored.read_text("utf-8"))
    assert bot("db", "upgrade").returncode == 0
    assert ask(bot, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert ask(bot, "SELECT count(*) FROM posts") == [(2,)]
    assert bot("status").returncode == 0
    assert len(bot.json("history")) == 2


def test_a_backup_of_an_earlier_version_is_restored(tmp_path: Path) -> None:
    """Made by its own words: an archive whose database is of revision 0003."""
    bot = Command(tmp_path, {"PUBLISHER": "folder"})
    old = tmp_path / "old.sqlite3"
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript((ROOT / "tests" / "data" / "database-0003.sql").read_text("utf-8"))
    moment = datetime(2026, 11, 25, tzinfo=UTC)
    archive = tmp_path / name_of(moment)
    members = (measured("meshibot.sqlite3", old),)
    write(archive, Manifest(moment, "0.1.0", "0003", None, members), {"meshibot.sqlite3": old})
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)["schema"] == "0003"
    done = bot("restore", str(archive), "--stopped")
    assert done.returncode == 0, done.stderr
    assert ask(bot, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert len(bot.json("history")) == 2
