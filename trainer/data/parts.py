"""Held-out photographs in three parts, so that what chooses a checkpoint is not what judges it.

Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import Dataset

T = TypeVar("T")
LEAST = 100
"""Photographs in a part, at least: of fewer the figures are too rough to be worth their independence."""


@dataclass(frozen=True)
class Parts:
    """Rows of the held-out photographs, each row in one part; or all in every part, where there are few."""

    choosing: NDArray[np.intp]
    """Watched while training: the guard's and those that `best` is chosen by."""
    calibrating: NDArray[np.intp]
    """Seen by the critic that ships: what pictures are scored against."""
    judging: NDArray[np.intp]
    """What figures that are published are taken on."""
    apart: bool
    """Whether no photograph is in two of them."""


def parts_of(held_out: int) -> Parts:
    """Every third one, by their order, which their content's hash gives."""
    every = np.arange(held_out)
    if held_out < 3 * LEAST:
        return Parts(every, every, every, apart=False)
    return Parts(every[0::3], every[1::3], every[2::3], apart=True)


def judging_part(dataset: Dataset) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The photographs (m, r, r, 3) that judge, and their names."""
    rows = parts_of(len(dataset.held_out)).judging
    return dataset.held_out[rows], tuple(dataset.held_out_names[row] for row in rows)
