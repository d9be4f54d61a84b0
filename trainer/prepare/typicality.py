"""How typical each photograph of a set is: instance selection before a training.

DeVries, Drozdzal and Taylor 2020 ('Instance Selection for GANs'): a small network spends itself on what is
rare; without the photographs that a Gaussian of a pretrained network's features finds least likely it does
better on the rest. Of the features those that tell where in a picture what is: tables with many dishes go
before a rare kind of bowl does. The one room of `prepare` that imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trainer.nets.architecture import SEEN_AT
from trainer.nets.efficientnet import load_pretrained
from trainer.nets.vision import PretrainedVision, describe_all
from trainer.progress import track
from trainer.typicality import Layout

_CHUNK = 32


class Typicality:
    """Squares to how typical each is among all of them."""

    def __init__(self) -> None:
        """Raises TrainerError where the pretrained weights are missing."""
        self._vision = PretrainedVision(load_pretrained())

    def __call__(self, squares: Sequence[Path], *, progress: bool = True) -> NDArray[np.float64]:
        """As `Layout.typicality` tells, (n,): the lower, the less typical; of very few all are alike."""
        chunks = [squares[at : at + _CHUNK] for at in range(0, len(squares), _CHUNK)]
        shown = track(chunks, len(chunks), "Looking at photographs", shown=progress)
        return among_themselves(torch.cat([self._layout(chunk) for chunk in shown]))

    def _layout(self, squares: Sequence[Path]) -> Tensor:
        pictures = np.stack([_read(path) for path in squares])
        return describe_all(self._vision, pictures, torch.device("cpu")).layout


def among_themselves(layouts: Tensor) -> NDArray[np.float64]:
    """How typical each row of (n, d) is among all of them, (n,)."""
    layout = Layout.measured(layouts)
    if layout is None:
        return np.zeros(len(layouts))
    typical: NDArray[np.float64] = layout.typicality(layouts).double().numpy()
    return typical


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.resize((SEEN_AT, SEEN_AT), Image.Resampling.LANCZOS), dtype=np.uint8)
