"""Our training step against the naive one, from the same networks and the same weights, in turn.

    python -m benchmarks.step [--device cpu|cuda] [--critic plain seeing] [--resolution 32 64 …]
                              [--width 32 128] [--batch 16] [--critic-steps 1] [--rounds 9]
                              [--precision float32|bf16] [--compile] [--own-time]

Prints tables in Markdown. 'Naive' is the step of `testbed.naive`; a cycle is --critic-steps critic steps and
one generator step. A plain critic has a plain generator beside it, a seeing one a gated one. Every round
runs each variant once, so that a machine that slows down slows all of them; what is printed are medians, and
ratios of medians. Peak memory is that of a process of its own for each variant. The matrix peak is measured
in the same run. With --own-time seconds are those that the processor gave this process, for a machine with
other work: of one thread only. Augmentation is off on both sides, and what is seen in reals was looked at
before. Freed memory is kept, as `trainer fit` keeps it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from testbed.naive import NaiveStep
from trainer.config import FitConfig, make_config
from trainer.device import choose_device, device_name
from trainer.memory import keep_freed_memory
from trainer.nets.vision import Views
from trainer.training.compiled import compile_arithmetic
from trainer.training.step import Arithmetic, critic_step, eager, generator_step
from trainer.training.training import Training

PICTURES = 256
EQUAL_STEPS = 20
clock: Callable[[], float] = time.perf_counter
"""Replaced by the process's own time where that is asked for."""
GENERATORS = {"plain": "plain", "seeing": "gated"}


@dataclass(frozen=True)
class Steps:
    """One variant: a critic step and a generator step, each on the same batch."""

    critic: Callable[[], object]
    generator: Callable[[], object]


class Flops(TorchDispatchMode):
    """Floating-point operations of matrix products and convolutions, a multiplication and an addition each.

    torch's own FlopCounterMode also tracks modules, by hooks that our convolutions' gradients do not bear.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


@dataclass
class Case:
    """The same networks as the naive step has them and as ours, on one batch."""

    config: FitConfig
    device: torch.device
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        size = self.config.resolution
        rng = torch.Generator().manual_seed(0)
        pictures = torch.randint(0, 256, (PICTURES, size, size, 3), dtype=torch.uint8, generator=rng)
        self.training = Training(self.config, pictures.to(self.device).permute(0, 3, 1, 2), staged=False)
        example = self.training.example()
        networks = self.training.networks
        for network in vars(networks).values():
            network.to(self.dtype)
        weights, lengths = (
            torch.tensor(values, dtype=self.dtype, device=self.device)
            for values in (networks.vision.head_weights, networks.vision.lengths(size))
        )
        self.training.task = replace(self.training.task, head_weights=weights, lengths=lengths)
        self.training.arithmetic = eager(networks, self.training.task)
        self.training.critic_sums = self.training.critic_sums.to(self.dtype)
        self.training.generator_sums = self.training.generator_sums.to(self.dtype)
        self.reals = tuple(view.to(self.dtype) for view in example.reals)
        self.draw = replace(example.draw, latents=example.draw.latents.to(self.dtype))
        self.epsilon = example.epsilon.to(self.dtype)
        self.fakes: Views = ()

    def naive(self) -> Steps:
        step = NaiveStep(self.training.networks, self.config, self.training.autocast)
        reals = tuple(view.contiguous() for view in self.reals)
        return Steps(
            lambda: step.critic_step(reals, self.draw, self.epsilon), lambda: step.generator_step(self.draw)
        )

    def ours(self, arithmetic: Arithmetic | None = None) -> Steps:
        """The last critic step's fakes teach the generator: their making counts there."""
        training = self.training
        arithmetic = arithmetic or training.arithmetic

        def of_critic() -> None:
            self.fakes = arithmetic.fakes(self.draw)
            critic_step(
                training.networks,
                training.critic_optimiser,
                training.task,
                arithmetic,
                self.reals,
                self.fakes,
                self.epsilon,
                sums=training.critic_sums,
            )

        def of_generator() -> None:
            generator_step(
                training.networks,
                training.generator_optimiser,
                arithmetic,
                self.fakes,
                sums=training.generator_sums,
            )

        return Steps(of_critic, of_generator)

    def compiled(self) -> Steps:
        training = self.training
        example = training.example()
        return self.ours(
            compile_arithmetic(training.networks, training.task, self.config.n_critic, example, say)
        )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(call: Callable[[], object], device: torch.device) -> float:
    wait(device)
    started = clock()
    call()
    wait(device)
    return clock() - started


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the best of some large matrix products."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: a @ b, device) for _ in range(7))


def medians(variants: dict[str, Steps], rounds: int, device: torch.device) -> dict[str, tuple[float, float]]:
    """Seconds of a critic step and of a generator step; all variants take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, steps in variants.items():
            pair = seconds(steps.critic, device), seconds(steps.generator, device)
            if number:
                taken[name].append(pair)
    return {
        name: (statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs))
        for name, pairs in taken.items()
    }


def flops(steps: Steps, critic_steps: int) -> int:
    """Operations of a full cycle."""
    with Flops() as critic:
        steps.critic()
    with Flops() as generator:
        steps.generator()
    return critic_steps * int(critic.total) + int(generator.total)


def loss_difference(config: FitConfig, device: torch.device) -> float:
    """Greatest difference of the critic's loss between naive and ours over steps of both kinds, in float64.

    In float32 Adam's first steps, of one size whatever the gradient, make real differences of rounding.
    """
    case = Case(config, device, torch.float64)
    naive, ours = case.naive(), case.ours()
    worst = 0.0
    for _ in range(EQUAL_STEPS):
        case.training.critic_sums.zero_()
        theirs = naive.critic()
        ours.critic()
        loss = case.training.critic_sums[0].sum().item() / config.batch
        worst = max(worst, abs(loss - float(theirs)))  # type: ignore[arg-type]
        naive.generator()
        ours.generator()
    return worst


def peak_memory(name: str, options: Sequence[str]) -> float:
    """MiB that a process of its own needs at most for a few cycles of one variant."""
    command = [sys.executable, "-m", "benchmarks.step", "--memory-of", name, *options]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(output.splitlines()[-1]))


def print_memory(case: Case, name: str) -> None:
    steps: Steps = getattr(case, name)()
    for _ in range(3):
        steps.critic()
        steps.generator()
    wait(case.device)
    if case.device.type == "cuda":
        print(torch.cuda.max_memory_allocated() / 2**20)
    else:
        # getrusage would count the parent as well, as it was when it started this process
        status = Path("/proc/self/status").read_text(encoding="ascii")
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def measure(config: FitConfig, device: torch.device, options: argparse.Namespace) -> None:
    """One table: naive, ours and, where asked for, ours compiled."""
    case = Case(config, device)
    variants = {"naive": case.naive(), "ours": case.ours()}
    if options.compile:
        variants["ours, compiled"] = case.compiled()
    pipeline = statistics.median(seconds(case.training.example, device) for _ in range(20))
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    peak = matrix_peak(device, dtype)
    found = medians(variants, options.rounds, device)
    count = config.n_critic
    work = {name: flops(variants[name], count) for name in ("naive", "ours")}

    def cycle(critic: float, generator: float) -> float:
        return count * critic + generator

    base = found["naive"]
    share = count * pipeline / cycle(*found[list(found)[-1]])
    critic_kind, width = config.critic, config.channels[0]
    print(
        f"\n**{critic_kind} critic, {config.resolution} px, width {width}, batch {config.batch}, "
        f"{config.precision}**: matrix peak {peak / 1e9:.0f} GFLOP/s; losses of {EQUAL_STEPS} steps differ "
        f"by {loss_difference(replace(config, precision='float32'), device):.1g} at most in float64; "
        f"drawing batches takes {share:.1%} of our quickest cycle"
    )
    print(
        "\n| variant | critic step | generator step | cycle | ratios to naive | images/s | GFLOP a cycle "
        "| share of peak | memory |\n|---|---|---|---|---|---|---|---|---|"
    )
    shape = ["--critic", critic_kind, "--resolution", str(config.resolution), "--width", str(width)]
    same = [
        *shape,
        "--critic-steps",
        str(count),
        "--batch",
        str(config.batch),
        "--device",
        device.type,
        "--precision",
        config.precision,
    ]
    for name, (critic, generator) in found.items():
        whole = cycle(critic, generator)
        operations = work.get(name, work["ours"])
        memory = peak_memory(name, same) if name in work else 0.0
        print(
            f"| {name} | {critic * 1e3:.0f} ms | {generator * 1e3:.0f} ms | {whole * 1e3:.0f} ms "
            f"| {base[0] / critic:.2f}, {base[1] / generator:.2f}, **{cycle(*base) / whole:.2f}** "
            f"| {config.batch * count / whole:.0f} | {operations / 1e9:.1f} "
            f"| {operations / whole / peak:.0%} | {f'{memory:.0f} MiB' if memory else ''} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--critic", nargs="+", choices=GENERATORS, default=list(GENERATORS))
    parser.add_argument("--resolution", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--width", nargs="+", type=int, default=[32, 128])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--critic-steps", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--own-time", action="store_true")
    parser.add_argument("--memory-of", choices=("naive", "ours"))
    options = parser.parse_args()
    if options.own_time:
        global clock
        clock = time.process_time
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = choose_device(options.device)
    if options.memory_of is None:
        keep_freed_memory()
        print(f"torch {torch.__version__}, {device_name(device)}, medians of {options.rounds} rounds")
    for critic in options.critic:
        for resolution in options.resolution:
            for width in options.width:
                config = make_config(
                    Path("none"), "modern", "wgan-gp", critic=critic, generator=GENERATORS[critic],
                    resolution=resolution, width=width, critic_width=width, batch=options.batch,
                    precision=options.precision, device=device.type, mirror=False, colour=0.0,
                    translation=0.0, n_critic=options.critic_steps,
                )  # fmt: skip
                if options.memory_of is not None:
                    print_memory(Case(config, device), options.memory_of)
                else:
                    measure(config, device, options)


if __name__ == "__main__":
    main()
