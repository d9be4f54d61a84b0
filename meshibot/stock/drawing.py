"""A child process that draws the picture of one seed again, at the size that is asked for, and ends.

`python -m meshibot.stock.drawing` reads `checkpoint`, `seed`, `side`, `target` and `refuse_copies` as JSON
from standard input and writes a PNG. It fails as `meshibot.stock.sampling` does. Its other side is
`meshibot.stock.sampler`.
"""

import io
import json
import sys
from pathlib import Path

from PIL import Image

from meshibot.errors import NothingToDo
from meshibot.pictures import scale_up
from meshibot.stock.child import answer
from meshibot.stock.copies import are_copies
from trainer.checkpoint import load
from trainer.files import atomic_write


def draw(checkpoint: Path, seed: int, side: int, target: Path, *, refuse_copies: bool = False) -> None:
    """The picture that this seed gives, scaled as posts are. NothingToDo for a copy that is refused."""
    loaded = load(checkpoint)
    pictures = loaded.draw([seed])
    if refuse_copies and are_copies(loaded, pictures)[0]:
        raise NothingToDo(f"What {checkpoint.name} draws is too near to a training photograph.")
    buffer = io.BytesIO()
    scale_up(Image.fromarray(pictures[0]), side).save(buffer, "PNG")
    atomic_write(target, buffer.getvalue())


def main() -> int:
    """Answer one request; returns the exit status."""
    return answer(
        _draw_asked,
        "Memory ran out while drawing: close other programs, or take a smaller size.",
    )


def _draw_asked(text: str) -> None:
    asked = json.loads(text)
    draw(
        Path(asked["checkpoint"]),
        asked["seed"],
        asked["side"],
        Path(asked["target"]),
        refuse_copies=asked["refuse_copies"],
    )


if __name__ == "__main__":
    sys.exit(main())
