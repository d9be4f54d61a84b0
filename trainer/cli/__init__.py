"""The command line: options to calls.

A module a group of commands; torch is imported by the commands themselves, so that `--help` is quick.
"""

from trainer.cli import photographs, training, checkpoints  # noqa: F401, I001 (they register their commands, in this order)
from trainer.cli.apps import app
from trainer.cli.process import main

__all__ = ["app", "main"]
