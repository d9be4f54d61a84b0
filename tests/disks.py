"""A small disk of the tests' own, to be filled up or made read-only."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Disk:
    """A tmpfs."""

    folder: Path

    @property
    def ballast(self) -> Path:
        """What takes the room."""
        return self.folder / "ballast"

    def fill(self) -> None:
        """Leave no room at all."""
        no_room = pytest.raises(OSError, match=os.strerror(errno.ENOSPC))
        with self.ballast.open("ab", buffering=0) as file, no_room:
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        """Take the ballast away."""
        self.ballast.unlink()

    def read_only(self, *, yes: bool = True) -> None:
        """Allow no more writing, or (`yes=False`) allow it again."""
        _run("mount", "-o", f"remount,{'ro' if yes else 'rw'}", str(self.folder))


@contextmanager
def mounted(folder: Path, size: str = "2m") -> Iterator[Disk]:
    """A small disk at `folder`; skips the test where none can be mounted."""
    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "meshibot-test", str(folder))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small disk can be mounted here")
    try:
        yield Disk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
