"""Several processes, each with its share of every batch, that average their gradients: `torchrun -m trainer`.

Every process draws the whole batch's random numbers from the same seed and uses its own rows, so that the
result is the single process's to rounding. The first process alone looks, decides and writes; the others
follow. Gradients go through one all-reduce a step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from trainer.errors import TrainerError, UsageError

T = TypeVar("T")
ASKED_EVERY = 10
"""Steps after which several processes ask one another whether to stop."""
PATIENCE = timedelta(hours=6)
"""For how long processes wait for the first one, which may have a hundred thousand photographs to decode: by
itself NCCL ends them after ten minutes. That another one has died, torchrun sees."""


@dataclass(frozen=True)
class Workers:
    """The processes of a run, seen from one of them."""

    rank: int = 0
    size: int = 1

    @property
    def lead(self) -> bool:
        """Whether this is the process that looks, decides and writes."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """The rows of a batch that are this process's. Raises UsageError where they can't be equal."""
        if batch % self.size:
            raise UsageError(f"--batch {batch} can't be shared by {self.size} processes: take a multiple.")
        rows = batch // self.size
        return slice(self.rank * rows, (self.rank + 1) * rows)

    def average(self, gradients: Iterable[Tensor], statistics: Tensor) -> Tensor:
        """Average the gradients in place over the processes, and return the averaged statistics (k,)."""
        if self.size == 1:
            return statistics
        tensors = [*gradients, statistics]
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view(tensor.shape))
            start += tensor.numel()
        return statistics

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in some process: what one is asked to do, all do. Waits for all."""
        if self.size == 1:
            return flag
        flags = torch.tensor(int(flag), device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def asked(self, flag: bool, step: int) -> bool:
        """The same, but of several processes only at every tenth step: asking means waiting for a device."""
        return self.at_times(step) and self.any(flag)

    def at_times(self, step: int) -> bool:
        """Whether processes exchange after this step what is not a gradient; alone always."""
        return self.size == 1 or step % ASKED_EVERY == 0

    def follow(self, decision: Any = None) -> Any:
        """The first process's decision, in every process."""
        if self.size == 1:
            return decision
        box = [decision]
        dist.broadcast_object_list(box)
        return box[0]

    def lead_first(self, load: Callable[[], T]) -> T:
        """What `load` gives, in the first process before the others: it leaves a cache to them."""
        if self.size == 1 or self.lead:
            loaded = load()
        if self.size > 1:
            self.any(False)
        return loaded if self.lead else load()


ALONE = Workers()


@contextmanager
def joined(device: torch.device) -> Iterator[Workers]:
    """The workers that torchrun started, or this process alone.

    Raises UsageError where there are fewer GPUs than processes, TrainerError where another process of the run
    ended before this one; any other error passes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    if device.type == "cuda":
        gpu, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if gpu >= gpus:
            raise UsageError(
                f"Each process of a run has a GPU of its own, and this machine has {gpus}: start as many "
                "with torchrun --nproc-per-node, or take --device cpu."
            )
        torch.cuda.set_device(gpu)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Workers(dist.get_rank(), size)
        # who left while the first process still writes was now and then aborted by gloo's own tear-down
        dist.barrier()
    except RuntimeError as error:
        if not _lost_another(error):
            raise
        raise TrainerError(
            f"Another process of this run ended ({str(error).splitlines()[0][:120]}): "
            "see its own message above, then go on with --resume."
        ) from error
    finally:
        dist.destroy_process_group()


def _lost_another(error: RuntimeError) -> bool:
    """Whether it is what NCCL (an error of its own) and gloo (by its words) raise when the other side is
    gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()
