"""The file of a post: out of stocked pictures, and for some kinds out of the generator once more."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from meshibot.database import Picture
from meshibot.errors import MeshibotError, NothingToDo, UsageError
from meshibot.kinds import DRAWN_ANEW, Kind
from meshibot.publishers.base import Limits, RetryLater
from meshibot.stock import stages
from meshibot.stock.inventory import fingerprint
from meshibot.stock.sampler import Walk, draw_in_child, walk_in_child

T = TypeVar("T")

WALK_SIDE = 480
"""Pixels: a GIF of so many is quick to load, and has about 6 MB."""
_FOR_A_LABEL = 8_192
"""Bytes of a GIF that are left for what it says of itself."""
_PATIENCE = 200.0
"""Seconds for a child: a lease of the outbox lasts five minutes."""


@dataclass(frozen=True)
class Studio:
    """Where posts' files are made. Torch works in a child process, as when the stock is filled."""

    home: Path
    checkpoint: Callable[[], Path]
    run: Path | None = None
    """The run folder that the checkpoint comes from."""

    def make(
        self, kind: Kind, pictures: Sequence[Picture], alt_text: str, stem: Path, limits: Limits
    ) -> Path:
        """The file within the limits; its name is `stem` with the ending that its type has.

        Raises RetryLater for what may be otherwise later, and MeshibotError for what will not.
        """
        if kind in DRAWN_ANEW:
            self._require_own(pictures)
        if kind is Kind.MORPH:
            return self._walk(pictures, alt_text, stem.with_name(f"{stem.name}.gif"), limits)
        target = stem.with_name(f"{stem.name}.jpg")
        if kind is Kind.BEFORE_AND_AFTER:
            return self._stages(pictures[0], alt_text, target, limits)
        return still([self.home / picture.file for picture in pictures], alt_text, target, limits)

    def require_stages(self) -> None:
        """UsageError where the checkpoint's run can't show how a picture came to be."""
        self._earlier()

    def _require_own(self, pictures: Sequence[Picture]) -> None:
        present = fingerprint(self.checkpoint())
        if any(picture.checkpoint != present for picture in pictures):
            raise NothingToDo("The checkpoint was changed since its pictures were chosen.")

    def _walk(self, pictures: Sequence[Picture], alt_text: str, target: Path, limits: Limits) -> Path:
        from meshibot.pictures import Label, write_gif

        moving = limits.moving
        if moving is None:
            raise UsageError("This network shows no GIF that moves.")
        seeds = tuple(picture.seed for picture in pictures)
        with tempfile.TemporaryDirectory(prefix="meshibot-") as folder:
            drawn = Path(folder) / "walk.gif"
            side, most = min(WALK_SIDE, moving.side), moving.bytes - _FOR_A_LABEL
            walk = Walk(self.checkpoint(), seeds, drawn, side, most)
            _patiently(lambda: walk_in_child(walk, timeout=_PATIENCE))
            write_gif(drawn, target, Label(alt_text))
        return target

    def _stages(self, picture: Picture, alt_text: str, target: Path, limits: Limits) -> Path:
        with tempfile.TemporaryDirectory(prefix="meshibot-") as folder:
            drawn = []
            for place, checkpoint in enumerate(_patiently(self._earlier)):
                drawn.append(Path(folder) / f"{place}.png")
                self._draw(checkpoint, picture, drawn[-1])
            return still([*drawn, self.home / picture.file], alt_text, target, limits)

    def _draw(self, checkpoint: Path, picture: Picture, target: Path) -> None:
        timeout = _PATIENCE / stages.EARLIER
        _patiently(
            lambda: draw_in_child(
                checkpoint, picture.seed, stages.SIDE, target, refuse_copies=True, timeout=timeout
            )
        )

    def _earlier(self) -> tuple[Path, ...]:
        if self.run is None:
            raise UsageError(
                "before-and-after is drawn by earlier checkpoints: set MESHIBOT_RUN to the run folder that "
                "the checkpoint comes from, or take it out of MESHIBOT_KINDS."
            )
        return stages.earlier(self.run, self.checkpoint())


def still(sources: Sequence[Path], alt_text: str, target: Path, limits: Limits) -> Path:
    """The file of a picture, or of several side by side, within the limits."""
    from meshibot.pictures import SIDE, Label, render  # Pillow is for those who post

    side = min(SIDE, limits.image_side)
    render(sources, target, Label(alt_text), side=side, max_bytes=limits.image_bytes)
    return target


def _patiently(do: Callable[[], T]) -> T:
    """What only the machine is short of now may be there later: memory, time, a disk."""
    try:
        return do()
    except (UsageError, NothingToDo):
        raise
    except MeshibotError as error:
        raise RetryLater(str(error)) from error
