"""The photographs as a critic gets them: batches in a fixed order, mirrored by chance, as views.

What a pretrained network sees in a photograph never changes, so it is kept where memory allows: reals then
cost nothing. What is kept is bounded; beyond the bound, and under augmentation, each batch is looked at anew.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from trainer.nets.layers import working_dtype
from trainer.nets.vision import PretrainedVision, Views, Vision, map_shapes
from trainer.pictures import BatchOrder, mirror, to_float
from trainer.progress import track
from trainer.training.distributed import ALONE, Workers
from trainer.training.weights import Autocast

OFFSETS = ((0.5, 0.5), (0.15, 0.85), (0.85, 0.3))
"""By how much the kept looks are moved, each upright and mirrored; as many as fit."""
_CHUNK = 16


class Photographs:
    """Training pictures, uint8 (n, 3, r, r), on the device that trains, and what the critic sees of them."""

    def __init__(
        self,
        pictures: Tensor,
        vision: Vision,
        *,
        batch: int,
        seed: int,
        mirrored: bool,
        autocast: Autocast = nullcontext,
        workers: Workers = ALONE,
    ) -> None:
        """`autocast` has to be that of the fakes: where one kind alone is rounded, a critic tells by that.

        Raises UsageError where the workers can't share a batch equally.
        """
        self.pictures = pictures
        self.vision = vision
        self.batch = batch
        self.mirrored = mirrored
        self.autocast = autocast
        self.share = workers.share(batch)
        self.order = BatchOrder(len(pictures), seed, pictures.device)
        self._kept: list[Tensor] = []
        self._looks = 0

    def keep_looks(self, gigabytes: float, *, most: int, show: bool = True) -> int:
        """Look at every photograph ahead, as often as fits into so much memory and at `most`; returns how
        often.

        Kept in half precision, or in bf16 where that is what fakes are seen in. A plain critic's vision costs
        nothing, and nothing is kept of it.
        """
        count, resolution = len(self.pictures), self.pictures.shape[-1]
        shapes = map_shapes(resolution).values() if isinstance(self.vision, PretrainedVision) else ()
        size = 2 * sum(channels * side**2 for channels, side in shapes) * count
        fitting = int(gigabytes * 1e9 / (size * self._sides)) if size else 0
        looks = min(len(OFFSETS), fitting, most // self._sides) * self._sides
        if not looks:
            return 0
        starts = [(look, start) for look in range(looks) for start in range(0, count, _CHUNK)]
        for look, start in track(starts, len(starts), "Looking at photographs", shown=show):
            # the last ones as many as the others: a GPU tries its kernels anew for each number
            start = max(0, min(start, count - _CHUNK))
            images = to_float(self.pictures[start : start + _CHUNK])
            side, offset_of = divmod(look, looks // self._sides)
            images = images.flip(3) if side else images
            offset = torch.tensor(OFFSETS[offset_of], device=images.device)
            seen = self._see(images.contiguous(memory_format=torch.channels_last), offset)[1:]
            if not self._kept:
                self._kept = [_room(looks * count, view) for view in seen]
            first = look * count + start
            for kept, view in zip(self._kept, seen, strict=True):
                kept[first : first + len(images)] = _last(view)
        self._looks = looks
        return looks

    def views(self, indices: Tensor, rng: torch.Generator, augment: Callable[[Tensor], Tensor]) -> Views:
        """What the critic sees of the photographs `indices` (batch,), of which this worker takes its share.

        Whatever is random is drawn for the whole batch.
        """
        device = self.pictures.device
        looks = self._looks or self._sides
        look = torch.randint(looks, (self.batch,), generator=rng, device=device)[self.share]
        chosen = indices[self.share]
        images = to_float(self.pictures[chosen])
        if self.mirrored:
            images = mirror(images, look >= looks // 2)
        images = images.contiguous(memory_format=torch.channels_last)
        if not self._looks:
            return self._see(augment(images), torch.rand(2, generator=rng, device=device))
        rows = look * len(self.pictures) + chosen
        maps = (_unpacked(kept.index_select(0, rows)) for kept in self._kept)
        with self.autocast():
            return (images.to(working_dtype(images)), *maps)

    @property
    def kept_bytes(self) -> int:
        """Memory that the kept looks take."""
        return sum(kept.nbytes for kept in self._kept)

    @torch.no_grad()
    def _see(self, images: Tensor, offset: Tensor | None) -> Views:
        with self.autocast():
            views: Views = self.vision(images, offset)
            return views

    @property
    def _sides(self) -> int:
        """Half of the looks are mirrored, the second, where photographs are."""
        return 2 if self.mirrored else 1


def _room(count: int, view: Tensor) -> Tensor:
    """For so many rows like those of a view, in the half precision that suits it."""
    half = torch.bfloat16 if view.dtype == torch.bfloat16 else torch.float16
    return torch.empty(count, *_last(view).shape[1:], dtype=half, device=view.device)


def _unpacked(rows: Tensor) -> Tensor:
    """Rows (n, h, w, c) that were kept, as a view (n, c, h, w) in the arithmetic that it was seen in."""
    return (rows if rows.dtype == torch.bfloat16 else rows.float()).permute(0, 3, 1, 2)


def _last(view: Tensor) -> Tensor:
    """(n, c, h, w) as (n, h, w, c): rows are then copied whole, and come out as channels last."""
    return view.permute(0, 2, 3, 1)
