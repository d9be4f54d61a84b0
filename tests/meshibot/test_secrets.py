"""Planted secrets, all that the bot can do in one home at DEBUG, then a search through all it wrote."""

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, inspect

from meshibot.logs import HIDDEN
from testbed.command import Command
from testbed.fakes.x import CREDENTIALS, FakeX
from testbed.homes import address, ask, due, stocked, wait_for, x_settings

PASSWORD = "planted/pass word+7f3a%c"
SECRETS = (*CREDENTIALS.secrets(), PASSWORD)


def forms(secret: str) -> Iterator[bytes]:
    """The ways in which a secret may have been written."""
    once = quote(secret, safe="")
    encoded = {secret, once, quote(once, safe=""), quote(secret), secret.replace(" ", "+")}
    for form in sorted(encoded | {json.dumps(secret)[1:-1], repr(secret)[1:-1]}):
        yield form.encode()
        yield base64.b64encode(form.encode()).rstrip(b"=")
    yield secret.encode("utf-16-le")


def planted_in(data: bytes) -> list[str]:
    """Which secrets are in it."""
    return [secret for secret in SECRETS if any(form in data for form in forms(secret))]


@dataclass
class Watched:
    """Runs a bot, and keeps all that it said."""

    bot: Command
    outputs: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, *arguments: str, **settings: str) -> int:
        """Run a command; its exit status."""
        done = self.bot.having(settings)(*arguments)
        self.outputs += [(f"{arguments} out", done.stdout), (f"{arguments} err", done.stderr)]
        return done.returncode

    def night(self, story: Callable[[], None], end: signal.Signals = signal.SIGTERM, **settings: str) -> int:
        """Run the daemon until a story is told, and end it with a signal; its exit status."""
        with NamedTemporaryFile("w+", dir=self.bot.folder, suffix=".txt", delete=False) as said:
            # To a file: nobody reads a pipe meanwhile, and a full one would hold up the daemon.
            with subprocess.Popen(
                [sys.executable, "-m", "meshibot", "run"],
                cwd=self.bot.here,
                env=self.bot.environment(**settings),
                stdout=said,
                stderr=said,
            ) as daemon:
                try:
                    wait_for(lambda: ask(self.bot, "SELECT pid FROM daemons WHERE stopped_at IS NULL") != [])
                    limits = Path(f"/proc/{daemon.pid}/limits")
                    if limits.exists():
                        (core,) = [line for line in limits.read_text().splitlines() if "core file" in line]
                        assert core.split()[4:6] == ["0", "0"], "a dump of its memory would hold them"
                    story()
                finally:
                    daemon.send_signal(end)
                    daemon.wait(60)
            said.seek(0)
            self.outputs.append(("run", said.read()))
        return daemon.returncode

    @property
    def said(self) -> str:
        """Everything that it said."""
        return "\n".join(said for _, said in self.outputs)

    def leaks(self) -> list[str]:
        """Where a secret was written."""
        spoken = [(where, said.encode()) for where, said in self.outputs]
        files = [(str(path), path.read_bytes()) for path in self.bot.folder.rglob("*") if path.is_file()]
        return [f"{where}: {planted_in(data)}" for where, data in spoken + files if planted_in(data)]


@pytest.fixture
def watched(tmp_path: Path, fake_x: FakeX, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """A bot that posts to the fake X, and logs everything there is."""
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
    (tmp_path / "bot").mkdir()
    settings = x_settings(fake_x) | {"LOG_LEVEL": "debug", "SCHEDULE": "0 0 29 2 *"}
    return Watched(Command(tmp_path / "bot", settings))


def test_the_search_finds_what_was_written(tmp_path: Path) -> None:
    """In each form: otherwise the tests below would prove nothing."""
    for secret in SECRETS:
        for number, form in enumerate(forms(secret)):
            (tmp_path / f"{number}").write_bytes(b"before" + form + b"after")
            assert secret in planted_in((tmp_path / f"{number}").read_bytes())
    assert len(Watched(Command(tmp_path)).leaks()) > 5


def post_by_hand(watched: Watched, fake: FakeX) -> None:
    """Well, and badly in the ways in which answers speak of credentials."""
    assert watched("post-now", "--dry-run") == 0
    assert watched("post-now", "--json") == 0
    fake.set_fault("tweets", "commit_then_reset")
    assert watched("post-now", "--json") == 0
    fake.set_fault("tweets", "missing_scope")
    assert watched("post-now", "--json") == 4
    fake.set_fault("me", "revoked")
    for _ in range(2):
        assert watched("check", "--paid", "--json") == 2, "there is no checkpoint"
    fake.set_fault("me", "revoked")
    assert watched("resume", "--json") == 4
    assert watched("resume") == 0
    assert "may send again" in watched.said
    assert watched("post-now") == 0, "the one that waited, uploaded already"
    fake.set_fault("upload", "list_error")
    assert watched("post-now") == 1
    assert watched("post-now", X_API_BASE="nonsense") == 2


def ask_around(watched: Watched) -> None:
    """The commands that look."""
    for arguments in ("status --json", "history", "stock list --json", "plan --json", "delete 1 --json"):
        assert watched(*arguments.split()) == 0
    assert watched("resolve", "1", "--absent") == 2


def test_no_secret_is_in_anything_that_was_written(watched: Watched, fake_x: FakeX) -> None:
    bot = watched.bot = stocked(watched.bot, 12)
    post_by_hand(watched, fake_x)
    ask_around(watched)
    log = bot.home / "logs" / "meshibot.log"

    def a_night_with_a_backup() -> None:
        wait_for(lambda: log.exists() and "uploading the picture" in log.read_text("utf-8"))
        assert watched("db", "backup", "--json") == 0
        # SQLite's log of writes, which goes when the last one closes.
        assert bot.database.with_name("meshibot.sqlite3-wal").stat().st_size > 0
        assert watched.leaks() == []

    due(bot, "main")
    fake_x.set_fault("upload", "reset")
    assert watched.night(a_night_with_a_backup, LOG_FORMAT="json") == 0
    assert watched("post-now", CRASH_AT="after-send-request") == -signal.SIGKILL
    # Python's dump walks the frames of threads that run on meanwhile, and now and then falls over one
    assert watched.night(lambda: None, signal.SIGABRT) in (-signal.SIGABRT, -signal.SIGSEGV)

    assert watched.leaks() == []
    assert "Fatal Python error: Aborted" in watched.said
    assert HIDDEN in watched.said, "the libraries did speak of tokens"
    assert "sqlalchemy.engine" in watched.said
    assert len(list((bot.home / "backups").iterdir())) >= 1  # the daemon makes one a day of its own


def test_a_mistake_of_ours_shows_none_in_its_traceback(watched: Watched) -> None:
    code = (
        "from meshibot import cli\n"
        "@cli.app.command()\n"
        "def fail():\n"
        "    settings = cli.settings.read_settings()\n"
        "    raise RuntimeError(f'{settings.secrets} {settings.accounts} {settings.database_address}')\n"
        "cli.main()"
    )
    planted = f"sqlite:////nowhere/x?password={quote(PASSWORD, safe='')}"
    done = subprocess.run(
        [sys.executable, "-c", code, "fail"],
        cwd=watched.bot.here,
        env=watched.bot.environment(DATABASE_URL=planted),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeError: ('[redacted]'" in done.stderr
    assert planted_in((done.stdout + done.stderr).encode()) == []


@pytest.mark.postgres
def test_the_password_of_a_database_is_nowhere(watched: Watched, fake_x: FakeX, postgres_url: str) -> None:
    """Said in the address, and once more in its query."""
    bare, _, query = postgres_url.partition("?")
    with_password = bare.replace("meshibot@", f"meshibot:{quote(PASSWORD, safe='')}@")
    bot = watched.bot = stocked(watched.bot.having({"DATABASE_URL": f"{with_password}?{query}"}), 4)
    assert watched("post-now", "--json") == 0
    assert watched("history", "--json") == 0
    assert watched("db", "backup") == 0
    due(bot, "main")
    story = lambda: wait_for(lambda: len(fake_x.posts()) == 2)  # noqa: E731
    assert watched.night(story) == 0
    # A server that is not there; its error repeats the address.
    nowhere = f"{quote(str(bot.folder), safe='')}"
    assert watched("run", DATABASE_URL=f"{with_password}?host={nowhere}") == 1
    assert watched("status", DATABASE_URL=f"{bare}?host={nowhere}&password={quote(PASSWORD)}") == 1

    assert watched.leaks() == []
    assert watched.said.count("Is the server running locally") == 2
    engine = create_engine(address(bot))
    tables = inspect(engine).get_table_names()
    engine.dispose()
    assert len(tables) > 6
    for table in tables:
        assert planted_in(repr(ask(bot, f"SELECT * FROM {table}")).encode()) == []  # noqa: S608 (our own name)
