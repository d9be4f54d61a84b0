"""What a user of the bot is shown when something fails: one sentence that says what to do, and a status.

The command line prints the sentence and ends with `exit_status`; there is no traceback, and nothing is lost.
"""


class MeshibotError(Exception):
    """Something a user can mend."""

    exit_status = 1


class UsageError(MeshibotError):
    """Wrong options or settings."""

    exit_status = 2


class NothingToDo(MeshibotError):  # noqa: N818 (an outcome, and named as one)
    """There is nothing to do now: the stock is empty, or nothing is due."""

    exit_status = 3


class NeedsPerson(MeshibotError):  # noqa: N818 (an outcome, and named as one)
    """Only a person can decide how it goes on."""

    exit_status = 4


class Interrupted(MeshibotError):  # noqa: N818 (an outcome, and named as one)
    """A person ended it in the middle: the sentence says how it was left, and what to do."""

    exit_status = 130


class DatabaseFailure(MeshibotError):  # noqa: N818 (an outcome, and named as one)
    """The database can't be opened, read or written."""


class DatabaseNewer(MeshibotError):  # noqa: N818 (an outcome, and named as one)
    """The database was made by a newer meshibot than this one."""


class ChangedMeanwhile(MeshibotError):  # noqa: N818 (an outcome, and named as one)
    """Somebody else changed what was to be changed; nothing was lost, and nothing written."""
