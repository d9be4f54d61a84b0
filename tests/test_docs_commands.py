"""Every line that the pages tell people to type is run here, or is named with the reason why it is not."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from meshibot.database import Account, Database, Post, PostState
from testbed.command import ROOT, Command
from testbed.fakes import mastodon
from testbed.fakes.network import Fakes
from testbed.fakes.x import CREDENTIALS
from testbed.homes import address, free_port, stocked
from tests.checkpoints import make_checkpoint
from tests.drawings import write_bowls
from tests.meshibot.conftest import fake_processes, fakes

__all__ = ["fake_processes", "fakes"]

_GENERATED = ("commands.md", "commands.ja.md", "settings.md", "settings.ja.md", "architecture.md")
"""What `--help` says, and drawings."""
PAGES = sorted(
    page for page in [*ROOT.glob("README*.md"), *(ROOT / "docs").glob("*.md")] if page.name not in _GENERATED
)
_PROGRAMS = "meshibot|trainer|torchrun|pip|python3|docker|sudo|ssh|rm|MESHIBOT_[A-Z_]+=\\S+ meshibot"
_TYPED = re.compile(rf"(?:{_PROGRAMS})(?:\(\))?(?: .*)?")
_EXPLAINED = re.compile(r"\s+# .*$|\s{2,}.*$")

ELSEWHERE = {
    "sudo ": "it changes the machine; the units are looked at by test_deploy.py",
    "meshibot() {": "it names the user of a service, which is not here",
    "docker ": "there is no engine here; its steps are in test_deploy.py",
    "ssh ": "there is no other machine",
    "rm -r ": "it takes a home away",
    "pip ": "an environment of its own; packages are installed anew by .ci/package",
    "python3 -m venv ": "an environment of its own",
    "torchrun ": "two processes: tests/trainer/training/test_distributed.py",
    "trainer bench ": "it takes minutes; tests/trainer/training/test_bench.py",
    "trainer fit --data ramen/ --resolution 128 ": "hours: the run that ships",
    "trainer fit --data ramen/ --out run/ --minutes ": "two hours; --minutes is tried in the trainer's tests",
    "meshibot status --json | jq ": "it wants jq, and a daemon",
    "meshibot resolve 17 --absent": "post 17 can't be both; tests/meshibot/outbox/test_people.py",
    "meshibot init": "it asks: tests/meshibot/setup/test_init.py",
}
"""Beginnings of lines, and why they are not run."""
_ALL_THE_SAME = ("meshibot init --no-input",)
"""Those that are, though they begin so."""


def typed(page: Path) -> list[str]:
    """The lines of a page's blocks that are commands, without what is said of them beside."""
    text = page.read_text("utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.S | re.M)
    blocks = [block for language, block in fenced if language in ("", "sh", "text")]
    indented = re.findall(r"^ {4}(\S.*)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M)
    lines = [line for block in blocks for line in block.splitlines()] + indented
    return [_EXPLAINED.sub("", line) for line in lines if _TYPED.fullmatch(line)]


def runs(page: Path) -> list[str]:
    """Those that are run."""
    return [
        line
        for line in typed(page)
        if line.startswith(_ALL_THE_SAME) or not line.startswith(tuple(ELSEWHERE))
    ]


@dataclass(frozen=True)
class World:
    """A shell in a folder of its own, with what the pages take for granted."""

    bot: Command
    server: str
    environment: dict[str, str]

    def __call__(self, line: str) -> "subprocess.CompletedProcess[str]":
        """Type a line; the names in it that stand for something are filled in."""
        backups = f'"$(ls {self.bot.home}/backups/*.tar.gz | tail -n 1)"'
        meant = (
            line.replace("HOME/backups/meshibot-20261124T140000Z.tar.gz", backups)
            .replace("/mnt/backup", str(self.bot.folder / "mnt"))
            .replace("https://example.social", self.server)
            .replace("FILE", f"{self.bot.folder / 'secrets'} --into {self.bot.folder / 'mnt'} --no-dry-run")
        )
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", meant],
            cwd=self.bot.here, env=self.environment, capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip


WRAPPERS = {
    # What goes on until it is told to stop is told so once it is there.
    "meshibot": """#!/bin/sh
case "$*" in
    run) exec timeout --preserve-status --signal TERM 15 {python} -m meshibot run ;;
    web*--link*) exec {python} -m meshibot "$@" --port {port} ;;
    web*) exec timeout --preserve-status --signal TERM 15 {python} -m meshibot "$@" --port {port} ;;
    *) exec {python} -m meshibot "$@" ;;
esac
""",
    # A run of two steps, small enough for a test.
    "trainer": """#!/bin/sh
case "$*" in
    fit*--resume*) exec {python} -m trainer "$@" ;;
    fit*) exec {python} -m trainer "$@" --resolution 32 --width 8 --batch 4 --steps 2 --critic plain ;;
    *) exec {python} -m trainer "$@" ;;
esac
""",
}


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[str]:
    """The address of a monitor that wants signs of life."""
    folder = tmp_path / "monitor"
    folder.mkdir()
    command = [sys.executable, "-m", "testbed.fakes.receiver", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


@pytest.fixture
def world(tmp_path: Path, fakes: Fakes, monitor: str) -> World:
    checkpoint = make_checkpoint(tmp_path / "tiny.safetensors", training_hashes=("0" * 16,))
    own = {
        "CHECKPOINT": str(checkpoint),
        "MIN_QUANTILE": "0",
        "STOCK_TARGET": "4",
        "X_CONSUMER_KEY": CREDENTIALS.consumer_key,
        "X_CONSUMER_SECRET": CREDENTIALS.consumer_secret,
        "X_ACCESS_TOKEN": CREDENTIALS.access_token,
        "X_ACCESS_TOKEN_SECRET": CREDENTIALS.access_token_secret,
    }
    bot = stocked(Command(tmp_path, own), 15)
    _post_seventeen(bot)
    server = fakes("mastodon").url
    (tmp_path / "secrets").write_text(f"MESHIBOT_MASTODON_TOKEN={mastodon.TOKEN}\n")
    (tmp_path / "mnt").mkdir()
    write_bowls(bot.here / "ramen", 24)
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in WRAPPERS.items():
        (folder / name).write_text(script.format(python=sys.executable, port=free_port()))
        (folder / name).chmod(0o755)
    environment = bot.environment(NOTIFY_PING=monitor)
    environment["PATH"] = f"{folder}:{environment['PATH']}"
    return World(bot, server, environment)


def _post_seventeen(bot: Command) -> None:
    """The unclear post of the pages."""
    at = datetime.now(UTC) - timedelta(days=1)
    with Database.open(address(bot)) as database, database.write() as session:
        if session.scalar(select(Account)) is None:
            session.add(Account(name="main", publisher="folder", next_serial=18))
            session.flush()
        session.add(
            Post(
                id=17, account="main", publisher="x", serial=17, kind="single", state=PostState.NEEDS_PERSON,
                reason="Look.", due_at=at, created_at=at, deadline=at, not_before=at, sent_at=at,
            )
        )  # fmt: skip


def test_no_reason_is_left_over() -> None:
    lines = [line for page in PAGES for line in typed(page)]
    assert [each for each in ELSEWHERE if not any(line.startswith(each) for line in lines)] == []
    assert len(lines) > 60
    assert sum(len(runs(page)) for page in PAGES) > 40


def statuses(line: str) -> tuple[int, ...]:
    """With which a line may end."""
    if line.startswith(("meshibot check", "meshibot stock drop")):
        return (0, 1)
    # The page's server ends by the signal that it was told to end with.
    return (0, 128 + signal.SIGTERM) if line.startswith("meshibot web") else (0,)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [page for page in PAGES if runs(page)], ids=lambda page: page.name)
def test_what_a_page_types_works(page: Path, world: World) -> None:
    """In its order, in a home that has pictures and an unclear post."""
    if not any(line.startswith("trainer fit") for line in runs(page)):
        (world.bot.here / "run").mkdir()  # of a training elsewhere
    for line in runs(page):
        done = world(line)
        assert done.returncode in statuses(line), f"{line}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, line
