"""Where a training's cycle goes: milliseconds of processor time of each of its parts, on one thread.

    python -m benchmarks.cycle [--resolution 64 128] [--precision float32 bf16] [--rounds 9]

Of a seeing critic and a gated generator of the default widths, batch 16. What `trainer fit` does with one
batch is done here part by part, each timed by itself, and beside their sum stands a whole cycle of the
trainer's own. Prints a table in Markdown of medians. Time that other processes take does not count.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch

from trainer.config import make_config
from trainer.memory import keep_freed_memory
from trainer.nets.vision import Views
from trainer.training.objectives import interpolate, penalty_tangents, slopes_at
from trainer.training.step import FakesDraw, constant, update_averages
from trainer.training.training import Training
from trainer.training.weights import Weights, widened_all

PICTURES = 256
CACHE_GB = 0.2
WHOLE = "a whole cycle"


class Parts:
    """One cycle after another, part by part."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.taken: dict[str, list[float]] = {}
        autocast = training.task.autocast
        self.generator = Weights(training.networks.generator, autocast)
        self.critic = Weights(training.networks.critic, autocast)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.taken.setdefault(name, []).append(time.process_time() - started)

    def cycle(self) -> None:
        """The arithmetic of `Training.run_staged`, in pieces."""
        training = self.training
        networks, task, batch = training.networks, training.task, training.config.batch
        draw = FakesDraw(torch.randn(batch, training.config.latent_size), torch.empty(0), torch.rand(2))
        with self.timed("photographs: drawn, and what was seen of them unpacked"):
            chosen = torch.randint(0, PICTURES, (batch,))
            reals = training.photographs.views(chosen, training.rng, lambda images: images)
        with self.timed("generator, forward"), task.autocast():
            self.generator.refresh()
            pictures = self.generator(draw.latents)
        leaf = pictures.detach().requires_grad_()
        with self.timed("frozen network and projection, forward"), task.autocast():
            fakes = networks.vision(leaf, draw.offset)
        with self.timed("heads: loss, penalty and their gradients"):
            training.arithmetic.critic(reals, constant(fakes), torch.rand(batch))
        with self.timed("… of it the penalty"):
            self._penalty(reals, constant(fakes))
        with self.timed("heads: Adam"):
            _step(training.critic_optimiser, networks.critic)
        with self.timed("heads: gradient by the views"):
            by_views, _ = training.arithmetic.views(constant(fakes))
        with self.timed("frozen network and projection, backward"):
            (by_picture,) = torch.autograd.grad(fakes, leaf, by_views)
        with self.timed("generator, backward"):
            widened_all(torch.autograd.grad(pictures, self.generator.tensors, by_picture))
        with self.timed("generator: Adam"):
            _step(training.generator_optimiser, networks.generator)
        with self.timed("averages of both"):
            pairs = (
                (networks.generator_average, networks.generator),
                (networks.critic_average, networks.critic),
            )
            update_averages(pairs, 0.01)

    def _penalty(self, reals: Views, fakes: Views) -> None:
        task = self.training.task
        self.critic.refresh()
        with task.autocast():
            points = interpolate(reals, fakes, torch.rand(len(reals[0])))
            slopes, by_views = slopes_at(self.critic, points, task.lengths)
        tangents = penalty_tangents(slopes, by_views, task.lengths, task.objective.penalty_weight)
        torch.autograd.grad(by_views, self.critic.tensors, tangents, allow_unused=True)


def _step(optimiser: torch.optim.Optimizer, network: torch.nn.Module) -> None:
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    optimiser.step()


def measure(resolution: int, precision: str, rounds: int) -> dict[str, float]:
    """Medians in milliseconds, by part."""
    config = make_config(
        Path("none"), "modern", "wgan-gp", resolution=resolution, precision=precision, device="cpu",
        cache_gb=CACHE_GB,
    )  # fmt: skip
    rng = torch.Generator().manual_seed(0)
    size = (PICTURES, 3, resolution, resolution)
    training = Training(config, torch.randint(0, 256, size, dtype=torch.uint8, generator=rng))
    training.keep_looks(show=False)
    parts = Parts(training)
    for number in range(rounds + 1):
        parts.cycle()
        with parts.timed(WHOLE):
            training.cycle()
        if not number:
            parts.taken.clear()  # the first one pays for what is made once
    return {name: 1e3 * median(times) for name, times in parts.taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--resolution", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--precision", nargs="+", choices=("float32", "bf16"), default=["float32", "bf16"])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    columns = {
        f"{resolution} px, {precision}": measure(resolution, precision, options.rounds)
        for resolution in options.resolution
        for precision in options.precision
    }
    print(f"| | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    first, *_ = columns.values()
    for name in first:
        print(f"| {name} | {' | '.join(f'{column[name]:.1f}' for column in columns.values())} |")


if __name__ == "__main__":
    main()
