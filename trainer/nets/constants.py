"""What networks work out of constants: once for each type, and held for whoever goes on reading it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
_holders: list[list[object]] = []


@contextmanager
def held() -> Iterator[list[object]]:
    """Collect every value that is used within: as long as the list is kept, their memory is not given away.

    A captured CUDA graph reads them by their addresses alone.
    """
    values: list[object] = []
    _holders.append(values)
    try:
        yield values
    finally:
        _holders.remove(values)


class _Known(NamedTuple, Generic[T]):
    sources: tuple[Tensor, ...]
    versions: list[int | None]
    value: T


class Once(Generic[T]):
    """What follows from constants: worked out once for each type, and again where they changed or moved."""

    def __init__(self) -> None:
        self._known: dict[torch.dtype, _Known[T]] = {}

    def __call__(self, sources: Sequence[Tensor], dtype: torch.dtype, work_out: Callable[[], T]) -> T:
        """The value of `work_out`, a function of `sources` and `dtype` alone."""
        versions = [None if source.is_inference() else source._version for source in sources]
        known = self._known.get(dtype)
        if known is None or versions != known.versions or not _same(sources, known.sources):
            # what is kept may be differentiated through another time
            with torch.inference_mode(False), torch.no_grad():
                known = _Known(tuple(sources), versions, work_out())
            self._known[dtype] = known
        for values in _holders:
            values.append(known.value)
        return known.value


def _same(sources: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(sources) == len(others) and all(map(operator.is_, sources, others))
