"""A command's streams where one is closed, is full, or has nobody left who reads it."""

import errno
import os
import sys


def open_standard_streams() -> None:
    """Where one was closed (`>&-`): its number would go to the next file, and what is printed into that.

    What a terminal's encoding can't show is written as escapes, so that it stops nothing.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 (for the whole process)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def give_up_output() -> None:
    """Have the flush at exit say nothing of what could not be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def sentence(error: OSError) -> str:
    """What the system refused, for people; where a disk is full, what to do."""
    where = f"{error.filename}: " if error.filename else ""
    hint = " Make room, then try again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{where}{error.strerror or error}.{hint}"
