"""Constants are worked out once, and stay where whoever holds them reads them."""

import gc
import weakref

import torch
from torch import Tensor

from trainer.nets.constants import Once, held

FLOAT, BFLOAT = torch.float32, torch.bfloat16


class Doubled:
    """Twice a source, and how often that was worked out."""

    def __init__(self) -> None:
        self.source, self.calls = torch.ones(3), 0
        self.once: Once[Tensor] = Once()

    def __call__(self, dtype: torch.dtype = FLOAT) -> Tensor:
        return self.once((self.source,), dtype, lambda: self._work_out(dtype))

    def _work_out(self, dtype: torch.dtype) -> Tensor:
        self.calls += 1
        return (self.source * 2).to(dtype)


def test_constants_are_worked_out_once_and_again_when_they_change() -> None:
    doubled = Doubled()
    with torch.inference_mode():
        first = doubled()
    assert not first.is_inference()  # what is kept is differentiated through another time
    assert doubled() is first
    doubled.source.add_(1)
    assert doubled().tolist() == [4, 4, 4]
    doubled.source = doubled.source.clone()
    doubled()
    assert doubled.calls == 3


def test_another_type_has_its_own() -> None:
    doubled = Doubled()
    first, rounded = doubled(), doubled(BFLOAT)
    assert (first.dtype, rounded.dtype) == (FLOAT, BFLOAT)
    assert doubled() is first
    assert doubled(BFLOAT) is rounded
    assert doubled.calls == 2


def test_what_is_held_outlives_a_change() -> None:
    """A graph that was captured meanwhile has nothing but the address."""
    doubled = Doubled()
    with held() as values:
        doubled(BFLOAT)
    (value,) = values
    alive = weakref.ref(value)
    del value
    doubled.source.add_(1)
    assert doubled(BFLOAT).tolist() == [4, 4, 4]
    gc.collect()
    assert alive() is values[0]
    assert len(values) == 1  # nothing is collected afterwards
    values.clear()
    gc.collect()
    assert alive() is None
