"""What a daemon does beside posting: chores, each a task with a thread of its own."""

from datetime import timedelta

from meshibot.backup.make import Keeper
from meshibot.config import Settings
from meshibot.daemon import Task

LOOK_FOR_BACKUP = timedelta(hours=1)


def chores(settings: Settings) -> tuple[Task, ...]:
    """Those that the settings ask for."""
    if settings.backup_keep is None or not settings.database_address.startswith("sqlite"):
        return ()
    return (Task("the backup", Keeper(settings, settings.backup_keep), LOOK_FOR_BACKUP),)
