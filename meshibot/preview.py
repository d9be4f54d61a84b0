"""What a rehearsal made, kept in one place for a look at it, and drawn on a terminal."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from meshibot.errors import MeshibotError

Json = dict[str, Any]

_COLUMNS = 40
"""Of a drawing: two pixels a character, one above the other."""


@contextmanager
def workshop() -> Iterator[Path]:
    """A new folder for a rehearsal; nothing is left of one that fails."""
    folder = Path(tempfile.mkdtemp(prefix="meshibot-"))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def keep(post: Json) -> Json:
    """The rehearsed post, its files moved out of the temporary folder into the user's cache.

    The cache holds one rehearsal, the latest, so that nothing piles up. Without a cache they stay.
    """
    made = Path(post["picture"]).parent
    kept = _cache()
    if kept is None:
        return post
    try:
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, kept)
    except OSError as error:
        raise MeshibotError(
            f"The picture can't be kept in {kept} ({error.strerror}): set XDG_CACHE_HOME to a folder that "
            "can be written."
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)

    def moved(file: str) -> str:
        return str(kept / Path(file).name) if Path(file).parent == made else file

    pictures = [{**picture, "file": moved(picture["file"])} for picture in post["pictures"]]
    return {**post, "picture": moved(post["picture"]), "pictures": pictures}


def draw(picture: Path) -> None:
    """Draw a picture on the terminal that standard output is, small; nothing where it is none."""
    if not sys.stdout.isatty():
        return
    from PIL import Image
    from rich.color import Color
    from rich.console import Console
    from rich.style import Style
    from rich.text import Text

    with Image.open(picture) as opened:
        rows = round(_COLUMNS * opened.height / opened.width / 2)
        small = opened.convert("RGB").resize((_COLUMNS, 2 * rows), Image.Resampling.LANCZOS)
    pixels = small.tobytes()

    def colour(x: int, y: int) -> Color:
        at = 3 * (y * _COLUMNS + x)
        return Color.from_rgb(*pixels[at : at + 3])

    console = Console()
    for row in range(rows):
        line = Text()
        for x in range(_COLUMNS):
            line.append("▀", Style(color=colour(x, 2 * row), bgcolor=colour(x, 2 * row + 1)))
        console.print(line)


def _cache() -> Path | None:
    """The folder of rehearsals; None for a user who has no place for a cache."""
    from platformdirs import user_cache_path

    with suppress(RuntimeError):
        folder = user_cache_path("meshibot", appauthor=False)
        if folder.is_absolute():
            return folder / "rehearsal"
    return None
