"""The one exception that a user of the trainer is shown: a sentence that says what to do."""


class TrainerError(Exception):
    """Something a user can mend. The command line prints the sentence and exits with `exit_status`."""

    exit_status = 1


class UsageError(TrainerError):
    """Wrong options or settings."""

    exit_status = 2
