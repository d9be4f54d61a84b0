"""What a daemon does beside posting: chores, each a task with a thread of its own."""

from collections.abc import Iterator
from datetime import timedelta

from meshibot.backup.make import Keeper
from meshibot.config import Settings
from meshibot.daemon import Task
from meshibot.database import Database
from meshibot.insights.reading import Reader, is_read
from meshibot.notices.notifier import Notifier

LOOK_FOR_BACKUP = timedelta(hours=1)
LOOK_FOR_NOTICES = timedelta(minutes=1)
LOOK_FOR_REACTIONS = timedelta(minutes=5)


def chores(settings: Settings, database: Database, reader: Reader) -> Iterator[Task]:
    """Those that the settings ask for."""
    if settings.backup_keep is not None:
        yield Task("the backup", Keeper(settings, settings.backup_keep), LOOK_FOR_BACKUP)
    if any(map(is_read, settings.accounts)):
        yield Task("the reactions", reader, LOOK_FOR_REACTIONS)
    yield Task("the notices", Notifier(database, settings), LOOK_FOR_NOTICES)
