"""What is printed where a terminal can't show it."""

import os
import subprocess
import sys


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
