"""What a training runs on: which device, its arithmetic, what it is called and its faults."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainer.errors import TrainerError, UsageError

if TYPE_CHECKING:
    import torch


def choose_device(wanted: str) -> torch.device:
    """`auto` is the GPU where there is one. Raises UsageError for a device that this machine lacks."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no usable CUDA GPU; take --device cpu or auto.")
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: this machine has no usable Apple GPU; take --device cpu or auto.")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def device_name(device: torch.device) -> str:
    """What timings were made on: the GPU's name, or how many threads of the CPU."""
    import torch

    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type


def rounds_well(device: torch.device) -> bool:
    """Whether bf16 is the device's own arithmetic: older cards and processors emulate it, slower than
    float32."""
    import torch

    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def widest(device: torch.device) -> torch.dtype:
    """What is computed in where float32 would round too much: float64, which Apple's GPUs haven't."""
    import torch

    return torch.float32 if device.type == "mps" else torch.float64


def set_arithmetic(device: torch.device, precision: str) -> None:
    """For a training: on a GPU kernels are chosen by trial, and float32 is float32 where it is asked for.

    Elsewhere than with `--precision float32`, products may be rounded to TF32's ten bits.
    """
    import torch

    if device.type != "cuda":
        return
    rounded = precision != "float32"
    torch.backends.cudnn.benchmark = True  # a training's shapes stay the same
    torch.backends.cudnn.allow_tf32 = rounded
    torch.set_float32_matmul_precision("high" if rounded else "highest")


@contextmanager
def a_core_each(most: int) -> Iterator[Executor]:
    """Threads, `most` at most, that share no layer: torch computes on one core in each of them, and in this
    one meanwhile.

    Small layers are hardly quicker when two cores share each of them; and where another program holds one of
    the cores, each layer would wait for it: minutes in place of seconds.
    """
    import torch

    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(min(cores, most), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(cores)


_MACHINE_FAULTS = (
    ("out of memory", "Memory ran out"),
    ("can't allocate memory", "Memory ran out"),
    ("status_alloc_failed", "Memory ran out"),  # cuBLAS's and cuDNN's word for it
    ("failed to map segment", "Memory ran out"),  # of one of its libraries, where it is imported
    ("cpuinfo", "torch can't tell what processor this is: let this process read /proc/cpuinfo"),
    ("no kernel image", "torch was not built for this GPU: take --device cpu"),
    ("busy or unavailable", "The GPU is another program's: close that, or take --device cpu"),
    (
        "could not create a primitive",
        "torch may not make code as it runs: where systemd starts this, take MemoryDenyWriteExecute out",
    ),
)
"""What torch says where the machine is at fault, and what that means."""


def machine_fault(error: BaseException) -> str | None:
    """What of this machine made torch fail, and what to do; None where it was something else."""
    if isinstance(error, MemoryError):
        return "Memory ran out"
    said = str(error).lower()
    return next((told for words, told in _MACHINE_FAULTS if words in said), None)


@contextmanager
def told_faults(remedy: str = "close other programs") -> Iterator[None]:
    """Turn what the machine is to blame for into a TrainerError; `remedy` is what helps where memory ran out.

    The error itself is kept as its cause. Anything else passes as it is.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = machine_fault(error)
        if told is None:
            raise
        if told == "Memory ran out":
            told += f": {remedy}"
        raise TrainerError(f"{told}.") from error
