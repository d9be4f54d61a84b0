"""The bot as a person runs it: a process of its own each time, from an empty home."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from meshibot.pictures import TRAINED_ALGORITHMIC_MEDIA
from testbed.command import Command
from testbed.fakes.x import CREDENTIALS, FakeX
from testbed.labels import digital_source_type
from tests.checkpoints import make_checkpoint

TEXT = {"type": "string"}
TEXT_OR_NULL = {"type": ["string", "null"]}
POST_FIELDS: dict[str, object] = {
    "id": {"type": ["integer", "null"]},
    "account": TEXT,
    "state": TEXT,
    "serial": {"type": "integer"},
    "caption": TEXT_OR_NULL,
    "alt_text": TEXT_OR_NULL,
    "picture": TEXT_OR_NULL,
    "score": {"type": ["number", "null"]},
    "quantile": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    "slot": TEXT_OR_NULL,
    "remote_id": TEXT_OR_NULL,
    "url": TEXT_OR_NULL,
    "reason": TEXT_OR_NULL,
}
POST_SCHEMA = {"type": "object", "properties": POST_FIELDS, "required": list(POST_FIELDS)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors")


@pytest.fixture
def bot(tmp_path: Path, checkpoint: Path) -> Command:
    """A bot that has never run."""
    return Command(tmp_path, {"CHECKPOINT": str(checkpoint), "MIN_QUANTILE": "0.5"})


@pytest.fixture(scope="module")
def filled_home(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """The home of a bot with six pictures in stock, made once."""
    filler = Command(
        tmp_path_factory.mktemp("filled"), {"CHECKPOINT": str(checkpoint), "MIN_QUANTILE": "0.5"}
    )
    assert filler.json("stock", "fill", "--target", "6")["stock"] == 6
    return filler.home


@pytest.fixture
def stocked(bot: Command, filled_home: Path) -> Command:
    """A bot with six pictures in stock."""
    shutil.copytree(filled_home, bot.home)
    return bot


def x_settings(fake: FakeX) -> dict[str, str]:
    return {
        "PUBLISHER": "x",
        "X_API_BASE": fake.url,
        "X_CONSUMER_KEY": CREDENTIALS.consumer_key,
        "X_CONSUMER_SECRET": CREDENTIALS.consumer_secret,
        "X_ACCESS_TOKEN": CREDENTIALS.access_token,
        "X_ACCESS_TOKEN_SECRET": CREDENTIALS.access_token_secret,
    }


def rows(bot: Command, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{bot.database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def wait_for(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)


# ---- posting to a folder ------------------------------------------------------------------------


def test_the_first_post_needs_nothing_but_the_command(bot: Command) -> None:
    done = bot("post-now")
    assert done.returncode == 0, done.stderr
    picture = bot.home / "posts" / "main-0001.jpg"
    assert str(picture) in done.stdout
    assert "No.0001" in done.stdout
    assert done.stderr == "Post 1 (No.0001, main) is posted.\n"
    assert digital_source_type(picture) == TRAINED_ALGORITHMIC_MEDIA
    assert {path.suffix for path in picture.parent.iterdir()} == {".jpg", ".txt", ".json"}
    assert list(bot.here.iterdir()) == []

    (post,) = bot.json("history")
    jsonschema.validate(post, POST_SCHEMA)
    assert (post["state"], post["serial"], post["picture"]) == ("posted", 1, str(picture))
    assert "No.0001" in post["caption"]
    assert post["quantile"] >= 0.5
    (attempts,) = rows(bot, "SELECT group_concat(phase || ' ' || outcome, ', ') FROM attempts")
    assert attempts == ("upload done, send done",)


def test_a_grid_shows_four_pictures_and_takes_the_next_serial(stocked: Command) -> None:
    first = stocked.json("post-now")
    grid = stocked.json("post-now", "--kind", "grid", CAPTIONS="en")
    jsonschema.validate(grid, POST_SCHEMA)
    assert (first["serial"], grid["serial"], len(grid["pictures"])) == (1, 2, 4)
    assert "two by two" in grid["alt_text"]
    assert grid["score"] == min(picture["score"] for picture in grid["pictures"])
    assert [post["serial"] for post in stocked.json("history")] == [2, 1]
    assert [post["serial"] for post in stocked.json("history", "--limit", "1", "--account", "main")] == [2]


def test_a_rehearsal_shows_everything_and_leaves_no_trace(bot: Command) -> None:
    post = bot.json("post-now", "--dry-run")
    jsonschema.validate(post, POST_SCHEMA)
    assert (post["id"], post["serial"], post["dry_run"], post["cost"]) == (None, 1, True, 0)
    assert post["counts"] == [], "a folder counts nothing"
    assert Path(post["picture"]) == bot.folder / ".cache" / "meshibot" / "rehearsal" / "main-0001.jpg"
    assert list(bot.temporary.iterdir()) == []
    assert digital_source_type(Path(post["picture"])) == TRAINED_ALGORITHMIC_MEDIA
    assert not bot.home.exists()


def test_a_rehearsal_with_a_stock_shows_the_next_post_and_changes_nothing(stocked: Command) -> None:
    before = stocked.database.read_bytes(), sorted(stocked.home.rglob("*"))
    done = stocked("post-now", "--dry-run", X_CONSUMER_KEY="", PUBLISHER="x")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^cost +\$0\.020$", done.stdout, re.MULTILINE)
    (listed, *_) = stocked.json("stock", "list")
    assert stocked.json("post-now", "--dry-run")["pictures"][0]["file"] == listed["file"]
    assert (stocked.database.read_bytes(), sorted(stocked.home.rglob("*"))) == before
    assert stocked.json("post-now")["pictures"][0]["id"] == listed["id"]


def test_what_is_taken_down_is_gone(stocked: Command) -> None:
    post = stocked.json("post-now")
    assert stocked.json("delete", str(post["id"]))["state"] == "deleted"
    assert list((stocked.home / "posts").iterdir()) == []
    assert "there is nothing to take down" not in stocked("delete", "1").stderr
    assert "There is no post 7" in stocked.refused("delete", "7", status=2)


# ---- sentences ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "settings", "status", "said"),
    [
        (["post-now"], {"CHECKPOINT": "/nowhere.safetensors"}, 2, "There is no checkpoint at /nowhere"),
        (["post-now"], {"MIN_QUANTILE": "2"}, 2, "MESHIBOT_MIN_QUANTILE is '2': set it to a number from 0"),
        (["post-now"], {"CAPTIONS": "@someone {marker}"}, 2, "take the @ out"),
        (["post-now"], {"SCHEDULE": "every night"}, 2, "MESHIBOT_SCHEDULE has the line 'every night'"),
        (["post-now"], {"DATABASE_URL": "mysql://me:s3cr3t-planted@h/x"}, 2, "DATABASE_URL"),
        (["post-now"], {"PUBLISHER": "x"}, 2, "lacks MESHIBOT_X_CONSUMER_KEY, MESHIBOT_X_CONSUMER_SECRET"),
        (["post-now", "--account", "b"], {}, 2, "There is no account 'b': give one of main."),
        (["run"], {"SCHEDULE": "61 * * * *"}, 2, "SCHEDULE has the line '61 * * * *'"),
        (["run"], {"HOME": "/proc/nowhere"}, 1, "The folder /proc/nowhere can't be made"),
        (["plan", "--from", "soon"], {}, 2, "--from is 'soon': write a date"),
        (["plan", "--from", "9999-12-31"], {}, 2, "write a date between 1900 and 2999"),
        (["history", "--account", "b"], {}, 2, "There is no account 'b': give one of main."),
        (["resolve", "1"], {}, 2, "Say either --posted ID or --absent."),
        (["resolve", "1", "--absent"], {}, 2, "There is no database yet"),
        (["db", "backup"], {}, 1, "nothing to back up"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    bot: Command, arguments: list[str], settings: dict[str, str], status: int, said: str
) -> None:
    sentence = bot.refused(*arguments, status=status, **settings)
    assert said in sentence
    assert "s3cr3t" not in sentence


def test_wrong_usage_is_told_by_the_command_line() -> None:
    for arguments in (["post-now", "--kind", "film"], ["nonsense"], ["plan", "--days", "0"]):
        done = subprocess.run(
            [sys.executable, "-m", "meshibot", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_when_nothing_passes_status_3_says_what_to_change(bot: Command, tmp_path: Path) -> None:
    far = make_checkpoint(tmp_path / "far.safetensors", out_of_reach=1000.0)
    sentence = bot.refused("post-now", status=3, CHECKPOINT=str(far))
    assert "acceptance rate 0 %, best quantile seen 0.000" in sentence
    assert "lower MESHIBOT_MIN_QUANTILE to at most 0.00, or use another checkpoint" in sentence
    assert bot.json("history") == []
    post = bot.json("post-now", CHECKPOINT=str(far), MIN_QUANTILE="0")
    assert (post["serial"], post["quantile"]) == (1, 0.0)


def test_a_database_that_is_newer_is_left_alone(bot: Command) -> None:
    bot("db", "upgrade")
    with closing(sqlite3.connect(bot.database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    for command in (["run"], ["status"]):
        assert "is of a newer meshibot" in bot.refused(*command, status=1)


def test_a_reader_that_goes_away_is_no_error(bot: Command) -> None:
    with bot.start("plan", "--days", "30", SCHEDULE="*/5 * * * *") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_help_and_status_import_no_torch(bot: Command) -> None:
    code = (
        "import sys; sys.argv = ['meshibot', *sys.argv[1:]]\n"
        "from meshibot.cli import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, 'tweepy' in sys.modules, 'PIL' in sys.modules)"
    )
    for arguments in (["--help"], ["status"], ["plan"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=bot.here, env=bot.environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == "False False False"


# ---- X ------------------------------------------------------------------------------------------


def test_a_post_to_x_has_alt_text_and_the_label_and_its_id_is_kept(stocked: Command, fake_x: FakeX) -> None:
    bot = stocked.having(x_settings(fake_x))
    post = bot.json("post-now")
    jsonschema.validate(post, POST_SCHEMA)
    (sent,) = fake_x.posts()
    assert post["state"] == "posted"
    assert post["remote_id"] == str(sent["id"])
    assert post["remote_id"] in post["url"]
    assert rows(bot, "SELECT state, remote_id FROM posts") == [("posted", post["remote_id"])]
    ledger = fake_x.ledger_file.read_text("utf-8")
    assert post["alt_text"] in ledger.encode().decode("unicode_escape") + ledger
    assert sent["made_with_ai"] is True

    assert bot.json("delete", "1")["state"] == "deleted"
    everything = b"".join(path.read_bytes() for path in bot.home.rglob("*") if path.is_file())
    assert not [secret for secret in CREDENTIALS.secrets() if secret.encode() in everything]


def test_an_answer_that_never_came_does_not_make_a_second_post(stocked: Command, fake_x: FakeX) -> None:
    fake_x.set_fault("tweets", "commit_then_drop")
    post = stocked.having(x_settings(fake_x)).json("post-now")
    assert post["state"] == "posted"
    assert len(fake_x.posts()) == 1


def test_a_refused_token_needs_a_person_who_resumes_the_account(stocked: Command, fake_x: FakeX) -> None:
    bot = stocked.having(x_settings(fake_x))
    wrong = bot.having({"X_ACCESS_TOKEN_SECRET": "another-secret-0000"})
    refused = wrong.refused("post-now", status=4)
    assert "refuses the credentials (401" in refused
    assert "is stopped" in wrong.refused("post-now", status=4)
    assert wrong.json("history") == [], "nothing was begun"
    assert bot.json("status")["accounts"][0]["state"] == "stopped"
    failed = wrong.json("check", "--paid", status=2)
    assert [line["level"] for line in failed if line["subject"] == "account main"] == ["failed"]

    still = wrong.json("resume", status=4)
    assert [(line["account"], line["resumed"]) for line in still] == [("main", False)]

    unasked = bot.json("check", status=1)
    (line,) = [line for line in unasked if line["subject"] == "account main"]
    assert line["says"].endswith("mend that, then run `meshibot resume --account main`.")
    mended = bot.json("check", "--paid", status=1)
    (line,) = [line for line in mended if line["subject"] == "account main"]
    assert line["level"] == "warning"
    assert line["says"].endswith("run `meshibot resume --account main`.")
    assert bot.json("status")["accounts"][0]["state"] == "stopped", "a check changes nothing"
    assert "may send again" in bot("resume").stderr
    assert "No account is stopped." in bot("resume", "--account", "main").stderr
    assert "$0.60 ($0.020 each, by the prices of August 2026)" in " ".join(line["says"] for line in mended)
    assert bot.json("post-now")["state"] == "posted"
    written = json.dumps([failed, still, mended, refused])
    assert "another-secret-0000" not in written


# ---- the daemon ---------------------------------------------------------------------------------


def test_the_daemon_posts_a_due_slot_and_ends_cleanly(stocked: Command) -> None:
    # A slot of a minute ago, as after a restart: it lies within its grace.
    due = datetime.now(UTC) - timedelta(minutes=1)
    with closing(sqlite3.connect(stocked.database)) as connection:
        connection.execute(
            "INSERT INTO accounts (name, publisher, next_serial, state)"
            " VALUES ('main', 'folder', 5, 'active')"
        )
        connection.execute(
            "INSERT INTO slots (account, key, due_at, local, state)"
            " VALUES ('main', 'main|x', ?, 'x', 'planned')",
            (due.strftime("%Y-%m-%d %H:%M:%S.%f"),),
        )
        connection.commit()
    with stocked.start("run", STOCK_TARGET="7", LOG_FORMAT="json") as daemon:
        try:
            wait_for(lambda: rows(stocked, "SELECT state FROM posts") == [("posted",)])
            status = stocked.json("status")
            wait_for(lambda: rows(stocked, "SELECT count(*) >= 7 FROM pictures") == [(1,)])
            for _ in range(2):  # as `timeout` does: to the process, and to its group
                daemon.send_signal(signal.SIGTERM)
            stdout, stderr = daemon.communicate(timeout=60)
        finally:
            daemon.kill()
    assert daemon.returncode == 0, stderr
    assert stdout == ""
    assert all(json.loads(line)["message"] for line in stderr.splitlines())
    assert (stocked.home / "logs" / "meshibot.log").read_text("utf-8")
    (post,) = stocked.json("history")
    assert (post["serial"], post["slot"], post["state"]) == (5, "main|x", "posted")
    assert status["daemon"]["running"] is True
    assert status["daemon"]["pid"] == daemon.pid
    assert stocked.json("status")["daemon"]["running"] is False


# ---- looking ------------------------------------------------------------------------------------


def test_plan_gives_the_nearest_slot_first_and_writes_nothing(bot: Command) -> None:
    (bot.here / "meshibot.toml").write_text(
        "[accounts.night]\nschedule = '30 23 * * *'\n"
        "[accounts.noon]\nschedule = ['0 12 * * *', '0 3 * * *']\nquiet_hours = '02:00-05:00'\n"
    )
    slots = bot.json("plan", "--from", "2026-11-24", "--days", "2")
    assert [slot["key"] for slot in slots] == [
        "noon|2026-11-24T12:00", "night|2026-11-24T23:30", "noon|2026-11-25T12:00", "night|2026-11-25T23:30",
    ]  # fmt: skip
    assert slots[0] == {
        "account": "noon",
        "due_at": "2026-11-24T03:00:00Z",
        "local": "2026-11-24T12:00+09:00",
        "key": "noon|2026-11-24T12:00",
    }
    assert not bot.home.exists()
    text = bot("plan", "--account", "night", "--days", "1")
    assert text.stdout.startswith("account\tlocal\tUTC\nnight\t")


def test_status_and_check_speak_before_there_is_anything(bot: Command) -> None:
    status = bot.json("status")
    assert status["stock"] == {"waiting": 0, "target": 24}
    assert status["daemon"] is None
    assert status["accounts"][0]["next_slot"]["local"].endswith("T23:00+09:00")
    assert bot.json("history") == bot.json("stock", "list") == []
    assert not bot.home.exists()
    findings = {line["subject"]: line for line in bot.json("check", status=1)}
    assert findings["checkpoint"]["level"] == "warning"
    assert "32 px" in findings["checkpoint"]["says"]
    assert findings["database"]["says"].startswith("There is none yet")


def test_people_read_tables(stocked: Command) -> None:
    stocked("post-now")
    status = stocked("status")
    assert "account main (folder): next post" in status.stdout
    assert "daemon: does not run" in status.stdout
    assert "No.0001" in status.stdout
    assert stocked("history").stdout.splitlines()[1].split("\t")[:4] == ["1", "main", "No.0001", "posted"]
    check = stocked("check")
    assert check.returncode == 1, "this checkpoint has no hashes"
    assert "ok\tdisk\t" in check.stdout
    filled = stocked("stock", "fill", "--target", "6")
    assert "1 picture added, 6 of 6 wait." in filled.stderr
    assert stocked("stock", "list").stdout.splitlines()[1].endswith(".png")


def test_a_backup_is_a_whole_database(stocked: Command) -> None:
    stocked("post-now")
    file = Path(stocked.json("db", "backup")["file"])
    assert file.parent == stocked.home / "backups"
    with closing(sqlite3.connect(file)) as copy:
        assert copy.execute("SELECT state FROM posts").fetchall() == [("posted",)]
    assert (
        stocked("db", "backup", "--to", str(stocked.folder / "b.sqlite3"))
        .stdout.strip()
        .endswith("b.sqlite3")
    )
    named = stocked("db", "backup", "--to", str(stocked.folder)).stdout.strip()
    assert Path(named).parent == stocked.folder
    assert stocked("db", "upgrade").stderr == "Nothing to do.\n"


def test_an_unclear_post_waits_for_a_persons_word(stocked: Command) -> None:
    stocked("post-now")
    with closing(sqlite3.connect(stocked.database)) as connection:
        connection.execute("UPDATE posts SET state = 'needs_person', remote_id = NULL, reason = 'Who knows.'")
        connection.commit()
    assert stocked.json("status")["needs_person"][0]["reason"] == "Who knows."
    assert "needs a person: Who knows." in stocked("status").stdout
    assert "is no post's record" in stocked.refused("resolve", "1", "--posted", "it is there!", status=2)
    resolved = stocked.json("resolve", "1", "--posted", "posts/main-0001.json")
    assert (resolved["state"], resolved["remote_id"]) == ("posted", "main-0001")
    assert "needs no person's word" in stocked.refused("resolve", "1", "--absent", status=2)


def test_a_disk_without_a_right_to_write_is_a_sentence(bot: Command) -> None:
    if os.geteuid() == 0:
        (bot.folder / "file").write_text("")
        place = bot.folder / "file" / "home"
    else:
        place = bot.folder / "locked" / "home"
        place.parent.mkdir(mode=0o500)
    assert "can't be made" in bot.refused("post-now", status=1, HOME=str(place))
    (line,) = [line for line in bot.json("check", status=2, HOME=str(place)) if line["subject"] == "home"]
    assert line["level"] == "failed"
    assert "make it writable, or set MESHIBOT_HOME" in line["says"]
