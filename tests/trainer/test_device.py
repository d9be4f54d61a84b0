"""Which device, what it is called, and which precision it computes in by itself."""

import pytest
import torch

from trainer.device import choose_device, device_name, keep_freed_memory, memory_mb, rounds_well
from trainer.errors import UsageError


def test_a_missing_gpu_is_one_sentence() -> None:
    assert choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(UsageError, match="no usable CUDA GPU"):
            choose_device("cuda")


def test_a_cpu_is_named_by_its_threads() -> None:
    assert device_name(torch.device("cpu")) == f"cpu ({torch.get_num_threads()} threads)"


@pytest.mark.parametrize(("capability", "wanted"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bf16_is_taken_where_it_is_the_cards_own(
    capability: tuple[int, int], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch says of older cards too that they support it: they emulate it."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert rounds_well(torch.device("cuda")) is wanted
    assert not rounds_well(torch.device("cpu"))


def test_memory_is_counted_in_megabytes() -> None:
    keep_freed_memory()
    assert 50 < memory_mb() < 50_000
