"""A whole cycle as one CUDA graph: the device then goes from step to step without waiting for Python.

Everything that a cycle takes from outside lies in tensors that `Training.stage` fills in place, and a
restored state is copied into the tensors that the graph works on. So the graph is captured once, and outlives
a going-back.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from trainer.nets.constants import held
from trainer.training import state
from trainer.training.training import Training

WARM_UP = 3
"""Cycles on a side stream before the capture: what is made once (the optimisers' averages, say) then is."""


def captures(training: Training) -> bool:
    """Whether the training's cycles are to be captured: where its device has graphs, and not those of several
    processes, whose gradients meet in between."""
    return training.device.type == "cuda" and training.workers.size == 1 and training.config.graph


def graph_cycles(training: Training, say: Callable[[str], None]) -> None:
    """Let the training run its cycles by a captured graph where it `captures` them. Says where that fails."""
    if not captures(training):
        return
    started = time.monotonic()
    try:
        training.run = captured(training)
    except RuntimeError as error:
        training.rng = _another(training.rng)
        say(f"Not captured as a CUDA graph ({_reason(error)}): training goes on without.")
    else:
        say(f"Captured a cycle as a CUDA graph in {time.monotonic() - started:.0f} s.")
        # what is looked at between cycles comes in sizes of its own, too seldom for kernels chosen by trial
        torch.backends.cudnn.benchmark = False


def captured(training: Training) -> Callable[[], None]:
    """The replay of `training.run_staged`. The training is left as it was."""
    with without_a_trace(training), _back_on_this_stream():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                training.stage()
                training.run_staged()
        torch.cuda.current_stream().wait_stream(stream)
        training.stage()
        gc.collect()  # an earlier training's graph, were it destroyed during the capture, would end that
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(training.rng)
        with torch.cuda.graph(graph), held() as constants:
            training.run_staged()
    return _Replay(graph, constants)


@dataclass(frozen=True)
class _Replay:
    graph: torch.cuda.CUDAGraph
    constants: list[object]
    """What networks worked out before: an evaluation in another type of number, or a restored state, would
    have them worked out anew, and the memory that the graph reads be given to others."""

    def __call__(self) -> None:
        self.graph.replay()


def _reason(error: BaseException) -> str:
    """Of the first of them: those that follow say no more than that the capture had failed."""
    while isinstance(error.__context__, RuntimeError):
        error = error.__context__
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:160]


def _another(rng: torch.Generator) -> torch.Generator:
    """With the same numbers to come. A failed capture leaves the generators that it had registered as if it
    went on: torch then refuses to draw from them."""
    other = torch.Generator(rng.device)
    other.set_state(rng.get_state())
    return other


@contextmanager
def _back_on_this_stream() -> Iterator[None]:
    """Go on where this began, after all that was begun elsewhere: where a capture fails, torch stays on its
    stream, and where a cycle before it does, that cycle's kernels may still be at work on the weights."""
    stream = torch.cuda.current_stream()
    try:
        yield
    finally:
        torch.cuda.set_stream(stream)
        torch.cuda.synchronize()


@contextmanager
def without_a_trace(training: Training) -> Iterator[None]:
    """Whatever is done within, or fails there, leaves networks, optimisers, random numbers, sums and counters
    as they were."""
    kept = state.TrainingCopy(training)
    try:
        yield
    finally:
        kept.restore(training)
