"""The folder of a run: whether it is free, whether another fit is at work on it, its settings.

Imports no torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from trainer.config import FitConfig, differences
from trainer.errors import TrainerError, UsageError
from trainer.files import atomic_write

_LOCK = ".lock"


def refuse_taken(run: Path) -> None:
    """Raises UsageError where a new run can't begin in `run`: it holds one, or what is left of one."""
    if run.exists() and not run.is_dir():
        raise UsageError(f"{run} is a file: give a folder as --out.")
    if any((run / "state").glob("*.safetensors")):
        raise UsageError(f"{run} holds a run already: add --resume to go on with it, or give another --out.")
    begun = run / "metrics.jsonl"
    if any((run / "checkpoints").glob("*.safetensors")) or (begun.exists() and begun.stat().st_size):
        raise UsageError(
            f"{run} holds what is left of a run, without a state to go on from: give another --out, or "
            "remove that folder first."
        )


def refuse_photographs(run: Path, data: Path) -> None:
    """Raises UsageError where a new run would begin among its photographs: a run folder is not read again."""
    if run.exists() and data.exists() and run.samefile(data):
        raise UsageError(f"--out {run} holds the photographs: give another folder, such as --out run.")


def refuse_differences(run: Path, saved: FitConfig, wanted: FitConfig) -> None:
    """Raises UsageError where `wanted` can't go on what `saved` began."""
    if found := differences(saved, wanted):
        raise UsageError(
            f"{run} can't be resumed with other settings ({'; '.join(found)}): drop those options."
        )


def read_run_config(run: Path) -> FitConfig:
    """The settings a run was started with. Raises TrainerError where the folder is no run."""
    try:
        return FitConfig.from_json(json.loads((run / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError):
        raise TrainerError(f"{run} is not a run folder: give the --out of an earlier trainer fit.") from None


def write_run_config(run: Path, config: FitConfig) -> None:
    """Raises TrainerError where the disk refuses."""
    text = json.dumps(config.to_json(), indent=2, ensure_ascii=False)
    # bytes of a path that are no UTF-8 become JSON's own escapes, and are read back as they were
    atomic_write(run / "config.json", text.encode("utf-8", "backslashreplace") + b"\n")


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Keep other fits away from `run` for a while; the system lets go of it however this process ends.

    Raises UsageError where another fit is at work on it, TrainerError where nothing can be written.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / _LOCK).open("ab")
    except OSError as error:
        raise TrainerError(f"{run} can't be written: {error.strerror}.") from None
    with file:
        try:
            _lock(file)
        except BlockingIOError:
            raise UsageError(
                f"Another trainer fit is at work on {run}: wait for it or stop it, or give another --out."
            ) from None
        except OSError:  # a file system without locks, as some of networks are
            pass
        yield


def _lock(file: IO[bytes]) -> None:
    """Raises BlockingIOError where another process has it, any other OSError where there are no locks."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
