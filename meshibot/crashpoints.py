"""Where a test may kill the process: at every commit and around every request.

`MESHIBOT_CRASH_AT=before-sending` makes the process end by SIGKILL when it comes to the point of that name.
"""

import os
import signal


def crash_point(name: str) -> None:
    """Kill this process, as a power cut would, when the environment asks for it at this point."""
    if os.environ.get("MESHIBOT_CRASH_AT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
