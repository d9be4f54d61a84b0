"""The process around a command: its streams, its end, and one sentence for whatever a user can mend."""

from __future__ import annotations

import atexit
import gc
import sys

from meshibot.cli import settings as command_settings
from meshibot.cli.apps import app
from meshibot.display import say
from meshibot.errors import MeshibotError
from trainer.streams import give_up_output, open_standard_streams, sentence


def main() -> None:
    """Run the command line; whatever a user can mend ends in one sentence and its status, not a traceback."""
    # a command ends before garbage matters, and imports alone would have it looked for 170 times
    gc.disable()
    atexit.register(gc.freeze)  # nor does its end look through all that it imported
    open_standard_streams()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # what can't be written is said by the sentences below, not by Python's exit
    except MeshibotError as error:
        _end(str(error), error.exit_status)
    except BrokenPipeError:
        # The reader went away (`| head`): nothing is wrong.
        give_up_output()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        give_up_output()
        _end(sentence(error), 1)
    except Exception as error:
        # Imported only now: what has not been imported has not raised.
        from sqlalchemy.exc import SQLAlchemyError

        from trainer.errors import TrainerError

        if isinstance(error, TrainerError):
            _end(str(error), error.exit_status)
        if isinstance(error, SQLAlchemyError):
            _end(f"The database failed: {' '.join(str(error.args[0] if error.args else error).split())}.", 1)
        raise


def _end(says: str, status: int) -> None:
    from meshibot.logs import Redactor

    say(f"meshibot: {(command_settings.redact or Redactor())(says)}")
    sys.exit(status)
