"""The process around a command: its streams, its end, and one sentence for whatever a user can mend."""

from __future__ import annotations

import atexit
import gc
import sys

from trainer.cli.apps import app
from trainer.cli.shared import PEOPLE
from trainer.device import told_faults
from trainer.errors import TrainerError
from trainer.streams import give_up_output, open_standard_streams, sentence


def main() -> None:
    """Run the command line; what a user can mend ends in one sentence and its status, not in a traceback."""
    atexit.register(gc.freeze)  # or Python would look through all of torch for garbage before it ends
    open_standard_streams()
    try:
        try:
            with told_faults("close other programs, or ask for less: a smaller --batch, --n or --size"):
                app()
        finally:
            sys.stdout.flush()  # what can't be written is said by the sentences below, not by Python's exit
    except TrainerError as error:
        _end(str(error), error.exit_status)
    except BrokenPipeError:  # the reader went away (`| head`): nothing is wrong
        give_up_output()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        give_up_output()
        _end(sentence(error), 1)


def _end(says: str, status: int) -> None:
    PEOPLE.print(f"trainer: {says}", markup=False, style="red")
    sys.exit(status)
