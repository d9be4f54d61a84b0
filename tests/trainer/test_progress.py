"""A bar on a terminal, lines elsewhere, and nothing of either on standard output."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from trainer import progress
from trainer.progress import track


def test_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    assert list(track("abc", 3, "Reading")) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[:4] == ["Reading: 3", "Reading: 1 of 3", "Reading: 2 of 3", "Reading: 3 of 3"]
    assert lines[4].startswith("Reading: done in ")


def test_silence_where_it_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track("abc", 3, "Reading", shown=False)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal() -> None:
    code = "from trainer.progress import track; print(list(track('abc', 3, 'Reading')))"
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=slave, env=environment
    )
    os.close(slave)
    shown = b"".join(_until_closed(master))
    os.close(master)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert out == b"['a', 'b', 'c']\n"
    assert b"Reading" in shown
    assert b"100%" in shown


def _until_closed(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(descriptor, 4096)
        except OSError:  # Linux says EIO when the other end of a terminal is gone
            return
        if not data:
            return
        yield data
