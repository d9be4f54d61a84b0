"""One process at a time samples for a home: the others wait, and find what it made."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from meshibot.errors import MeshibotError

_NAME = ".sampling.lock"
_LOOK = 0.25
"""Seconds between looks at whether it is free."""


@contextmanager
def only_sampler(
    folder: Path, sleep: Callable[[float], None], enough: Callable[[], bool] = lambda: False
) -> Iterator[bool]:
    """Hold the folder's lock; False, without it, where meanwhile there is `enough`.

    The lock ends with its process, however that ends. `enough` may raise, to wait no longer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _NAME).open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            except OSError as error:
                raise MeshibotError(
                    f"{folder} can't be locked ({error.strerror}): use a local disk."
                ) from error
            else:
                yield not enough()
                return
            if enough():
                yield False
                return
            sleep(_LOOK)
