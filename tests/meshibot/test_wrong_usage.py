"""Settings and usages that can't be: each is one sentence with the right status, and nothing is lost or made.

They run in this process, one after the other, through the same `main` as a command does.
"""

import os
import resource
import sys
from pathlib import Path

import pytest

from meshibot import cli
from testbed.command import Command
from testbed.homes import stocked

Case = tuple[tuple[str, ...], dict[str, str], int, str]

SETTINGS: list[Case] = [
    (("status",), {"SCHEDULE": "at noon"}, 2, "MESHIBOT_SCHEDULE"),
    (("plan",), {"SCHEDULE": "99 * * * *"}, 2, "MESHIBOT_SCHEDULE"),
    (("status",), {"TIMEZONE": "Mars/Olympus"}, 2, "MESHIBOT_TIMEZONE"),
    (("status",), {"JITTER": "soon"}, 2, "MESHIBOT_JITTER"),
    (("status",), {"GRACE": "5s"}, 2, "MESHIBOT_GRACE"),
    (("status",), {"QUIET_HOURS": "night"}, 2, "MESHIBOT_QUIET_HOURS"),
    (("status",), {"MIN_QUANTILE": "1.5"}, 2, "MESHIBOT_MIN_QUANTILE"),
    (("status",), {"STOCK_TARGET": "0"}, 2, "MESHIBOT_STOCK_TARGET"),
    (("status",), {"DAILY_BUDGET": "none"}, 2, "MESHIBOT_DAILY_BUDGET"),
    (("status",), {"MONTHLY_BUDGET": "-1"}, 2, "MESHIBOT_MONTHLY_BUDGET"),
    (("status",), {"MONTHLY_BUDGET": "nan"}, 2, "MESHIBOT_MONTHLY_BUDGET"),
    (("status",), {"LINKS": "perhaps"}, 2, "MESHIBOT_LINKS"),
    (("status",), {"PUBLISHER": "myspace"}, 2, "MESHIBOT_PUBLISHER"),
    (("status",), {"VISIBILITY": "secret"}, 2, "MESHIBOT_VISIBILITY"),
    (("status",), {"BACKUP_KEEP": "all"}, 2, "MESHIBOT_BACKUP_KEEP"),
    (("status",), {"BACKUP_KEEP": "0d"}, 2, "MESHIBOT_BACKUP_KEEP"),
    (("status",), {"NOTIFY_NTFY": "my-topic"}, 2, "MESHIBOT_NOTIFY_NTFY can't be used"),
    (("status",), {"NOTIFY_PING": "ftp://x/y"}, 2, "MESHIBOT_NOTIFY_PING can't be used"),
    (("notify",), {}, 2, "No way is set"),
    (("status",), {"LOG_FORMAT": "xml"}, 2, "MESHIBOT_LOG_FORMAT"),
    (("status",), {"DATABASE_URL": "mysql://h/n"}, 2, "SQLite file or PostgreSQL is needed"),
    (("status",), {"DATABASE_URL": "no address"}, 2, "MESHIBOT_DATABASE_URL"),
    (("stock", "clear", "--others"), {"CHECKPOINT": "/nowhere"}, 2, "There is no checkpoint at /nowhere"),
    (("post-now",), {"PUBLISHER": "x"}, 2, "lacks MESHIBOT_X_CONSUMER_KEY"),
    (("post-now",), {"PUBLISHER": "mastodon"}, 2, "lacks MESHIBOT_MASTODON_SERVER"),
    (("post-now",), {"CAPTIONS": "@you, eat {marker}"}, 2, "mentions"),
    (("post-now",), {"CAPTIONS": "{nonsense}"}, 2, "MESHIBOT_CAPTIONS"),
    (("post-now",), {"ALT_TEXT": "long " * 300}, 2, "MESHIBOT_ALT_TEXT"),
    (("run",), {"PUBLISHER": "bluesky", "BLUESKY_HANDLE": "not a handle"}, 2, "MESHIBOT_BLUESKY_HANDLE"),
    (("run",), {"SCHEDULE": "0 0 0 0 0"}, 2, "MESHIBOT_SCHEDULE"),
    (("run",), {"KINDS": "film"}, 2, "MESHIBOT_KINDS is 'film'"),
    (("run",), {"KINDS": "before-and-after"}, 2, "set MESHIBOT_RUN"),
    (("run",), {"KINDS": "before-and-after", "RUN": "/dev/null"}, 1, "no checkpoints in /dev/null"),
    (("status",), {"NOTIFY_QUIET_HOURS": "at night"}, 2, "MESHIBOT_NOTIFY_QUIET_HOURS is 'at night'"),
    (("status",), {"NOTIFY_DIGEST": "hourly"}, 2, "MESHIBOT_NOTIFY_DIGEST is 'hourly'"),
    (("post-now", "--kind", "morph", "--dry-run"), {"CHECKPOINT": "/dev/zero"}, 2, "/dev/zero is no file"),
    (("post-now", "--kind", "morph"), {"PUBLISHER": "bluesky"}, 2, "lacks MESHIBOT_BLUESKY_HANDLE"),
]
USAGES: list[Case] = [
    (("plan", "--from", "tomorrow"), {}, 2, "write a date such as"),
    (("post-now", "--kind", "before-and-after"), {"RUN": "/nowhere"}, 1, "no checkpoints in /nowhere"),
    (("post-now", "--kind", "before-and-after", "--dry-run"), {}, 2, "set MESHIBOT_RUN"),
    (("restore", "/dev/zero"), {}, 2, "/dev/zero is no file"),
    (("web", "--run", "/nowhere"), {}, 2, "There is no run folder at /nowhere"),
    (("plan", "--from", "0001-01-01"), {}, 2, "between 1900 and 2999"),
    (("history", "--account", "nobody"), {}, 2, "nobody"),
    (("history", "--account", "caf\udce9"), {}, 2, "not UTF-8"),
    (("resolve", "1"), {}, 2, "Say either --posted ID or --absent"),
    (("resolve", "99", "--absent"), {}, 2, "There is no post 99"),
    (("cancel", "99"), {}, 2, "There is no post 99"),
    (("delete", "99"), {}, 2, "There is no post 99"),
    (("stock", "show", "99"), {}, 2, "There is no picture 99"),
    (("stock", "clear"), {}, 2, "either --others or --all"),
    (("db", "hold", "--since", "the other day"), {}, 2, "write a date such as"),
    (("db", "hold", "--since", "2999-01-01"), {}, 2, "in the past"),
    (("restore", "/nowhere.tar.gz"), {}, 2, "can't be read"),
    (("backup", "--to", "/proc/nowhere/x.tar.gz"), {}, 1, "can't be made"),
    (("init", "--no-input", "--publisher", "myspace"), {}, 2, "choose one of"),
    (("init", "--no-input", "--account", "Me!"), {}, 2, "lower-case letters"),
    (("init", "--no-input", "--publisher", "mastodon"), {}, 2, "--server is missing"),
]


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return stocked(Command(tmp_path_factory.mktemp("wrong")), 2)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below, and what is in it."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "case", [*SETTINGS, *USAGES], ids=lambda case: " ".join([*case[0], *case[1].values()])[:60]
)
def test_each_is_one_sentence_and_changes_nothing(
    bot: Command, case: Case, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, settings, status, says = case
    for name in os.environ:
        if name.startswith("MESHIBOT_"):
            monkeypatch.delenv(name)
    for name, value in bot.environment(**settings).items():
        if name.startswith("MESHIBOT_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(bot.here)
    # a hard limit can't be raised again, and other tests run in this process
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["meshibot", *arguments])
    before = snapshot(bot.home)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capfd.readouterr()
    assert (ended.value.code, told.out) == (status, "")
    lines = [line for line in told.err.splitlines() if not line.startswith("  ")]
    assert len(lines) == 1, told.err
    assert lines[0].startswith("meshibot: ")
    assert says in lines[0]
    assert "Traceback" not in told.err
    assert snapshot(bot.home) == before
