"""What a backup may take the place of: an earlier backup, and nothing else."""

import sqlite3
from contextlib import closing
from pathlib import Path

from meshibot.errors import UsageError

_TABLES = {"alembic_version", "accounts", "pictures", "slots", "posts"}


def require_replaceable(target: Path) -> None:
    """UsageError where `target` is there and no database of meshibot's: it may be anything."""
    if target.exists() and not _is_ours(target):
        raise UsageError(f"{target} is there and is no backup of meshibot's: choose another name.")


def _is_ours(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        address = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.Error:
        return False
    return {name for (name,) in tables} >= _TABLES
