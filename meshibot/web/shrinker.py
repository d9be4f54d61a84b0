"""The door to the child that makes pictures of the sizes that pages show (meshibot/web/shrinking.py)."""

import json
import select
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from meshibot.children import child_environment

_PATIENCE = 30
"""Seconds for one picture."""


@dataclass
class Shrinker:
    """Starts the child when a size is wanted; it ends by itself. One question at a time."""

    _child: "subprocess.Popen[str] | None" = field(default=None, repr=False)

    def ask(self, source: Path, target: Path, side: int) -> str:
        """Have a picture written at a size; what was wrong, or nothing."""
        request = json.dumps({"source": str(source), "target": str(target), "side": side})
        for _ in range(2):  # it may have ended at this very moment
            answer = self._answer(request)
            if answer.endswith("\n"):
                return answer.strip()
            self.close()
        return "the process that makes sizes ended"

    def _answer(self, request: str) -> str:
        """A line; something shorter where the child ended or takes too long."""
        child = self._child = self._child or subprocess.Popen(
            [sys.executable, "-P", "-m", "meshibot.web.shrinking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env=child_environment(),
        )
        if child.stdin is None or child.stdout is None:
            return ""
        try:
            child.stdin.write(request + "\n")
            child.stdin.flush()
        except OSError:
            return ""
        ready, _, _ = select.select([child.stdout], [], [], _PATIENCE)
        return child.stdout.readline() if ready else ""

    def close(self) -> None:
        """End the child, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with suppress(OSError):  # of what it was never given
                child.communicate()
