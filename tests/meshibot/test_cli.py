"""What the command line makes of failures that no part expects."""

import errno
import gc
import sqlite3
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.exc import IntegrityError

from meshibot import cli
from meshibot.errors import MeshibotError, NothingToDo
from trainer.errors import TrainerError


@pytest.fixture(autouse=True)
def garbage_is_collected_again() -> Iterator[None]:
    """A command has none looked for, and here its process goes on."""
    yield
    gc.enable()


def raising(error: BaseException) -> Callable[[], None]:
    def app() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (MeshibotError("It failed."), 1, "meshibot: It failed.\n"),
        (NothingToDo("Nothing."), 3, "meshibot: Nothing.\n"),
        (TrainerError("No checkpoint."), 1, "meshibot: No checkpoint.\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x"),
            1,
            "meshibot: /x: No space left on device. Make room, then try again.\n",
        ),
        (OSError("odd"), 1, "meshibot: odd.\n"),
        (
            IntegrityError("INSERT", {}, sqlite3.IntegrityError("UNIQUE constraint failed: slots.key")),
            1,
            "meshibot: The database failed: (sqlite3.IntegrityError) UNIQUE constraint failed: slots.key.\n",
        ),
        (KeyboardInterrupt(), 130, ""),
        (
            MeshibotError("postgresql://me:s3cr3t-planted@host/name is gone."),
            1,
            "meshibot: postgresql://me:[redacted]@host/name is gone.\n",
        ),
    ],
)
def test_a_failure_is_one_sentence_and_a_status(
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli.process, "app", raising(error))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == status
    assert capsys.readouterr().err == said


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.process, "app", raising(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError):
        cli.main()
