"""Which device, what it is called, and which precision it computes in by itself."""

import pytest
import torch

from trainer.device import (
    choose_device,
    device_name,
    rounds_well,
    set_arithmetic,
    told_faults,
    widest,
)
from trainer.errors import TrainerError, UsageError


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


@pytest.mark.parametrize(
    ("able", "wanted"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_bf16": False}, False), ({}, False)],
)
def test_bf16_is_taken_where_it_is_the_processors_own(
    able: dict[str, bool], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert rounds_well(torch.device("cpu")) is wanted


def test_an_apple_gpu_is_not_asked_to_round() -> None:
    assert not rounds_well(torch.device("mps"))


def test_apples_gpus_have_no_float64() -> None:
    assert widest(torch.device("mps")) == torch.float32
    assert widest(torch.device("cpu")) == widest(torch.device("cuda")) == torch.float64


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_float32_is_not_rounded_to_tf32_where_it_is_asked_for(precision: str) -> None:
    kept = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        set_arithmetic(torch.device("cuda"), precision)
        assert torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.allow_tf32 is (precision == "auto")
        wanted = "high" if precision == "auto" else "highest"
        assert torch.get_float32_matmul_precision() == wanted
    finally:
        torch.backends.cudnn.benchmark = False
        torch.set_float32_matmul_precision(kept[0])
        torch.backends.cudnn.allow_tf32 = kept[1]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "Memory ran out: less"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "Memory ran out: less"),
        (MemoryError(), "Memory ran out: less"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "Memory ran out: less",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "Memory ran out: less"),
        (
            RuntimeError("CUDA error: no kernel image is available for execution on the device"),
            "not built for this GPU: take --device cpu",
        ),
        (
            RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
            "The GPU is another program's",
        ),
        (RuntimeError("Failed to initialize cpuinfo!"), "/proc/cpuinfo"),
        (RuntimeError("could not create a primitive"), "MemoryDenyWriteExecute"),
    ],
)
def test_what_the_machine_is_to_blame_for_is_one_sentence(error: Exception, words: str) -> None:
    with pytest.raises(TrainerError, match=words) as caught, told_faults("less"):
        raise error
    assert caught.value.__cause__ is error


def test_other_errors_pass_as_they_are() -> None:
    error = RuntimeError("a fault of ours")
    with pytest.raises(RuntimeError) as caught, told_faults():
        raise error
    assert caught.value is error


def test_more_than_there_is() -> None:
    """As torch itself says it of this machine's memory."""
    with pytest.raises(TrainerError, match=r"^Memory ran out: close other programs\.$"), told_faults():
        torch.empty(2**50)
