"""One critic step and one generator step: the arithmetic a training spends its life on.

Knows nothing of files, the terminal or where pictures come from. Nothing is read back from the device here:
statistics are summed on it, and read once a tick.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.augment import Augmentation
from trainer.distributed import ALONE, Workers
from trainer.networks import Critic, Generator
from trainer.objectives import Objective, clip_weights, gradient_penalty, interpolate

CRITIC_STATISTICS = ("critic_loss", "wasserstein", "penalty", "score_real", "score_fake")
"""Columns of a critic step's sums; `wasserstein` is E[f(real)] - E[f(fake)]."""


@dataclass
class Networks:
    """The three networks of a training; `ema` is what is sampled and shipped."""

    generator: Generator
    critic: Critic
    ema: Generator


@dataclass(frozen=True)
class CriticDraw:
    """Everything random in one critic step, drawn ahead: latents (n, z), ε (n,), numbers of augmentation."""

    latents: Tensor
    epsilon: Tensor
    real_numbers: Tensor
    fake_numbers: Tensor


@dataclass(frozen=True)
class GeneratorDraw:
    """Everything random in one generator step."""

    latents: Tensor
    numbers: Tensor


def critic_step(
    networks: Networks,
    optimiser: torch.optim.Optimizer,
    objective: Objective,
    augmentation: Augmentation,
    reals: Tensor,
    draw: CriticDraw,
    *,
    autocast: AbstractContextManager[object],
    penalty_factor: float,
    sums: Tensor,
    workers: Workers = ALONE,
) -> None:
    """Update the critic once on `reals` (n, 3, r, r) in [-1, 1] and add its statistics to `sums` (5,).

    Reals and fakes are augmented alike; interpolates and the gradient are taken at the critic's own input,
    as a one-centred penalty needs. `penalty_factor` scales λ (0 skips the penalty, k for one in k steps).
    """
    count = reals.shape[0]
    with autocast:
        with torch.no_grad():
            fakes = augmentation(networks.generator(draw.latents), draw.fake_numbers).to(reals.dtype)
            reals = augmentation(reals, draw.real_numbers)
        real_scores, fake_scores = _score_both(networks.critic, reals, fakes)
        loss = objective.critic_loss(real_scores, fake_scores).mean()
        penalty = torch.zeros((), device=reals.device)
        if objective.penalty_weight and penalty_factor:
            penalty = gradient_penalty(networks.critic, interpolate(reals, fakes, draw.epsilon)).mean()
            loss = loss + objective.penalty_weight * penalty_factor * penalty
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    with torch.no_grad():
        real_mean, fake_mean = real_scores.mean(), fake_scores.mean()
        row = torch.stack([loss, real_mean - fake_mean, penalty * penalty_factor, real_mean, fake_mean])
        sums.add_(workers.average(_gradients(networks.critic), row), alpha=count * workers.size)
    optimiser.step()
    if objective.clip is not None:
        clip_weights([parameter.data for parameter in networks.critic.parameters()], objective.clip)


def _score_both(critic: Critic, reals: Tensor, fakes: Tensor) -> tuple[Tensor, Tensor]:
    """Scores in float32, in one forward; with batch norm (DCGAN) in two, each of one kind."""
    if critic.arch.critic_norm == "batch":
        return critic(reals).float(), critic(fakes).float()
    real, fake = critic(torch.cat([reals, fakes])).float().split([len(reals), len(fakes)])
    return real, fake


def generator_step(
    networks: Networks,
    optimiser: torch.optim.Optimizer,
    objective: Objective,
    augmentation: Augmentation,
    draw: GeneratorDraw,
    *,
    autocast: AbstractContextManager[object],
    sums: Tensor,
    workers: Workers = ALONE,
) -> None:
    """Update the generator once and add its summed loss to `sums` (1,). The critic is frozen meanwhile."""
    networks.critic.requires_grad_(False)
    with autocast:
        fakes = augmentation(networks.generator(draw.latents), draw.numbers)
        loss = objective.generator_loss(networks.critic(fakes).float()).mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    with torch.no_grad():
        row = workers.average(_gradients(networks.generator), loss.detach().reshape(1))
        sums.add_(row, alpha=draw.latents.shape[0] * workers.size)
    optimiser.step()
    networks.critic.requires_grad_(True)


def _gradients(network: Generator | Critic) -> list[Tensor]:
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def ema_decay(batch: int, images_seen: int, half_life: float, ramp: float) -> float:
    """Share of the old average that stays after a batch, by a half-life in images (Karras et al. 2020).

    The half-life is at most `ramp` times the images seen, so that the first noise is soon forgotten;
    0 stands for no averaging.
    """
    effective = min(half_life, images_seen * ramp) if ramp else half_life
    return 0.5 ** (batch / effective) if effective > 0 else 0.0


@torch.no_grad()
def update_ema(ema: Generator, generator: Generator, decay: float) -> None:
    """Move the average's parameters towards the generator's; copy its buffers."""
    averaged = [parameter.detach() for parameter in ema.parameters()]
    current = [parameter.detach() for parameter in generator.parameters()]
    torch._foreach_lerp_(averaged, current, 1.0 - decay)
    _copy(ema.buffers(), generator.buffers())


def _copy(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
