"""The command line: options to calls, answers for people or as JSON.

A module a group of commands; the parts they call are imported by the commands themselves, so that `--help` is
quick.
"""

from meshibot.cli import accounts, posts, running, slots, stock, upkeep  # noqa: F401 (they register their commands)
from meshibot.cli.apps import app
from meshibot.cli.process import main

__all__ = ["app", "main"]
