"""Writing files so that a crash or a full disk leaves the old one or the new one, never half of one."""

import os
import tempfile
from pathlib import Path

from trainer.errors import TrainerError


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary file beside it, fsync and rename.

    Raises TrainerError with the reason (a full disk, a missing right); the old file is then untouched.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise TrainerError(f"{path} can't be written: {error.strerror}.") from error


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut (POSIX needs the folder synced as well)."""
    if os.name == "nt":
        return  # a folder can't be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
