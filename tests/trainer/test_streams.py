"""What is printed where a terminal can't show it, and where nobody can be told anything any more."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest


def test_what_a_terminal_can_not_show_is_written_as_escapes() -> None:
    """The table of `trainer evaluate` has a × in it, which ended it with a traceback under LC_ALL=C."""
    code = (
        "import sys\n"
        "from trainer.streams import open_standard_streams\n"
        "open_standard_streams()\n"
        "print('飯 × 3')\n"
        "print('飯', file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, b"\\u98ef \\xd7 3\n", b"\\u98ef\n")


@contextmanager
def unread() -> Iterator[int]:
    """A pipe whose reader has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@contextmanager
def full() -> Iterator[int]:
    """A disk that takes nothing."""
    with Path("/dev/full").open("wb") as file:
        yield file.fileno()


@contextmanager
def read_only() -> Iterator[int]:
    """What is no place to write to: some shells leave a file of theirs in the place of a closed stream."""
    with Path(os.devnull).open("rb") as file:
        yield file.fileno()


@pytest.mark.parametrize("refusal", [unread, full, read_only])
def test_what_nobody_can_be_told_ends_nothing(refusal: Callable[[], AbstractContextManager[int]]) -> None:
    """A training of hours ended with status 1 when the terminal of its shell was gone."""
    code = (
        "import sys\n"
        "from trainer.streams import open_standard_streams\n"
        "open_standard_streams()\n"
        "for line in range(3): print('a line for people', file=sys.stderr, flush=True)\n"
        "sys.stderr.write('x' * 100_000)\n"
        "print('done')"
    )
    with refusal() as number:
        result = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=number, check=False
        )
    assert (result.returncode, result.stdout) == (0, b"done\n")


def test_children_find_a_closed_stream_open_too() -> None:
    """Its number would go to the first file that the child opens."""
    code = (
        "import subprocess, sys\n"
        "from trainer.streams import open_standard_streams\n"
        "open_standard_streams()\n"
        "subprocess.run([sys.executable, '-c', 'import os; os.fstat(2)'], check=True)"
    )
    result = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", sys.executable, "-c", code], check=False)
    assert result.returncode == 0
