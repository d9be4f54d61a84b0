"""What a GPU makes of a training cycle: naive, ours, compiled, captured; in turn, medians of whole cycles.

    python -m benchmarks.gpu [--critic plain seeing] [--resolution 64 128 256] [--batch 16 64 128]
                             [--rounds 5] [--seconds 150] [--compile-first] [--device cuda]

Prints a table in Markdown: pictures/s, the ratio to the naive step in float32 and to the naive step in bf16,
share of the bf16 peak measured in the same run, idle time between kernels, memory. What fails is named, and
the rest goes on; what doesn't fit into --seconds is left out with a word. `benchmarks/gpu.sh check` runs it.
On a CPU (`--device cpu`) it shows that it works: a cycle is staged and run in the same way, without a graph.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.step import GENERATORS, Case, Flops, matrix_peak, say, seconds
from trainer.config import FitConfig, make_config
from trainer.device import choose_device, device_name
from trainer.training.compiled import compile_gradients
from trainer.training.graph import captured
from trainer.training.training import Training

CYCLES = 5
"""In one timing."""
PICTURES = 256


def naive(config: FitConfig, device: torch.device) -> Callable[[], object]:
    """A cycle of the step that most public repositories have."""
    steps = Case(config, device).naive()

    def cycle() -> None:
        steps.critic()
        steps.generator()

    return cycle


def ours(config: FitConfig, device: torch.device, *, compiled: bool, graph: bool) -> Callable[[], object]:
    rng = torch.Generator().manual_seed(0)
    shape = (PICTURES, config.resolution, config.resolution, 3)
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng).to(device)
    training = Training(config, pictures.permute(0, 3, 1, 2), staged=True)
    training.keep_looks(show=False)
    training.cycle()
    if compiled:
        training.arithmetic = compile_gradients(training.networks, training.task, training.example())
    if graph and device.type == "cuda":
        training.run = captured(training)
    return training.cycle


def variants(config: FitConfig, device: torch.device, compiled: bool) -> dict[str, Callable[[], object]]:
    """Each by its name; one that can't be made is told and left out."""
    rounded = replace(config, precision="bf16")
    makers: dict[str, Callable[[], Callable[[], object]]] = {
        "naive, float32": lambda: naive(config, device),
        "naive, bf16": lambda: naive(rounded, device),
        "ours, float32": lambda: ours(config, device, compiled=False, graph=False),
        "ours, bf16": lambda: ours(rounded, device, compiled=False, graph=False),
        "ours, bf16, graph": lambda: ours(rounded, device, compiled=False, graph=True),
    }
    if compiled:
        makers["ours, bf16, compiled"] = lambda: ours(rounded, device, compiled=True, graph=False)
        makers["ours, bf16, compiled, graph"] = lambda: ours(rounded, device, compiled=True, graph=True)
    made = {}
    for name, make in makers.items():
        try:
            made[name] = make()
            made[name]()
        except Exception as error:  # noqa: BLE001 (a GPU is borrowed for minutes: the other rows still count)
            made.pop(name, None)
            say(f"FAILED {describe(config)}, {name}: {str(error).strip().splitlines()[0][:300]}")
    return made


def describe(config: FitConfig) -> str:
    return f"{config.critic}, {config.resolution} px, batch {config.batch}"


def idle_share(cycle: Callable[[], object], device: torch.device) -> float | None:
    """Share of the time in which no kernel runs; None on a CPU."""
    if device.type != "cuda":
        return None
    from torch._C._autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        for _ in range(CYCLES):
            cycle()
        torch.cuda.synchronize()
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in trace.events() or ()
        if event.device_type == DeviceType.CUDA
    )
    if not spans:
        return None
    busy, end = 0.0, spans[0][0]
    for first, last in spans:
        busy += max(0.0, last - max(first, end))
        end = max(end, last)
    return float(1.0 - busy / (end - spans[0][0]))


def measure(config: FitConfig, device: torch.device, rounds: int, peak: float, compiled: bool) -> None:
    """The rows of one shape."""
    made = variants(config, device, compiled)
    taken: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, cycle in made.items():
            taken[name].append(seconds(lambda cycle=cycle: [cycle() for _ in range(CYCLES)], device) / CYCLES)  # type: ignore[misc]
    medians = {name: statistics.median(times) for name, times in taken.items()}
    plain, rounded = medians.get("naive, float32"), medians.get("naive, bf16")
    operations = 0
    if "ours, float32" in made:
        with Flops() as counted:
            made["ours, float32"]()
        operations = counted.total
    for name, time_ in medians.items():
        idle = idle_share(made[name], device)
        memory = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
        print(
            f"| {describe(config)} | {name} | {config.batch / time_:,.0f} "
            f"| {f'{plain / time_:.2f}' if plain else ''} | {f'{rounded / time_:.2f}' if rounded else ''} "
            f"| {operations / time_ / peak:.1%} | {'' if idle is None else f'{idle:.1%}'} | {memory:,.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--critic", nargs="+", choices=GENERATORS, default=list(GENERATORS))
    parser.add_argument("--resolution", nargs="+", type=int, default=[64, 128, 256])
    parser.add_argument("--batch", nargs="+", type=int, default=[16, 64, 128])
    parser.add_argument("--width", type=int, help="Channels at 4 px; by default as the resolution wants.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--compile-first", action="store_true", help="Compile the first shape as well.")
    options = parser.parse_args()
    started = time.monotonic()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    device = choose_device(options.device)
    peak = matrix_peak(device, torch.bfloat16)
    print(f"torch {torch.__version__}, {device_name(device)}, bf16 peak {peak / 1e12:.3g} TFLOP/s, "
          f"medians of {options.rounds} times {CYCLES} cycles\n")  # fmt: skip
    print("| shape | variant | pictures/s | to naive float32 | to naive bf16 | share of peak | idle | MiB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    shapes = itertools.product(options.resolution, options.batch, options.critic)
    for number, (resolution, batch, critic) in enumerate(shapes):
        config = make_config(
            Path("none"), "modern", "wgan-gp", critic=critic, generator=GENERATORS[critic],
            resolution=resolution, batch=batch, precision="float32", device=device.type, mirror=False,
            **({"width": options.width} if options.width else {}),
        )  # fmt: skip
        if time.monotonic() - started > options.seconds:
            say(f"LEFT OUT {describe(config)}: the time is up")
            continue
        measure(config, device, options.rounds, peak, options.compile_first and number == 0)
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
