"""The two gradients compiled: used only where they are proven equal, and where compiling them pays.

To compile a network and differentiate it twice fails, or is silently wrong. So the whole function, with both
derivatives inside, is traced to plain tensor operations and given to inductor; and its result on the real
networks is compared with autograd's before it is used.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from trainer.data.cache import default_cache
from trainer.nets.critic import Critic
from trainer.nets.vision import Views
from trainer.training.step import (
    Arithmetic,
    Example,
    Gradients,
    Networks,
    Scorer,
    Task,
    constant,
    critic_gradients,
    eager,
    generator_gradients,
    view_gradients,
)

TOLERANCE = 5e-3
"""Greatest difference of all gradients as a share of their norm, and of the losses: float32 gives 1e-6 to
2e-4 on a CPU, and 1.2e-3 of a seeing critic's on a GPU, whose kernels add up in an order of their own.

By the norm of all: a bias before a batch norm has no gradient but rounding, and no share of that means
anything. """
TOLERANCE_BF16 = 0.1
"""The same where autocast rounds to eight bits, in another order of operations."""
GAIN = 0.1
"""What compiling saves of a cycle at least, in what was measured (docs/performance.md)."""
PRICE = 120.0
"""Seconds that compiling takes at most, in what was measured."""
TIMES = 4
_INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"
SMALLEST = 1e-12
"""Norm below which gradients count as none."""


def worth_it(cycle_seconds: float, cycles: int) -> bool:
    """Whether so many cycles are enough to win the compile time back twice over."""
    return cycle_seconds * cycles * GAIN > 2 * PRICE


def cycle_seconds(
    networks: Networks, arithmetics: Sequence[Arithmetic], n_critic: int, example: Example
) -> list[float]:
    """Seconds that the gradients of one cycle take, for each; nothing is changed by it.

    In turn, and the least of a few: what else the machine does may not decide.
    """
    with _unchanged(networks):
        taken = [
            [_cycle(networks, arithmetic, n_critic, example) for arithmetic in arithmetics]
            for _ in range(TIMES + 1)
        ]
    return [min(column) for column in zip(*taken[1:], strict=True)]


@contextmanager
def _unchanged(networks: Networks) -> Iterator[None]:
    """Forget what batch norm sees meanwhile, also where something fails."""
    buffers = [*networks.generator.buffers(), *networks.critic.buffers()]
    kept = [buffer.clone() for buffer in buffers]
    networks.generator.train()
    try:
        yield
    finally:
        for buffer, values in zip(buffers, kept, strict=True):
            buffer.copy_(values)


def compile_arithmetic(
    networks: Networks, task: Task, n_critic: int, example: Example, say: Callable[[str], None]
) -> Arithmetic | None:
    """The compiled gradients; None where compiling fails, differs or is no faster. Says which, why."""
    if not task.joined:
        say("Not compiled: the critic's batch norm keeps statistics as it goes, a compiled gradient may not.")
        return None
    plain = eager(networks, task)
    started = time.perf_counter()
    try:
        fast = compile_gradients(networks, task, example)
        difference = greatest_difference(networks, plain, fast, example)
    except Exception as error:  # noqa: BLE001 (whatever a compiler fails of, the training can do without it)
        say(f"Not compiled ({_first_line(error)}): training goes on without.")
        return None
    took = time.perf_counter() - started
    with task.autocast():
        rounded = torch.is_autocast_enabled(example.epsilon.device.type)
    if not difference <= (TOLERANCE_BF16 if rounded else TOLERANCE):
        say(
            f"Warning: compiled gradients differ from autograd's by {difference:.2g} of their size: "
            "training goes on without them."
        )
        return None
    slow_seconds, fast_seconds = cycle_seconds(networks, [plain, fast], n_critic, example)
    ratio = slow_seconds / fast_seconds
    say(
        f"Compiled in {took:.0f} s: equal to autograd within {difference:.1g}, {ratio:.2f} times as fast"
        + ("." if ratio > 1 else ", so training goes on without.")
    )
    return fast if ratio > 1 else None


def greatest_difference(networks: Networks, one: Arithmetic, other: Arithmetic, example: Example) -> float:
    """The greater of both networks' gradients' difference as a share of their norm; NaN where there is
    one."""
    with _unchanged(networks):
        found = [_gradients(networks, arithmetic, example) for arithmetic in (one, other)]
    shares = []
    for mine, other_ in zip(*found, strict=True):
        apart = torch.stack([(a - b).norm() for a, b in zip(mine, other_, strict=True)]).norm()
        size = torch.stack([b.norm() for b in other_]).norm()
        shares.append(apart / size.clamp_min(SMALLEST))
    return torch.stack(shares).max().item()


def _gradients(networks: Networks, arithmetic: Arithmetic, example: Example) -> tuple[Gradients, Gradients]:
    """Of the critic, then of the generator, losses included."""
    fakes = arithmetic.fakes(example.draw)
    of_critic, rows = arithmetic.critic(example.reals, constant(fakes), example.epsilon)
    of_generator, row = generator_gradients(arithmetic, fakes)
    return (*of_critic, rows), (*of_generator, row)


def compile_gradients(networks: Networks, task: Task, example: Example) -> Arithmetic:
    """The critic's parts of a step compiled, for batches of the example's size and layout.

    The generator keeps statistics as it goes, which a traced function may not: it stays autograd's, and so
    does what the critic sees by. Raises whatever a compiler may.
    """
    _keep_what_is_compiled()
    plain = eager(networks, task)
    with warnings.catch_warnings(), torch.autograd.set_multithreading_enabled(False):
        warnings.simplefilter("ignore")  # what a compiler says of itself is nothing to a user
        with _unchanged(networks):
            fakes = plain.fakes(example.draw)
            arithmetic = Arithmetic(
                plain.fakes,
                plain.weights,
                _compile_critic(networks.critic, task, example, constant(fakes)),
                _compile_views(networks.critic, task, constant(fakes)),
            )
            _gradients(networks, arithmetic, example)
    return arithmetic


def _keep_what_is_compiled() -> None:
    """Keep it beside the decoded photographs, unless the user has chosen a folder.

    Making an optimiser sets the variable to torch's own, a temporary one.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    if os.environ.get(_INDUCTOR_CACHE, default_cache_dir()) == default_cache_dir():
        os.environ[_INDUCTOR_CACHE] = str(default_cache().with_name("compiled"))


def _compile_critic(
    critic: Critic, task: Task, example: Example, fakes: Views
) -> Callable[[Views, Views, Tensor], tuple[Gradients, Tensor]]:
    def function(
        weights: list[Tensor], reals: Views, fakes: Views, epsilon: Tensor
    ) -> tuple[Gradients, Tensor]:
        weights = _leaves(weights)
        return critic_gradients(_with(critic, weights), weights, task, reals, fakes, epsilon)

    code = _trace(function, _weights(critic), example.reals, fakes, example.epsilon)

    def compiled(reals: Views, fakes: Views, epsilon: Tensor) -> tuple[Gradients, Tensor]:
        with torch.no_grad():
            return code(_weights(critic), reals, fakes, epsilon)

    return compiled


def _compile_views(critic: Critic, task: Task, fakes: Views) -> Callable[[Views], tuple[Views, Tensor]]:
    def function(weights: list[Tensor], fakes: Views) -> tuple[Views, Tensor]:
        return view_gradients(_with(critic, weights), task, fakes)

    code = _trace(function, _weights(critic), fakes)

    def compiled(fakes: Views) -> tuple[Views, Tensor]:
        with torch.no_grad():
            return code(_weights(critic), constant(fakes))

    return compiled


def _trace(
    function: Callable[..., tuple[Gradients, Tensor]], *inputs: Tensor | list[Tensor] | Views
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


def _with(critic: Critic, weights: Sequence[Tensor]) -> Scorer:
    """The critic as a function that has these weights in place of its own."""
    named = dict(zip((name for name, _ in critic.named_parameters()), weights, strict=True))

    def call(views: Views) -> Tensor:
        result: Tensor = functional_call(critic, named, (views,))
        return result

    return call


def _cycle(networks: Networks, arithmetic: Arithmetic, n_critic: int, example: Example) -> float:
    """Seconds of one cycle's gradients, waiting for the device."""
    started = time.perf_counter()
    for _ in range(n_critic):
        fakes = arithmetic.fakes(example.draw)
        arithmetic.critic(example.reals, constant(fakes), example.epsilon)
    generator_gradients(arithmetic, fakes)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]
