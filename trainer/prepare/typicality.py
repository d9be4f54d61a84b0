"""How typical each photograph of a set is: instance selection before a training.

DeVries, Drozdzal and Taylor 2020 ('Instance Selection for GANs'): a small network spends itself on what is
rare; without the photographs that lie where there are few, in a pretrained network's features, it does better
on the rest. The features are those that tell where in a picture what is: tables with many dishes go before a
rare kind of bowl does. The one room of `prepare` that imports torch.
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
from trainer.nets.vision import PretrainedVision
from trainer.pictures import to_device, to_float
from trainer.progress import track

NEIGHBOURS = 10
_CHUNK = 32
_ROWS = 512


class Typicality:
    """Squares to how typical each is among all of them."""

    def __init__(self) -> None:
        """Raises TrainerError where the pretrained weights are missing."""
        self._vision = PretrainedVision(load_pretrained())

    def __call__(self, squares: Sequence[Path], *, progress: bool = True) -> NDArray[np.float64]:
        """As `density` tells, (n,): the lower, the less typical."""
        chunks = [squares[at : at + _CHUNK] for at in range(0, len(squares), _CHUNK)]
        shown = track(chunks, len(chunks), "Looking at photographs", shown=progress)
        return density(torch.cat([self._describe(chunk) for chunk in shown]))

    @torch.inference_mode()
    def _describe(self, squares: Sequence[Path]) -> Tensor:
        """Where the network sees what in them, (n, d)."""
        pictures = to_device(np.stack([_read(path) for path in squares]), torch.device("cpu"))
        return self._vision.describe(to_float(pictures)).layout


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.resize((SEEN_AT, SEEN_AT), Image.Resampling.LANCZOS), dtype=np.uint8)


def density(features: Tensor) -> NDArray[np.float64]:
    """How near each row of (n, d) has its nearest others: minus their mean distance, channels standardised.

    Of the paper's estimates the one that also serves a hundred photographs: a Gaussian that is measured on
    outliers too, as `trainer.layout.Layout` would be, fits a few that are alike. Of 3,291 photographs of
    ramen both rank alike (rank correlation 0.95).
    """
    deviation, mean = torch.std_mean(features.double(), dim=0, correction=0)
    standardised = (features.double() - mean) / deviation.clamp_min(1e-6)
    others = min(NEIGHBOURS, len(features) - 1)
    nearest = [
        torch.cdist(rows, standardised).topk(others + 1, largest=False).values  # itself among them
        for rows in standardised.split(_ROWS)
    ]
    distances: NDArray[np.float64] = (torch.cat(nearest).sum(1) / max(1, others)).numpy()
    return -distances
