"""What this machine can do: cycles of a training timed before it starts, and how long it will take."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from trainer.config import FitConfig
from trainer.device import choose_device, device_name, set_arithmetic
from trainer.durations import duration
from trainer.memory import keep_freed_memory
from trainer.training.graph import graph_cycles
from trainer.training.training import Training

PICTURES = 64
ROUNDS = 5
"""Cycles that are timed, after one that warms up; the median counts."""


@dataclass(frozen=True)
class Bench:
    """Seconds of one cycle, and what follows from them."""

    config: FitConfig
    device: str
    cycle_seconds: float

    @property
    def images_per_second(self) -> float:
        """As `trainer fit` counts them: pictures the generator's updates make."""
        return self.config.batch / self.cycle_seconds

    @property
    def run_seconds(self) -> float:
        """All steps of the run, without its evaluations and snapshots, which add a few per cent."""
        return self.config.steps * self.cycle_seconds

    def describe(self) -> str:
        config = self.config
        return (
            f"{config.resolution} px, batch {config.batch}, {self.device}: {self.cycle_seconds:.3g} s a "
            f"cycle of {config.n_critic} critic and 1 generator step, {self.images_per_second:.0f} images/s. "
            f"{config.steps:,} steps take about {duration(self.run_seconds)}."
        )


def bench(config: FitConfig, rounds: int = ROUNDS) -> Bench:
    """Time cycles of this very training, as `fit` runs them where it does not compile, on noise in place of
    photographs; writes nothing."""
    device = choose_device(config.device)
    keep_freed_memory()
    set_arithmetic(device, config.precision)
    rng = torch.Generator().manual_seed(0)
    shape = (PICTURES, config.resolution, config.resolution, 3)
    noise = torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng).to(device)
    training = Training(config, noise.permute(0, 3, 1, 2))
    training.keep_looks(show=False)
    graph_cycles(training, lambda said: None)
    taken = [_cycle(training) for _ in range(rounds + 1)]
    return Bench(config, device_name(device), statistics.median(taken[1:]))


def _cycle(training: Training) -> float:
    started = time.perf_counter()
    training.cycle()
    training.critic_sums.sum().item()  # waits for the device
    return time.perf_counter() - started
