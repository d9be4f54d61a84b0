"""How a child process of the stock answers: what it is asked is on standard input, and how it fails."""

import atexit
import gc
import signal
import sys
from collections.abc import Callable

from meshibot.errors import MeshibotError
from trainer.device import machine_fault
from trainer.errors import TrainerError


def answer(do: Callable[[str], None], out_of_memory: str) -> int:
    """Do what was asked; the exit status. A failure is one sentence, the last line of standard error."""
    # it ends before garbage matters: to look for it while torch is imported, and at the end, takes 0.4 s
    gc.disable()
    atexit.register(gc.freeze)
    # Ctrl-C reaches the whole group: the parent does the talking
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        do(sys.stdin.read())
    except (MeshibotError, TrainerError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return error.exit_status
    except (MemoryError, ImportError) as error:
        if machine_fault(error) is None:
            raise
        print(out_of_memory, file=sys.stderr)
        return 1
    return 0
