"""A command's streams where one is closed, is full, or has nobody left who reads it."""

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Forgiving(io.FileIO):
    """What is said to people: that nobody hears it any more must not end what is under way."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """The bytes that were written, or given up: all of them."""
        whole = memoryview(data).nbytes
        try:
            return super().write(data) or whole
        except OSError:
            return whole


def open_standard_streams() -> None:
    """Where one was closed (`>&-`): its number would go to the next file, and what is printed into that.

    What can't be written on standard error (its terminal is gone, its reader ended, its disk is full) is
    dropped. What a terminal's encoding can't show is written as escapes, so that it stops nothing.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # to children too
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 (for the whole process)
    sys.stderr = _forgiving(sys.stderr or open(2, "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _forgiving(stream: TextIO) -> TextIO:
    try:
        number = stream.fileno()
    except OSError:  # kept in memory: nothing is refused there
        return stream
    raw = _Forgiving(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=stream.encoding, line_buffering=True)


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
