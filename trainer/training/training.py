"""A training in memory: networks, optimisers, random numbers and counters, and one full cycle of steps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config import FitConfig
from trainer.device import rounds_well
from trainer.nets.critic import Critic
from trainer.nets.generator import Generator, make_generator
from trainer.nets.vision import CALIBRATED_ON, PretrainedVision, Vision, make_vision
from trainer.pictures import BatchOrder, to_float
from trainer.training.augment import Augmentation, draw_numbers
from trainer.training.distributed import ALONE, Workers
from trainer.training.objectives import make_objective
from trainer.training.photographs import Photographs
from trainer.training.step import (
    CRITIC_STATISTICS,
    Example,
    FakesDraw,
    Networks,
    Task,
    critic_step,
    eager,
    ema_decay,
    generator_step,
    update_averages,
)

SHOWN_PER_LOOK = 5
"""How often a kept look has to be used, at least, to be worth having."""


def decay(step: int, steps: int, share: float, time_used: float = 0.0) -> float:
    """Factor of the learning rates: 1, then linear towards 0 over the last `share` of `steps`, or of the
    time, of which the part `time_used` is gone: of whichever ends sooner."""
    if not share:
        return 1.0
    return min(1.0, (steps - step) / (share * steps), max(0.0, 1.0 - time_used) / share)


def computes_in_bf16(config: FitConfig, device: torch.device) -> bool:
    """Whether it is asked for, or by itself where the device has a bf16 of its own; on a CPU small plain
    networks are quicker without."""
    if config.precision != "auto":
        return config.precision == "bf16"
    return rounds_well(device) and (device.type != "cpu" or config.critic == "seeing")


@dataclass(frozen=True)
class TickStatistics:
    """Means over the samples since the last tick."""

    critic: dict[str, float]
    """Means over the critic's heads."""
    heads: dict[str, dict[str, float]]
    """Of each head, where there are several."""
    generator_loss: float

    @property
    def finite(self) -> bool:
        """Whether they are numbers still; once one isn't, none ever is again."""
        return all(map(math.isfinite, (*self.critic.values(), self.generator_loss)))


class Training:
    """Everything that changes while a training goes on; `trainer.training.state` saves and restores it."""

    def __init__(
        self,
        config: FitConfig,
        pictures: Tensor,
        workers: Workers = ALONE,
        *,
        vision: Vision | None = None,
        staged: bool | None = None,
    ) -> None:
        """`pictures`: the training pictures as uint8 (n, 3, r, r) on the device that trains.

        `vision` is one that was calibrated before, in place of one of its own. `staged` keeps learning
        rates and the average's decay in tensors, as a captured graph wants them; by default on a GPU.
        Raises UsageError where the workers can't share a batch equally, TrainerError where pretrained
        weights are missing.
        """
        self.workers = workers
        self.config = config
        self.device = pictures.device
        self.staged = self.device.type == "cuda" if staged is None else staged
        self.networks = networks = _fresh_networks(config, pictures, vision)
        self.objective = make_objective(
            config.objective,
            penalty_weight=config.penalty_weight,
            drift_weight=config.drift_weight,
            clip=config.clip,
        )
        self.task = Task(
            self.objective,
            Augmentation(config.colour, config.translation),
            self._of_heads(networks.vision.head_weights),
            self._of_heads(networks.vision.lengths(config.resolution)),
            self.autocast,
            joined=config.critic_norm != "batch",
        )
        self.arithmetic = eager(networks, self.task)
        self.critic_optimiser = self._optimiser(networks.critic, config.critic_lr)
        self.generator_optimiser = self._optimiser(networks.generator, config.generator_lr)
        self.rng = torch.Generator(self.device).manual_seed(config.seed)
        self.photographs = Photographs(
            pictures,
            networks.vision,
            batch=config.batch,
            seed=config.seed,
            mirrored=config.mirror,
            autocast=self.autocast,
            workers=workers,
        )
        self.setbacks = 0
        self.step = 0
        self.seconds = 0.0
        """Spent on this training where its time is limited, all of it: looks, saving and earlier parts."""
        heads = len(networks.critic.head_names)
        self.critic_sums = torch.zeros(len(CRITIC_STATISTICS), heads, device=self.device)
        self.generator_sums = torch.zeros(1, device=self.device)
        self.summed_steps = 0
        # what a cycle takes from outside, filled in place: a captured graph goes on reading it
        self._indices = torch.zeros(config.n_critic, config.batch, dtype=torch.long, device=self.device)
        self._share: float | Tensor = torch.zeros((), device=self.device) if self.staged else 0.0
        self.run: Callable[[], None] = self.run_staged
        """A cycle on what `stage` has laid out; `trainer.training.graph` puts a captured one in its place."""

    def _of_heads(self, values: tuple[float, ...]) -> Tensor | None:
        return torch.tensor(values, device=self.device) if set(values) != {1.0} else None

    def _optimiser(self, network: Generator | Critic, lr: float) -> torch.optim.Optimizer:
        rate = torch.tensor(lr, device=self.device) if self.staged else lr
        capturable = self.staged and self.device.type == "cuda"
        if self.config.objective == "wgan":
            return torch.optim.RMSprop(network.parameters(), lr=rate, capturable=capturable)
        betas = (self.config.beta1, self.config.beta2)
        return torch.optim.Adam(network.parameters(), lr=rate, betas=betas, fused=True, capturable=capturable)

    def keep_looks(self, show: bool = True) -> int:
        """Look at the photographs ahead, where settings and length of the run allow; returns how often at
        each."""
        config = self.config
        if config.colour or config.translation:
            return 0
        shown = config.steps * config.n_critic * config.batch / len(self.photographs.pictures)
        return self.photographs.keep_looks(
            config.cache_gb / self.workers.size, most=int(shown / SHOWN_PER_LOOK), show=show
        )

    def set_back(self, setbacks: int) -> None:
        """Take the learning rates and the order of the data that belong to the n-th start."""
        self.setbacks = setbacks
        pictures, seed = self.photographs.pictures, self.config.seed + 7_919 * setbacks
        self.photographs.order = BatchOrder(len(pictures), seed, self.device)

    def draw_anew(self) -> None:
        """Other random numbers from here on, a function of seed, setbacks and step.

        So that a restored state does not meet the same fate, or where another device draws others anyway.
        """
        self.rng.manual_seed(self.config.seed + 104_729 * (self.setbacks + 1) + self.step)

    @property
    def images_seen(self) -> int:
        """Pictures the generator's updates have made: the unit of the average's half-life."""
        return self.step * self.config.batch

    @property
    def time_used(self) -> float:
        """The part of the time that is gone; 0 where none is set."""
        return self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0

    @property
    def time_left(self) -> float:
        """Seconds; infinite where no time is set."""
        limit = self.config.minutes
        return max(0.0, 60 * limit - self.seconds) if limit else math.inf

    @property
    def done(self) -> bool:
        """Whether the last step has been made, or the time is up."""
        return self.step >= self.config.steps or self.time_used >= 1.0

    def autocast(self) -> AbstractContextManager[object]:
        """Of bf16, where it is computed in; what would suffer is in float32 all the same."""
        if computes_in_bf16(self.config, self.device):
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def cycle(self) -> None:
        """`n_critic` critic steps, one generator step and one step of the averages."""
        self.stage()
        self.run()

    def stage(self) -> None:
        """Lay out what the next cycle takes from outside the device: indices, learning rates, counters."""
        config = self.config
        self._set_learning_rates()
        shown = self.step * config.n_critic * config.batch
        for k in range(config.n_critic):
            self._indices[k].copy_(self.photographs.order.indices(shown + k * config.batch, config.batch))
        self.step += 1
        self.summed_steps += 1
        share = 1.0 - ema_decay(config.batch, self.images_seen, config.ema_half_life, config.ema_ramp)
        if isinstance(self._share, Tensor):
            self._share.fill_(share)
        else:
            self._share = share

    def run_staged(self) -> None:
        """A cycle on what `stage` has laid out: tensors only. The last critic step's fakes teach the
        generator."""
        networks = self.networks
        networks.generator.train()
        networks.critic.train()
        for k, indices in enumerate(self._indices):
            last = k + 1 == self.config.n_critic
            reals = self.photographs.views(indices, self.rng, self._augment)
            with contextlib.nullcontext() if last else torch.no_grad():
                fakes = self.arithmetic.fakes(self._draw_fakes())
            critic_step(
                networks,
                self.critic_optimiser,
                self.task,
                self.arithmetic,
                reals,
                fakes,
                self._rand(self.config.batch)[self.photographs.share],
                sums=self.critic_sums,
                workers=self.workers,
            )
        generator_step(
            networks,
            self.generator_optimiser,
            self.arithmetic,
            fakes,
            sums=self.generator_sums,
            workers=self.workers,
        )
        averages = (
            (networks.generator_average, networks.generator),
            (networks.critic_average, networks.critic),
        )
        update_averages(averages, self._share)

    def _set_learning_rates(self) -> None:
        """A function of the step, the setbacks and, where time is limited, the time that was spent."""
        config = self.config
        factor = config.setback_lr**self.setbacks * decay(
            self.step, config.steps, config.lr_decay, self.time_used
        )
        for optimiser, lr in (
            (self.critic_optimiser, config.critic_lr),
            (self.generator_optimiser, config.generator_lr),
        ):
            for group in optimiser.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(lr * factor)
                else:
                    group["lr"] = lr * factor

    def example(self) -> Example:
        """A batch of this training's sizes and memory layout, drawn without touching its random numbers."""
        rng = torch.Generator(self.device).manual_seed(0)
        batch, share, device = self.config.batch, self.photographs.share, self.device
        count = len(self.photographs.pictures)
        chosen = torch.randint(count, (batch,), generator=rng, device=device)
        latents = torch.randn(batch, self.config.latent_size, generator=rng, device=device)[share]
        draw = FakesDraw(
            latents,
            draw_numbers(batch, rng, device)[share],
            torch.rand(2, generator=rng, device=device),
        )
        epsilon = torch.rand(batch, generator=rng, device=device)[share]
        return Example(self.photographs.views(chosen, rng, lambda images: images), draw, epsilon)

    def statistics(self) -> TickStatistics:
        """Read the means since the last `take_statistics` back from the device."""
        shown = max(1, self.summed_steps * self.config.batch)
        means = (self.critic_sums / (shown * self.config.n_critic)).cpu()
        names = self.networks.critic.head_names
        heads = {
            name: dict(zip(CRITIC_STATISTICS, column.tolist(), strict=True))
            for name, column in zip(names, means.T, strict=True)
        }
        return TickStatistics(
            dict(zip(CRITIC_STATISTICS, means.mean(1).tolist(), strict=True)),
            heads if len(heads) > 1 else {},
            (self.generator_sums / shown).item(),
        )

    def take_statistics(self) -> TickStatistics:
        """The means since the last call, and start anew: the one sync of a tick."""
        statistics = self.statistics()
        self.critic_sums.zero_()
        self.generator_sums.zero_()
        self.summed_steps = 0
        return statistics

    # whatever is random is drawn for the whole batch, and each worker takes its share
    def _draw_fakes(self) -> FakesDraw:
        size = (self.config.batch, self.config.latent_size)
        latents = torch.randn(size, generator=self.rng, device=self.device)
        share = self.photographs.share
        return FakesDraw(latents[share], self._numbers(), self._rand(2))

    def _augment(self, images: Tensor) -> Tensor:
        return self.task.augmentation(images, self._numbers())

    def _rand(self, count: int) -> Tensor:
        return torch.rand(count, generator=self.rng, device=self.device)

    def _numbers(self) -> Tensor:
        if not self.task.augmentation.active:
            return torch.empty(0, device=self.device)
        return draw_numbers(self.config.batch, self.rng, self.device)[self.photographs.share]


def _fresh_networks(config: FitConfig, pictures: Tensor, vision: Vision | None) -> Networks:
    """By the seed, on the pictures' device; the averages begin as what they are of."""
    arch = config.architecture
    torch.manual_seed(config.seed)
    networks = Networks(
        make_generator(arch.generator),
        Critic(arch.critic),
        make_generator(arch.generator),
        Critic(arch.critic),
        vision or _calibrated(config, pictures),
    )
    networks.vision.head_weights = config.head_weights or networks.vision.head_weights
    for average, network in (
        (networks.generator_average, networks.generator),
        (networks.critic_average, networks.critic),
    ):
        average.load_state_dict(network.state_dict())
        average.requires_grad_(False).eval()
    for network in vars(networks).values():
        network.to(pictures.device, memory_format=torch.channels_last)
    return networks


def _calibrated(config: FitConfig, pictures: Tensor) -> Vision:
    """The critic's eyes, set by some of the training pictures."""
    vision = make_vision(config.critic, config.seed)
    if isinstance(vision, PretrainedVision):
        rng = torch.Generator().manual_seed(config.seed)
        chosen = torch.randperm(len(pictures), generator=rng)[:CALIBRATED_ON]
        vision.to(pictures.device)
        photographs = to_float(pictures[chosen.to(pictures.device)])
        if len(photographs) == 1:  # nothing lies apart from it but its mirror image
            photographs = torch.cat([photographs, photographs.flip(3)])
        vision.calibrate(photographs)
    return vision
