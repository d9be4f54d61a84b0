"""One critic step and one generator step: the arithmetic a training spends its life on.

Knows nothing of files, the terminal or where pictures come from. Nothing is read back from the device here:
statistics are summed on it, and read once a tick.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.nets.networks import Critic, Generator
from trainer.training.augment import Augmentation
from trainer.training.distributed import ALONE, Workers
from trainer.training.objectives import Objective, clip_weights, gradient_penalty, interpolate

Network = Callable[[Tensor], Tensor]
Gradients = tuple[Tensor, ...]
Autocast = Callable[[], AbstractContextManager[object]]

CRITIC_STATISTICS = ("critic_loss", "wasserstein", "penalty", "score_real", "score_fake")
"""Columns of a critic step's sums; `wasserstein` is E[f(real)] - E[f(fake)]."""


@dataclass
class Networks:
    """The networks of a training. What is sampled and shipped are the averages: `ema`, judged by `judge`."""

    generator: Generator
    critic: Critic
    ema: Generator
    """The generator's average."""
    judge: Critic
    """The critic's average. The latest critic pulls one way and soon another; pictures chosen by it differ
    from photographs the same way (docs/experiments.md)."""


@dataclass(frozen=True)
class Task:
    """What a step computes, apart from the networks and what is random."""

    objective: Objective
    augmentation: Augmentation
    autocast: Autocast = nullcontext
    joined: bool = True
    """Whether reals and fakes go through the critic together; batch norm (DCGAN) would mix them."""


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


@dataclass(frozen=True)
class Example:
    """One batch as the gradients get it, to time and compare them by; drawn apart from the training's own."""

    reals: Tensor
    fakes: Tensor
    epsilon: Tensor
    generator: GeneratorDraw


def critic_gradients(
    critic: Network,
    parameters: Sequence[Tensor],
    task: Task,
    reals: Tensor,
    fakes: Tensor,
    epsilon: Tensor,
) -> tuple[Gradients, Tensor]:
    """Gradients of the critic's mean loss by `parameters`, and its row of statistics (5,).

    `reals`, `fakes`: (n, 3, r, r) at the critic's own input, where a one-centred penalty needs its
    interpolates and its gradient; `epsilon` (n,). Has no effect but its result: it can be traced and timed.
    """
    objective = task.objective
    with task.autocast():
        real_scores, fake_scores = _score_both(critic, reals, fakes, task.joined)
        loss = objective.critic_loss(real_scores, fake_scores).mean()
        penalty = torch.zeros((), device=reals.device)
        if objective.penalty_weight:
            penalty = gradient_penalty(critic, interpolate(reals, fakes, epsilon)).mean()
            loss = loss + objective.penalty_weight * penalty
    gradients = torch.autograd.grad(loss, parameters)
    real_mean, fake_mean = real_scores.mean(), fake_scores.mean()
    row = torch.stack([loss, real_mean - fake_mean, penalty, real_mean, fake_mean])
    return gradients, row.detach()


def _score_both(critic: Network, reals: Tensor, fakes: Tensor, joined: bool) -> tuple[Tensor, Tensor]:
    """Scores in float32 or wider, of one forward or of two."""
    if not joined:
        return _wide(critic(reals)), _wide(critic(fakes))
    real, fake = _wide(critic(torch.cat([reals, fakes]))).split([len(reals), len(fakes)])
    return real, fake


def _wide(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def generator_gradients(
    generator: Network, critic: Network, parameters: Sequence[Tensor], task: Task, draw: GeneratorDraw
) -> tuple[Gradients, Tensor]:
    """Gradients of the generator's mean loss by `parameters`, and its row of statistics (1,)."""
    with task.autocast():
        fakes = task.augmentation(generator(draw.latents), draw.numbers)
        loss = task.objective.generator_loss(_wide(critic(fakes))).mean()
    return torch.autograd.grad(loss, parameters), loss.detach().reshape(1)


@dataclass(frozen=True)
class Arithmetic:
    """How the two gradients are computed: as written, or by a compiled twin (`trainer.training.compiled`)."""

    critic: Callable[[Tensor, Tensor, Tensor], tuple[Gradients, Tensor]]
    """Of augmented reals, augmented fakes and ε."""
    generator: Callable[[GeneratorDraw], tuple[Gradients, Tensor]]


def eager(networks: Networks, task: Task) -> Arithmetic:
    """The gradients as they are written, run by autograd."""
    generator, critic = networks.generator, networks.critic

    def of_critic(reals: Tensor, fakes: Tensor, epsilon: Tensor) -> tuple[Gradients, Tensor]:
        return critic_gradients(critic, list(critic.parameters()), task, reals, fakes, epsilon)

    def of_generator(draw: GeneratorDraw) -> tuple[Gradients, Tensor]:
        critic.requires_grad_(False)
        result = generator_gradients(generator, critic, list(generator.parameters()), task, draw)
        critic.requires_grad_(True)
        return result

    return Arithmetic(of_critic, of_generator)


def critic_step(
    networks: Networks,
    optimiser: torch.optim.Optimizer,
    task: Task,
    arithmetic: Arithmetic,
    reals: Tensor,
    draw: CriticDraw,
    *,
    sums: Tensor,
    workers: Workers = ALONE,
) -> None:
    """Update the critic once on `reals` (n, 3, r, r) in [-1, 1] and add its statistics to `sums` (5,).

    Reals and fakes are augmented alike.
    """
    with torch.no_grad():
        with task.autocast():
            fakes = networks.generator(draw.latents)
        fakes = task.augmentation(fakes.to(reals.dtype), draw.fake_numbers)
        reals = task.augmentation(reals, draw.real_numbers)
    gradients, row = arithmetic.critic(reals, fakes, draw.epsilon)
    sums.add_(workers.average(gradients, row), alpha=len(reals) * workers.size)
    _apply(optimiser, networks.critic, gradients)
    if task.objective.clip is not None:
        clip_weights([parameter.data for parameter in networks.critic.parameters()], task.objective.clip)


def generator_step(
    networks: Networks,
    optimiser: torch.optim.Optimizer,
    arithmetic: Arithmetic,
    draw: GeneratorDraw,
    *,
    sums: Tensor,
    workers: Workers = ALONE,
) -> None:
    """Update the generator once and add its summed loss to `sums` (1,). The critic is frozen meanwhile."""
    gradients, row = arithmetic.generator(draw)
    sums.add_(workers.average(gradients, row), alpha=len(draw.latents) * workers.size)
    _apply(optimiser, networks.generator, gradients)


def _apply(optimiser: torch.optim.Optimizer, network: Generator | Critic, gradients: Gradients) -> None:
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        # a fused optimiser walks both in memory's order, so they have to lie there alike
        alike = gradient.stride() == parameter.stride()
        parameter.grad = gradient if alike else torch.empty_like(parameter).copy_(gradient)
    optimiser.step()


def ema_decay(batch: int, images_seen: int, half_life: float, ramp: float) -> float:
    """Share of the old average that stays after a batch, by a half-life in images (Karras et al. 2020).

    The half-life is at most `ramp` times the images seen, so that the first noise is soon forgotten;
    0 stands for no averaging.
    """
    effective = min(half_life, images_seen * ramp) if ramp else half_life
    return 0.5 ** (batch / effective) if effective > 0 else 0.0


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average's parameters towards the network's, and batch norm's running statistics alike.

    Statistics of the latest weights would not fit averaged ones: they gave the pictures a cast of colour.
    """
    pairs = list(zip(_values(average), _values(network), strict=True))
    for target, source in pairs:
        if not target.is_floating_point():
            target.copy_(source)
    averaged, current = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    torch._foreach_lerp_(averaged, current, 1.0 - decay)


def _values(network: nn.Module) -> list[Tensor]:
    return [*(parameter.detach() for parameter in network.parameters()), *network.buffers()]
