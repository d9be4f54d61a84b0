"""A training in memory: networks, optimisers, random numbers and counters, and one full cycle of steps."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config import FitConfig
from trainer.errors import UsageError
from trainer.nets.architecture import Architecture
from trainer.nets.networks import Critic, Generator
from trainer.pictures import BatchOrder, mirror, to_float
from trainer.training.augment import Augmentation, draw_numbers
from trainer.training.distributed import ALONE, Workers
from trainer.training.objectives import make_objective
from trainer.training.step import (
    CRITIC_STATISTICS,
    CriticDraw,
    Example,
    GeneratorDraw,
    Networks,
    Task,
    critic_step,
    eager,
    ema_decay,
    generator_step,
    update_average,
)


def choose_device(wanted: str) -> torch.device:
    """`auto` is the GPU where there is one. Raises UsageError where CUDA is asked for and missing."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no usable CUDA GPU; take --device cpu or auto.")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def architecture(config: FitConfig) -> Architecture:
    return Architecture(
        resolution=config.resolution,
        width=config.width,
        latent_size=config.latent_size,
        kind=config.kind,
        generator_norm=config.generator_norm,
        critic_norm=config.critic_norm,
    )


def decay(step: int, steps: int, share: float) -> float:
    """Factor of the learning rates: 1, then linear towards 0 over the last `share` of `steps`."""
    return min(1.0, (steps - step) / (share * steps)) if share else 1.0


@dataclass(frozen=True)
class TickStatistics:
    """Means over the samples since the last tick."""

    critic: dict[str, float]
    generator_loss: float


class Training:
    """Everything that changes while a training goes on; `trainer.training.state` saves and restores it."""

    def __init__(self, config: FitConfig, pictures: Tensor, workers: Workers = ALONE) -> None:
        """`pictures`: the training pictures as uint8 (n, 3, r, r) on the device that trains.

        Raises UsageError where the workers can't share a batch equally.
        """
        self.workers = workers
        self.share = workers.share(config.batch)
        self.config = config
        self.pictures = pictures
        self.device = pictures.device
        arch = architecture(config)
        torch.manual_seed(config.seed)
        generator, critic, ema, judge = Generator(arch), Critic(arch), Generator(arch), Critic(arch)
        ema.load_state_dict(generator.state_dict())
        judge.load_state_dict(critic.state_dict())
        for average in (ema, judge):
            average.requires_grad_(False).eval()
        for network in (generator, critic, ema, judge):
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.networks = Networks(generator, critic, ema, judge)
        self.objective = make_objective(
            config.objective,
            penalty_weight=config.penalty_weight,
            drift_weight=config.drift_weight,
            clip=config.clip,
        )
        augmentation = Augmentation(config.colour, config.translation)
        self.task = Task(self.objective, augmentation, self.autocast, joined=config.critic_norm != "batch")
        self.arithmetic = eager(self.networks, self.task)
        self.critic_optimiser = self._optimiser(critic, config.critic_lr)
        self.generator_optimiser = self._optimiser(generator, config.generator_lr)
        self.rng = torch.Generator(self.device).manual_seed(config.seed)
        self.order = BatchOrder(len(pictures), config.seed, self.device)
        self.setbacks = 0
        self.step = 0
        self.critic_sums = torch.zeros(len(CRITIC_STATISTICS), device=self.device)
        self.generator_sums = torch.zeros(1, device=self.device)
        self.summed_steps = 0

    def _optimiser(self, network: Generator | Critic, lr: float) -> torch.optim.Optimizer:
        if self.config.objective == "wgan":
            return torch.optim.RMSprop(network.parameters(), lr=lr)
        betas = (self.config.beta1, self.config.beta2)
        return torch.optim.Adam(network.parameters(), lr=lr, betas=betas, fused=True)

    def set_back(self, setbacks: int) -> None:
        """Take the learning rates and the order of the data that belong to the n-th start."""
        self.setbacks = setbacks
        self.order = BatchOrder(len(self.pictures), self.config.seed + 7_919 * setbacks, self.device)

    def _set_learning_rates(self) -> None:
        """A function of the step and the setbacks, so that a resume has nothing to remember."""
        config = self.config
        factor = config.setback_lr**self.setbacks * decay(self.step, config.steps, config.lr_decay)
        for optimiser, lr in (
            (self.critic_optimiser, config.critic_lr),
            (self.generator_optimiser, config.generator_lr),
        ):
            for group in optimiser.param_groups:
                group["lr"] = lr * factor

    def draw_anew(self) -> None:
        """Other random numbers from here on, so that a restored state does not meet the same fate."""
        self.rng.manual_seed(self.config.seed + 104_729 * (self.setbacks + 1) + self.step)

    @property
    def images_seen(self) -> int:
        """Pictures the generator's updates have made: the unit of the average's half-life."""
        return self.step * self.config.batch

    def autocast(self) -> AbstractContextManager[object]:
        """bf16 on a GPU, unless float32 is asked for; the penalty's norm is taken in float32 all the same."""
        wanted = self.config.precision
        if wanted == "bf16" or (wanted == "auto" and self.device.type == "cuda"):
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def cycle(self) -> None:
        """`n_critic` critic steps, one generator step and one step of the averages."""
        config = self.config
        self._set_learning_rates()
        self.networks.generator.train()
        self.networks.critic.train()
        for k in range(config.n_critic):
            critic_step(
                self.networks,
                self.critic_optimiser,
                self.task,
                self.arithmetic,
                self.reals(self.step * config.n_critic + k),
                self._draw_critic(),
                sums=self.critic_sums,
                workers=self.workers,
            )
        generator_step(
            self.networks,
            self.generator_optimiser,
            self.arithmetic,
            GeneratorDraw(self._latents(), self._numbers()),
            sums=self.generator_sums,
            workers=self.workers,
        )
        self.step += 1
        self.summed_steps += 1
        decay = ema_decay(config.batch, self.images_seen, config.ema_half_life, config.ema_ramp)
        update_average(self.networks.ema, self.networks.generator, decay)
        update_average(self.networks.judge, self.networks.critic, decay)

    def example(self) -> Example:
        """A batch of this training's sizes and memory layout, drawn without touching its random numbers."""
        rng = torch.Generator(self.device).manual_seed(0)
        rows = self.share.stop - self.share.start
        latents = torch.randn(rows, self.config.latent_size, generator=rng, device=self.device)
        epsilon = torch.rand(rows, generator=rng, device=self.device)
        numbers = draw_numbers(rows, rng, self.device)
        chosen = torch.randint(len(self.pictures), (rows,), generator=rng, device=self.device)
        reals = to_float(self.pictures[chosen]).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), self.autocast():
            fakes = self.networks.generator.eval()(latents).to(reals.dtype)
        augment = self.task.augmentation
        return Example(
            augment(reals, numbers), augment(fakes, numbers), epsilon, GeneratorDraw(latents, numbers)
        )

    def statistics(self) -> TickStatistics:
        """Read the means since the last `take_statistics` back from the device."""
        shown = max(1, self.summed_steps * self.config.batch)
        critic = (self.critic_sums / (shown * self.config.n_critic)).tolist()
        generator_loss = (self.generator_sums / shown).item()
        return TickStatistics(dict(zip(CRITIC_STATISTICS, critic, strict=True)), generator_loss)

    def take_statistics(self) -> TickStatistics:
        """The means since the last call, and start anew: the one sync of a tick."""
        statistics = self.statistics()
        self.critic_sums.zero_()
        self.generator_sums.zero_()
        self.summed_steps = 0
        return statistics

    # whatever is random is drawn for the whole batch, and each worker takes its share
    def reals(self, update: int) -> Tensor:
        """The photographs (n, 3, r, r) in [-1, 1] of the critic's `update`-th update, mirrored by chance."""
        batch = self.config.batch
        images = to_float(self.pictures[self.order.indices(update * batch, batch)[self.share]])
        if self.config.mirror:
            flags = torch.rand(batch, generator=self.rng, device=self.device) < 0.5
            images = mirror(images, flags[self.share])
        return images.contiguous(memory_format=torch.channels_last)

    def _draw_critic(self) -> CriticDraw:
        epsilon = torch.rand(self.config.batch, generator=self.rng, device=self.device)
        return CriticDraw(self._latents(), epsilon[self.share], self._numbers(), self._numbers())

    def _latents(self) -> Tensor:
        size = (self.config.batch, self.config.latent_size)
        return torch.randn(size, generator=self.rng, device=self.device)[self.share]

    def _numbers(self) -> Tensor:
        return draw_numbers(self.config.batch, self.rng, self.device)[self.share]
