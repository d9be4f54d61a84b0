"""The two gradients compiled: used only where they are proven equal, and where compiling them pays.

To compile a network and differentiate it twice fails, or is silently wrong. So the whole function, with both
derivatives inside, is traced to plain tensor operations and given to inductor; and its result on the real
networks is compared with autograd's before it is used.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from trainer.data.cache import default_cache
from trainer.nets.networks import Critic
from trainer.training.step import (
    Arithmetic,
    Example,
    GeneratorDraw,
    Gradients,
    Network,
    Networks,
    Task,
    critic_gradients,
    eager,
    generator_gradients,
)

TOLERANCE = 1e-3
"""Greatest difference of a gradient as a share of its tensor's largest value: float32 gives 1e-6 to 2e-4."""
TOLERANCE_BF16 = 0.1
"""The same where autocast rounds to eight bits, in another order of operations."""
GAIN = 0.1
"""What compiling saves of a cycle at least, in what was measured (docs/performance.md)."""
PRICE = 120.0
"""Seconds that compiling takes at most, in what was measured."""
TIMES = 4


def worth_it(cycle_seconds: float, cycles: int) -> bool:
    """Whether so many cycles are enough to win the compile time back twice over."""
    return cycle_seconds * cycles * GAIN > 2 * PRICE


def cycle_seconds(arithmetics: Sequence[Arithmetic], n_critic: int, example: Example) -> list[float]:
    """Seconds that the gradients of one cycle take, for each; nothing is changed by it.

    In turn, and the least of a few: what else the machine does may not decide.
    """
    taken = [[_cycle(arithmetic, n_critic, example) for arithmetic in arithmetics] for _ in range(TIMES + 1)]
    return [min(column) for column in zip(*taken[1:], strict=True)]


def compile_arithmetic(
    networks: Networks, task: Task, n_critic: int, example: Example, say: Callable[[str], None]
) -> Arithmetic:
    """The compiled gradients; autograd's where compiling fails, differs or is no faster. Says which, why."""
    plain = eager(networks, task)
    if not task.joined:
        say("Not compiled: the critic's batch norm keeps statistics as it goes, a compiled gradient may not.")
        return plain
    started = time.perf_counter()
    try:
        fast = compile_gradients(networks, task, example)
        difference = greatest_difference(plain, fast, example)
    except Exception as error:  # noqa: BLE001 (whatever a compiler fails of, the training can do without it)
        say(f"Not compiled ({_first_line(error)}): training goes on without.")
        return plain
    took = time.perf_counter() - started
    with task.autocast():
        rounded = torch.is_autocast_enabled(example.reals.device.type)
    if not difference <= (TOLERANCE_BF16 if rounded else TOLERANCE):
        say(
            f"Warning: compiled gradients differ from autograd's by {difference:.2g} of their size: "
            "training goes on without them."
        )
        return plain
    slow_seconds, fast_seconds = cycle_seconds([plain, fast], n_critic, example)
    ratio = slow_seconds / fast_seconds
    say(
        f"Compiled in {took:.0f} s: equal to autograd within {difference:.1g}, {ratio:.2f} times as fast"
        + ("." if ratio > 1 else ", so training goes on without.")
    )
    return fast if ratio > 1 else plain


def greatest_difference(one: Arithmetic, other: Arithmetic, example: Example) -> float:
    """Of all gradients and losses, as a share of the largest value in the tensor; NaN where there is one."""
    pairs = [
        (_critic(one, example), _critic(other, example)),
        (one.generator(example.generator), other.generator(example.generator)),
    ]
    tensors = [pair for a, b in pairs for pair in (*zip(a[0], b[0], strict=True), (a[1], b[1]))]
    shares = [(a - b).abs().max() / b.abs().max().clamp_min(1e-12) for a, b in tensors]
    return torch.stack(shares).max().item()


def compile_gradients(networks: Networks, task: Task, example: Example) -> Arithmetic:
    """Both gradients, for batches of the example's size and memory layout. Raises whatever a compiler may.

    A generator with batch norm keeps statistics as it goes: its gradient stays autograd's.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(default_cache().with_name("compiled")))
    keeps_statistics = networks.generator.arch.generator_norm == "batch"
    arithmetic = Arithmetic(
        _compile_critic(networks.critic, task, example),
        eager(networks, task).generator if keeps_statistics else _compile_generator(networks, task, example),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a compiler says of itself is nothing to a user
        _critic(arithmetic, example)
        arithmetic.generator(example.generator)
    return arithmetic


def _compile_critic(
    critic: Critic, task: Task, example: Example
) -> Callable[[Tensor, Tensor, Tensor], tuple[Gradients, Tensor]]:
    def function(
        weights: list[Tensor], reals: Tensor, fakes: Tensor, epsilon: Tensor
    ) -> tuple[Gradients, Tensor]:
        weights = _leaves(weights)
        return critic_gradients(_with(critic, weights), weights, task, reals, fakes, epsilon)

    code = _trace(function, _weights(critic), example.reals, example.fakes, example.epsilon)

    def compiled(reals: Tensor, fakes: Tensor, epsilon: Tensor) -> tuple[Gradients, Tensor]:
        with torch.no_grad():
            return code(_weights(critic), reals, fakes, epsilon)

    return compiled


def _compile_generator(
    networks: Networks, task: Task, example: Example
) -> Callable[[GeneratorDraw], tuple[Gradients, Tensor]]:
    generator, critic = networks.generator, networks.critic

    def function(
        weights: list[Tensor], fixed: list[Tensor], latents: Tensor, numbers: Tensor
    ) -> tuple[Gradients, Tensor]:
        weights = _leaves(weights)
        draw = GeneratorDraw(latents, numbers)
        return generator_gradients(_with(generator, weights), _with(critic, fixed), weights, task, draw)

    draw = example.generator
    code = _trace(function, _weights(generator), _weights(critic), draw.latents, draw.numbers)

    def compiled(draw: GeneratorDraw) -> tuple[Gradients, Tensor]:
        with torch.no_grad():
            return code(_weights(generator), _weights(critic), draw.latents, draw.numbers)

    return compiled


def _trace(
    function: Callable[..., tuple[Gradients, Tensor]], *inputs: Tensor | list[Tensor]
) -> Callable[..., tuple[Gradients, Tensor]]:
    """The tensor operations that a call comes to, derivatives included, compiled at their first use."""
    compiled: Callable[..., tuple[Gradients, Tensor]] = torch.compile(
        make_fx(function)(*inputs), fullgraph=True, dynamic=False
    )
    return compiled


def _weights(network: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in network.parameters()]


def _leaves(weights: Sequence[Tensor]) -> list[Tensor]:
    return [weight.detach().requires_grad_() for weight in weights]


def _with(network: nn.Module, weights: Sequence[Tensor]) -> Network:
    """The network as a function that has these weights in place of its own."""
    named = dict(zip((name for name, _ in network.named_parameters()), weights, strict=True))

    def call(x: Tensor) -> Tensor:
        result: Tensor = functional_call(network, named, (x,))
        return result

    return call


def _critic(arithmetic: Arithmetic, example: Example) -> tuple[Gradients, Tensor]:
    return arithmetic.critic(example.reals, example.fakes, example.epsilon)


def _cycle(arithmetic: Arithmetic, n_critic: int, example: Example) -> float:
    """Seconds of one cycle's gradients, waiting for the device."""
    started = time.perf_counter()
    for _ in range(n_critic):
        _critic(arithmetic, example)
    arithmetic.generator(example.generator)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]
