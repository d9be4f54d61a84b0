"""The child that makes pictures of the sizes that pages show: `python -m meshibot.web.shrinking`.

Reads a request a line, as JSON, and answers each with a line: empty, or what was wrong. It decodes files that
may be damaged, and needs a third of the server's memory, which it gives back by ending when nobody has asked
for a while.
"""

import io
import json
import select
import sys
from pathlib import Path

from PIL import Image

from meshibot.pictures import scale_up
from trainer.files import replace_file

IDLE_SECONDS = 20
_LARGEST_FILE = 32_000_000
_LARGEST_SIDE = 4096
_QUALITY = 86


def main() -> None:
    """Answer until nobody asks any more."""
    while select.select([sys.stdin], [], [], IDLE_SECONDS)[0]:
        line = sys.stdin.readline()
        if not line:
            return
        request = json.loads(line)
        print(shrink(Path(request["source"]), Path(request["target"]), request["side"]), flush=True)


def shrink(source: Path, target: Path, side: int) -> str:
    """Write a picture at `side` pixels as WebP; what was wrong in a word or two, or nothing."""
    try:
        if source.stat().st_size > _LARGEST_FILE:
            return "file too large"
        with Image.open(source, formats=("PNG", "JPEG", "WEBP")) as image:
            if max(image.size) > _LARGEST_SIDE:
                return "picture too large"
            sized = scale_up(image, side)
    except Exception as error:  # noqa: BLE001 (Pillow raises a dozen kinds for files that are damaged)
        return type(error).__name__
    buffer = io.BytesIO()
    sized.save(buffer, "WEBP", quality=_QUALITY, method=4)
    try:
        replace_file(target, buffer.getvalue())
    except OSError as error:
        return f"{target.name} can't be written: {error.strerror}"
    return ""


if __name__ == "__main__":
    main()
