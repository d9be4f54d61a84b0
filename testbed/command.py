"""`python -m meshibot` as a person runs it: a process of its own, an empty home, and a clean environment."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.zygote import zygote

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Command:
    """Runs the bot in `folder`, with its data in `folder`/home, and these settings in the environment."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def having(self, settings: dict[str, str]) -> "Command":
        """The same bot with these settings as well."""
        return Command(self.folder, self.settings | settings)

    @property
    def home(self) -> Path:
        """The bot's home."""
        return self.folder / "home"

    @property
    def database(self) -> Path:
        """Its SQLite file."""
        return self.home / "meshibot.sqlite3"

    def environment(self, **settings: str) -> dict[str, str]:
        """The machine's own, without anything that could reach the bot, and the settings on top."""
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MESHIBOT_", "XDG_", "LC_", "LANG", "PYTHONDONTWRITEBYTECODE"))
        }
        ours = {f"MESHIBOT_{name}": value for name, value in (self.settings | settings).items()}
        paths = {
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "PYTHONUTF8": "1",
            "TMPDIR": str(self.temporary),
        }
        return clean | paths | {"MESHIBOT_HOME": str(self.home), "MESHIBOT_TIMEZONE": "Asia/Tokyo"} | ours

    @property
    def temporary(self) -> Path:
        """Where the bot makes temporary folders."""
        path = self.folder / "tmp"
        path.mkdir(exist_ok=True)
        return path

    @property
    def here(self) -> Path:
        """The current folder of the bot."""
        path = self.folder / "cwd"
        path.mkdir(exist_ok=True)
        return path

    def start(self, *arguments: str, stdin: int | None = None, **settings: str) -> "subprocess.Popen[str]":
        """Start it and return at once."""
        return subprocess.Popen(
            [sys.executable, "-m", "meshibot", *arguments],
            cwd=self.here,
            env=self.environment(**settings),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __call__(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Run it to its end."""
        done = zygote().run(arguments, self.here, self.environment(**settings), timeout=120)
        return subprocess.CompletedProcess(arguments, *done)

    def json(self, *arguments: str, status: int = 0, **settings: str) -> Any:
        """Run it with --json; its document."""
        done = self(*arguments, "--json", **settings)
        assert done.returncode == status, done.stderr
        return json.loads(done.stdout)

    def refused(self, *arguments: str, status: int, **settings: str) -> str:
        """Run it where it can't succeed; its one sentence, without the name in front."""
        done = self(*arguments, **settings)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("meshibot: ")
        return lines[0].removeprefix("meshibot: ")
