"""Commands that look, and those that take pictures out of the stock: as a person types them."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from meshibot.cli import app
from meshibot.config import SETTINGS
from testbed.command import Command
from testbed.homes import ask, stocked


@pytest.fixture
def bot(tmp_path: Path) -> Command:
    return Command(tmp_path)


def states(bot: Command) -> list[tuple[int, str]]:
    return [(number, state) for number, state in ask(bot, "SELECT id, state FROM pictures ORDER BY id")]


def test_pictures_are_shown_and_taken_out(bot: Command) -> None:
    bot = stocked(bot, 4)
    assert bot("stock", "drop", "2", "3").stderr == "2 pictures were taken out of the stock.\n"
    assert states(bot) == [(1, "approved"), (2, "rejected"), (3, "rejected"), (4, "approved")]
    assert "Picture 3 does not wait, so none" in bot.refused("stock", "drop", "1", "3", status=2)
    assert states(bot)[0] == (1, "approved")
    shown = bot.json("stock", "show", "2")
    assert (shown["id"], shown["state"], shown["fault"]) == (2, "rejected", None)
    (bot.home / "pictures" / "1.png").write_bytes(b"damaged")
    assert "damaged" in bot.json("stock", "show", "2")["fault"]
    assert "There is no picture 9" in bot.refused("stock", "show", "9", status=2)
    assert "either --others or --all" in bot.refused("stock", "clear", status=2)
    assert "no checkpoint" in bot.refused("stock", "clear", "--others", status=2)
    assert bot("stock", "clear", "--all").returncode == 0
    assert {state for _, state in states(bot)} == {"rejected"}
    assert "No picture waits" in bot.refused("stock", "sheet", status=3)


def test_pictures_of_other_checkpoints_are_named_and_taken_out(bot: Command) -> None:
    bot = stocked(bot, 2)
    listed = bot("stock", "list", CHECKPOINT="")
    assert "2 of them are of another checkpoint than" in listed.stderr
    assert bot("stock", "clear", "--others", CHECKPOINT="").stderr.startswith("2 pictures were taken")


def test_a_contact_sheet_shows_what_waits(bot: Command) -> None:
    bot = stocked(bot, 8)
    (bot.home / "pictures" / "3.png").write_bytes(b"damaged")
    done = bot("stock", "sheet")
    assert done.stdout == f"{bot.home / 'stock.png'}\n"
    with Image.open(bot.home / "stock.png") as sheet:
        assert sheet.size == (6 * 168 + 8, 2 * 188 + 8)
        assert len(set(sheet.crop((20, 20, 160, 160)).convert("L").tobytes())) > 20, "a picture"


def test_a_backup_replaces_no_other_file(bot: Command) -> None:
    bot = stocked(bot, 1)
    secrets = bot.here / ".env"
    secrets.write_text("MESHIBOT_CAPTIONS=en\n")
    assert "no backup of meshibot" in bot.refused("db", "backup", "--to", str(secrets), status=2)
    assert secrets.read_text() == "MESHIBOT_CAPTIONS=en\n"
    for _ in range(2):
        assert bot("db", "backup", "--to", str(bot.folder / "copy.sqlite3")).returncode == 0


def test_the_settings_that_count_are_shown(bot: Command) -> None:
    document = bot.json("config", X_ACCESS_TOKEN="s3cr3t-planted-value")
    assert "s3cr3t" not in str(document)
    names = [line["name"] for line in document["settings"] + document["accounts"][0]["settings"]]
    assert set(names) == set(SETTINGS)
    lines = bot("config").stdout.splitlines()
    assert "main\tMESHIBOT_TIMEZONE\tAsia/Tokyo\tthe environment" in lines


@pytest.mark.parametrize(
    ("redirection", "status", "says"),
    [
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("> /dev/full", 1, "No space left on device"),
    ],
)
def test_an_output_that_can_not_be_written(bot: Command, redirection: str, status: int, says: str) -> None:
    bot = stocked(bot, 2)
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m meshibot stock list --json {redirection}', sys.executable],
        cwd=bot.here,
        env=bot.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert says in done.stderr
    assert done.stderr.count("\n") == (1 if says else 0)
    assert bot.json("stock", "list")[0]["id"] == 1, "the database was not written into"


@pytest.mark.parametrize(
    ("arguments", "redirection", "status", "says"),
    [
        ("--version", ">&-", 0, ""),
        ("--version", "> /dev/full", 1, "trainer: No space left on device. Make room, then try again.\n"),
        ("fit -h", "> /dev/full", 1, "trainer: No space left on device. Make room, then try again.\n"),
        ("fit -h", "| true", 0, ""),
    ],
)
def test_nor_can_the_trainers(arguments: str, redirection: str, status: int, says: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m trainer {arguments} {redirection}', sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, says)


def test_help_names_choices_and_defaults_and_fits(bot: Command) -> None:
    said = bot("post-now", "-h").stdout
    assert "single|grid|grid9|morph|before-and-after" in said
    assert "[default: single]" in said
    assert "<bool>" not in said
    assert all(len(line) <= 80 for line in said.splitlines())
    assert "[default: 100" in bot("history", "--help").stdout
    assert app._add_completion


def test_a_disk_that_is_not_there_yet_is_no_wrong_setting(bot: Command) -> None:
    (bot.folder / "file").write_text("")
    assert "mount its disk" in bot.refused("db", "upgrade", status=1, HOME=str(bot.folder / "file" / "home"))
