"""Our training step against the naive one, from the same networks and the same weights, in turn.

    python -m benchmarks.step [--device cpu|cuda] [--kind plain residual] [--resolution 32 64 …]
                              [--width 16 32] [--batch 32] [--rounds 9] [--precision float32|bf16] [--compile]

Prints tables in Markdown. 'Naive' is the step of `benchmarks.naive`; a cycle is five critic steps and one
generator step. Every round runs each variant once, so that a machine that slows down slows all of them; what
is printed are medians, and ratios of medians. Peak memory is that of a process of its own for each variant.
The matrix peak is measured in the same run. Augmentation is off on both sides.
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

from benchmarks.naive import NaiveStep
from trainer.config import FitConfig, make_config
from trainer.training.bench import device_name
from trainer.training.compiled import compile_arithmetic
from trainer.training.step import Arithmetic, CriticDraw, GeneratorDraw, critic_step, generator_step
from trainer.training.training import Training, choose_device

CRITIC_STEPS = 5
PICTURES = 256
EQUAL_STEPS = 20
SMALL_WIDTH = 16


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
        self.training = Training(self.config, pictures.to(self.device).permute(0, 3, 1, 2))
        example = self.training.example()
        for network in (self.training.networks.generator, self.training.networks.critic):
            network.to(self.dtype)
        self.training.critic_sums = self.training.critic_sums.to(self.dtype)
        self.reals = example.reals.to(self.dtype)
        latents, numbers = example.generator.latents.to(self.dtype), example.generator.numbers
        self.draw = CriticDraw(latents, example.epsilon.to(self.dtype), numbers, numbers)
        self.generator_draw = GeneratorDraw(latents, numbers)

    def naive(self) -> Steps:
        networks = self.training.networks
        step = NaiveStep(networks.generator, networks.critic, self.config, self.training.autocast)
        reals = self.reals.contiguous()
        return Steps(
            lambda: step.critic_step(reals, self.draw), lambda: step.generator_step(self.generator_draw)
        )

    def ours(self, arithmetic: Arithmetic | None = None) -> Steps:
        training = self.training
        arithmetic = arithmetic or training.arithmetic
        return Steps(
            lambda: critic_step(
                training.networks,
                training.critic_optimiser,
                training.task,
                arithmetic,
                self.reals,
                self.draw,
                sums=training.critic_sums,
            ),
            lambda: generator_step(
                training.networks,
                training.generator_optimiser,
                arithmetic,
                self.generator_draw,
                sums=training.generator_sums,
            ),
        )

    def compiled(self) -> Steps:
        training = self.training
        example = training.example()
        return self.ours(
            compile_arithmetic(
                training.networks, training.task, CRITIC_STEPS, example, lambda text: say(text)
            )
        )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(call: Callable[[], object], device: torch.device) -> float:
    wait(device)
    started = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - started


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


def cycle(critic: float, generator: float) -> float:
    return CRITIC_STEPS * critic + generator


def flops(steps: Steps) -> int:
    """Operations of a full cycle."""
    with Flops() as critic:
        steps.critic()
    with Flops() as generator:
        steps.generator()
    return CRITIC_STEPS * int(critic.total) + int(generator.total)


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
        loss = case.training.critic_sums[0].item() / config.batch
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
    pipeline = statistics.median(seconds(lambda: case.training.reals(0), device) for _ in range(20))
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    peak = matrix_peak(device, dtype)
    found = medians(variants, options.rounds, device)
    work = {"naive": flops(variants["naive"]), "ours": flops(variants["ours"])}
    base = found["naive"]
    share = CRITIC_STEPS * pipeline / cycle(*found[list(found)[-1]])
    print(
        f"\n**{config.kind}, {config.resolution} px, width {config.width}, batch {config.batch}, "
        f"{config.precision}**: matrix peak {peak / 1e9:.0f} GFLOP/s; losses of {EQUAL_STEPS} steps differ "
        f"by {loss_difference(replace(config, precision='float32'), device):.1g} at most in float64; "
        f"drawing batches takes {share:.1%} of our quickest cycle"
    )
    print(
        "\n| variant | critic step | generator step | cycle | ratios to naive | images/s | GFLOP a cycle "
        "| share of peak | memory |\n|---|---|---|---|---|---|---|---|---|"
    )
    shape = ["--kind", config.kind, "--resolution", str(config.resolution), "--width", str(config.width)]
    same = [*shape, "--batch", str(config.batch), "--device", device.type, "--precision", config.precision]
    for name, (critic, generator) in found.items():
        whole = cycle(critic, generator)
        operations = work.get(name, work["ours"])
        memory = peak_memory(name, same) if name in work else 0.0
        print(
            f"| {name} | {critic * 1e3:.0f} ms | {generator * 1e3:.0f} ms | {whole * 1e3:.0f} ms "
            f"| {base[0] / critic:.2f}, {base[1] / generator:.2f}, **{cycle(*base) / whole:.2f}** "
            f"| {config.batch * CRITIC_STEPS / whole:.0f} | {operations / 1e9:.1f} "
            f"| {operations / whole / peak:.0%} | {f'{memory:.0f} MiB' if memory else ''} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--kind", nargs="+", choices=("plain", "residual"), default=["plain", "residual"])
    parser.add_argument("--resolution", nargs="+", type=int, default=[32, 64, 128, 256])
    parser.add_argument("--width", nargs="+", type=int, default=[SMALL_WIDTH, 32])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory-of", choices=("naive", "ours"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = choose_device(options.device)
    if options.memory_of is None:
        print(f"torch {torch.__version__}, {device_name(device)}, medians of {options.rounds} rounds")
    for kind in options.kind:
        for resolution in options.resolution:
            for width in options.width:
                config = make_config(
                    Path("none"), "modern", "wgan-gp", kind=kind, resolution=resolution, width=width,
                    batch=options.batch, precision=options.precision, device=device.type, mirror=False,
                    colour=0.0, translation=0.0, n_critic=CRITIC_STEPS,
                )  # fmt: skip
                if options.memory_of is not None:
                    print_memory(Case(config, device), options.memory_of)
                else:
                    measure(config, device, options)


if __name__ == "__main__":
    main()
