"""A child process that draws a walk between pictures as a GIF, and ends.

`python -m meshibot.stock.walking` reads a Walk as JSON from standard input and writes its target. It fails as
`meshibot.stock.sampling` does. Its other side is `meshibot.stock.sampler`.
"""

import sys

from meshibot.errors import NothingToDo
from meshibot.stock.child import answer
from meshibot.stock.copies import are_copies
from meshibot.stock.sampler import Walk
from trainer.checkpoint import load
from trainer.files import atomic_write

_LEFT = 0.75
"""The share of its frames with which a walk still is one."""


def draw(asked: Walk) -> None:
    """Write the GIF. Raises NothingToDo where too much of it is too near to training photographs.

    The pictures that it passes were looked at when they were sampled; what lies between them was not. Single
    frames that are too near are left out, and not missed.
    """
    from trainer.morph import gif_within, walk  # brings torch

    checkpoint = load(asked.checkpoint)
    frames = walk(checkpoint, asked.seeds, asked.frames)
    kept = [place for place, copied in enumerate(are_copies(checkpoint, frames)) if not copied]
    if len(kept) < _LEFT * len(frames):
        raise NothingToDo(
            f"{len(frames) - len(kept)} of {len(frames)} pictures on the way from one to the other are too "
            "near to training photographs."
        )
    data, _ = gif_within(frames[kept], asked.side, asked.fps, asked.most_bytes)
    atomic_write(asked.target, data)


def main() -> int:
    """Answer one request; returns the exit status."""
    return answer(
        lambda asked: draw(Walk.from_json(asked)),
        "Memory ran out while drawing: close other programs.",
    )


if __name__ == "__main__":
    sys.exit(main())
