"""What a GPU makes of a training cycle: naive, ours, compiled, captured; in turn, medians of whole cycles.

    python -m benchmarks.gpu [--critic seeing plain] [--resolution 64 128 256] [--batch 64 16 128]
                             [--rounds 5] [--seconds 150] [--compile] [--kernels] [--device cuda]

Prints a table in Markdown: pictures/s, the ratio to the naive step in float32 and to the naive step in bf16,
share of the bf16 peak measured in the same run, idle time between kernels and between cycles, memory. What
fails is named, and the rest goes on; what doesn't fit into --seconds is left out with a word. What is
compiled comes last. `benchmarks/gpu.sh check` runs it.
On a CPU (`--device cpu`) it shows that it works: a cycle is staged and run in the same way, without a graph.
"""

import argparse
import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.step import GENERATORS, Case, Flops, matrix_peak, say, seconds
from trainer.config import FitConfig, make_config
from trainer.device import choose_device, device_name
from trainer.training.compiled import compile_gradients
from trainer.training.graph import captured
from trainer.training.training import Training

CYCLES = 3
"""In one timing."""
PICTURES = 256
KERNELS_SHOWN = 14
COLUMNS = (
    *("shape", "variant", "pictures/s", "to naive float32", "to naive bf16"),
    *("share of peak", "no kernel runs", "between cycles", "MiB"),
)


@dataclass
class Variant:
    """A way to run a cycle."""

    cycle: Callable[[], object]
    replay: Callable[[], object] | None = None
    """Of a captured one, without what stages it."""
    mebibytes: float = 0.0
    """Most that it took of the GPU's memory, beside what was there before."""


def naive(config: FitConfig, device: torch.device) -> Variant:
    """A cycle of the step that most public repositories have."""
    steps = Case(config, device).naive()

    def cycle() -> None:
        steps.critic()
        steps.generator()

    return Variant(cycle)


def ours(config: FitConfig, device: torch.device, *, compiled: bool, graph: bool) -> Variant:
    rng = torch.Generator().manual_seed(0)
    shape = (PICTURES, config.resolution, config.resolution, 3)
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng).to(device)
    training = Training(config, pictures.permute(0, 3, 1, 2), staged=True)
    training.keep_looks(show=False)
    training.cycle()
    if compiled:
        training.arithmetic = compile_gradients(training.networks, training.task, training.example())
    if not (graph and device.type == "cuda"):
        return Variant(training.cycle)
    training.run = captured(training)
    return Variant(training.cycle, training.run)


def variants(config: FitConfig, device: torch.device, compiled: bool) -> dict[str, Variant]:
    """Each by its name, what is compiled beside what isn't; one that can't be made is told and left out."""
    rounded = replace(config, precision="bf16")
    makers: dict[str, Callable[[], Variant]] = {
        "naive, float32": lambda: naive(config, device),
        "naive, bf16": lambda: naive(rounded, device),
        "ours, float32": lambda: ours(config, device, compiled=False, graph=False),
        "ours, bf16": lambda: ours(rounded, device, compiled=False, graph=False),
        "ours, bf16, graph": lambda: ours(rounded, device, compiled=False, graph=True),
    }
    if compiled:
        del makers["ours, float32"]
        makers["ours, bf16, compiled"] = lambda: ours(rounded, device, compiled=True, graph=False)
        makers["ours, bf16, compiled, graph"] = lambda: ours(rounded, device, compiled=True, graph=True)
    made = {}
    for name, make in makers.items():
        try:
            made[name] = _first_cycle(make, device)
        except Exception as error:  # noqa: BLE001 (a GPU is borrowed for minutes: the other rows still count)
            say(f"FAILED {describe(config)}, {name}: {str(error).strip().splitlines()[0][:300]}")
    return made


def _first_cycle(make: Callable[[], Variant], device: torch.device) -> Variant:
    """Made, run once, and its memory noted."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
    variant = make()
    variant.cycle()
    if device.type == "cuda":
        variant.mebibytes = (torch.cuda.max_memory_allocated() - before) / 2**20
    return variant


def describe(config: FitConfig) -> str:
    return f"{config.critic}, {config.resolution} px, batch {config.batch}"


def idle_share(cycle: Callable[[], object], device: torch.device) -> float | None:
    """Share of the time in which no kernel runs; None on a CPU."""
    if device.type != "cuda":
        return None
    spans = sorted((start, start + length) for _, start, length in kernels(cycle))
    if not spans:
        return None
    busy, end = 0.0, spans[0][0]
    for first, last in spans:
        busy += max(0.0, last - max(first, end))
        end = max(end, last)
    return float(1.0 - busy / (end - spans[0][0]))


def kernels(cycle: Callable[[], object]) -> list[tuple[str, int, int]]:
    """Name, start and length in nanoseconds of what runs on the GPU in CYCLES cycles."""
    from torch._C._autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        for _ in range(CYCLES):
            cycle()
        torch.cuda.synchronize()
    assert trace.profiler is not None
    # what `trace.events()` makes of them takes seconds
    found = trace.profiler.kineto_results.events()
    return [(e.name(), e.start_ns(), e.duration_ns()) for e in found if e.device_type() == DeviceType.CUDA]


def print_kernels(config: FitConfig, cycle: Callable[[], object]) -> None:
    """What takes the GPU's time, by kernel."""
    taken: dict[str, list[int]] = {}
    for name, _, length in kernels(cycle):
        taken.setdefault(name, []).append(length)
    whole = sum(map(sum, taken.values()))
    count = sum(map(len, taken.values())) // CYCLES
    print(
        f"\n{describe(config)}, captured, in bf16: {count} kernels, {whole / CYCLES / 1e6:.2f} ms a cycle\n"
    )
    for name, times in sorted(taken.items(), key=lambda item: -sum(item[1]))[:KERNELS_SHOWN]:
        print(f"- {sum(times) / whole:.1%}, {len(times) // CYCLES} times: `{name[:150]}`")
    print(flush=True)


def between_cycles(replay: Callable[[], object], cycle: Callable[[], object], device: torch.device) -> float:
    """Share of a captured cycle in which the GPU waits for the next one: by how much replays alone are
    quicker."""
    runs = range(4 * CYCLES)
    alone, whole = (
        min(seconds(lambda call=call: [call() for _ in runs], device) for _ in range(3))  # type: ignore[misc]
        for call in (replay, cycle)
    )
    return 1.0 - alone / whole


def measure(
    config: FitConfig, device: torch.device, rounds: int, peak: float, *, compiled: bool, listed: bool
) -> None:
    """The rows of one shape."""
    made = variants(config, device, compiled)
    taken: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, variant in made.items():
            runs = seconds(lambda cycle=variant.cycle: [cycle() for _ in range(CYCLES)], device)  # type: ignore[misc]
            taken[name].append(runs / CYCLES)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    plain, rounded = medians.get("naive, float32"), medians.get("naive, bf16")
    operations = 0
    if "ours, bf16" in made:
        with Flops() as counted:
            made["ours, bf16"].cycle()
        operations = counted.total
    for name, time_ in medians.items():
        variant = made[name]
        idle = idle_share(variant.cycle, device)
        waiting = between_cycles(variant.replay, variant.cycle, device) if variant.replay else None
        shares = " | ".join("" if share is None else f"{share:.1%}" for share in (idle, waiting))
        print(
            f"| {describe(config)} | {name} | {config.batch / time_:,.0f} "
            f"| {f'{plain / time_:.2f}' if plain else ''} | {f'{rounded / time_:.2f}' if rounded else ''} "
            f"| {operations / time_ / peak:.1%} | {shares} | {variant.mebibytes:,.0f} |",
            flush=True,
        )
    if listed and device.type == "cuda" and "ours, bf16, graph" in made:
        print_kernels(config, made["ours, bf16, graph"].cycle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--critic", nargs="+", choices=GENERATORS, default=["seeing", "plain"])
    parser.add_argument("--resolution", nargs="+", type=int, default=[64, 128, 256])
    parser.add_argument("--batch", nargs="+", type=int, default=[64, 16, 128])
    parser.add_argument("--width", type=int, help="Channels at 4 px; by default as the resolution wants.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument(
        "--compile", action="store_true", help="Of the first batch, compiled as well; at the end."
    )
    parser.add_argument("--kernels", action="store_true", help="List what takes the GPU's time.")
    options = parser.parse_args()
    started = time.monotonic()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    device = choose_device(options.device)
    peak = matrix_peak(device, torch.bfloat16)
    print(f"torch {torch.__version__}, {device_name(device)}, bf16 peak {peak / 1e12:.3g} TFLOP/s, "
          f"medians of {options.rounds} times {CYCLES} cycles\n")  # fmt: skip
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
    shapes = [
        (*shape, False) for shape in itertools.product(options.batch, options.critic, options.resolution)
    ]
    if options.compile:
        first = options.batch[:1]
        shapes += [(*shape, True) for shape in itertools.product(first, options.critic, options.resolution)]
    for batch, critic, resolution, compiled in shapes:
        config = make_config(
            Path("none"), "modern", "wgan-gp", critic=critic, generator=GENERATORS[critic],
            resolution=resolution, batch=batch, precision="float32", device=device.type, mirror=False,
            **({"width": options.width} if options.width else {}),
        )  # fmt: skip
        if time.monotonic() - started > options.seconds:
            say(f"LEFT OUT {describe(config)}{', compiled' if compiled else ''}: the time is up")
            continue
        measure(config, device, options.rounds, peak, compiled=compiled, listed=options.kernels)
        gc.collect()  # a training holds on to itself, and with that to its graph and its memory
        if device.type == "cuda":
            torch.cuda.empty_cache()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
