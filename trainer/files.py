"""Writing files so that a crash or a full disk leaves the old one or the new one, never half of one."""

import errno
import os
import secrets
from pathlib import Path

from trainer.errors import TrainerError, UsageError


def require_folder(folder: Path, option: str) -> None:
    """UsageError where nothing can be written into `folder`, as far as that can be told before the work."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise UsageError(f"{there} is a file: give a folder in {option}.")
    if not os.access(there, os.W_OK):
        raise UsageError(f"{there} can't be written: give another folder in {option}.")


def require_file(file: Path, option: str) -> None:
    """UsageError where `file` can't be written, as far as that can be told before the work."""
    if file.is_dir():
        raise UsageError(f"{file} is a folder: give a file in {option}.")
    require_folder(file.parent, option)


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path` as `replace_file` does; a failure is a sentence for people.

    Raises TrainerError with the reason (a full disk, a missing right); the old file is then untouched.
    """
    try:
        replace_file(path, data)
    except OSError as error:
        raise TrainerError(f"{path} can't be written: {error.strerror}.") from error


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary file beside it, fsync and rename; its folder is made.

    Who may read it is for the umask to say.
    Raises OSError with the reason; the old file is then untouched.
    """
    if not path.name:  # the folder that one is in, or the root
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # Opened by name, so that its mode is what the umask leaves: the tempfile module always takes 0600.
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or a removal itself survive a power cut (POSIX needs the folder synced as well)."""
    if os.name == "nt":
        return  # a folder can't be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
