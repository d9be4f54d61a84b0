"""The process around a command: its streams, its end, and one sentence for whatever a user can mend."""

from __future__ import annotations

import errno
import gc
import os
import sys
from typing import TYPE_CHECKING

from meshibot.cli import settings as command_settings
from meshibot.cli.apps import (
    app,
)
from meshibot.display import (
    say,
)
from meshibot.errors import MeshibotError

if TYPE_CHECKING:
    pass


def main() -> None:
    """Run the command line; whatever a user can mend ends in one sentence and its status, not a traceback."""
    # a command ends before garbage matters, and imports alone would have it looked for 170 times
    gc.disable()
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that can't show Japanese must not stop a post.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # what can't be written is said by the sentences below, not by Python's exit
    except MeshibotError as error:
        _end(str(error), error.exit_status)
    except BrokenPipeError:
        # The reader went away (`| head`): nothing is wrong.
        _give_up_output()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        _give_up_output()
        where = f"{error.filename}: " if error.filename else ""
        hint = " Make room, then try again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        _end(f"{where}{error.strerror or error}.{hint}", 1)
    except Exception as error:
        # Imported only now: what has not been imported has not raised.
        from sqlalchemy.exc import SQLAlchemyError

        from trainer.errors import TrainerError

        if isinstance(error, TrainerError):
            _end(str(error), error.exit_status)
        if isinstance(error, SQLAlchemyError):
            _end(f"The database failed: {' '.join(str(error.args[0] if error.args else error).split())}.", 1)
        raise


def _open_standard_streams() -> None:
    """Where one was closed (`>&-`): its number would go to the next file, and what is printed into that."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 (for the whole process)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _give_up_output() -> None:
    """Have the flush at exit say nothing of what could not be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(sentence: str, status: int) -> None:
    from meshibot.logs import Redactor

    say(f"meshibot: {(command_settings.redact or Redactor())(sentence)}")
    sys.exit(status)
