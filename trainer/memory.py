"""Memory: how much there is, how much was taken, and what becomes of freed pages. Imports no torch."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MOST = 2**31 - 1


def memory_mb() -> float:
    """Peak resident memory of this process in MB, or of the GPU's tensors where one is in use."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return float(torch.cuda.max_memory_allocated()) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def memory_limit_gb() -> float:
    """Memory that this process may fill: the machine's, or less where its control group says so, as in a
    container; infinite where neither can be told."""
    limits = [math.inf]
    if hasattr(os, "sysconf"):  # not on Windows
        with suppress(ValueError, OSError):
            limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(*limits, *_group_limits(Path("/"))) / 1e9


def _group_limits(root: Path) -> Iterator[float]:
    """Of the control groups that this process lies in, of either version, in bytes (man 7 cgroups)."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        folder, name = ("", "memory.max") if not controllers else ("memory", "memory.limit_in_bytes")
        top = root / "sys/fs/cgroup" / folder
        group = top / own.lstrip("/")
        for place in (group, *group.parents):
            # 'max' stands for none
            with suppress(ValueError, OSError):
                yield float(int((place / name).read_text()))
            if place == top:
                break


def keep_freed_memory() -> None:
    """Let glibc keep the pages of freed tensors: a fifth of a small step and a third of
    sampling went into getting them anew.

    Elsewhere it does nothing. For processes that end with their work, which gives the memory back.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MOST)
        mallopt(_M_TRIM_THRESHOLD, _MOST)
        mallopt(_M_TOP_PAD, 64 << 20)
