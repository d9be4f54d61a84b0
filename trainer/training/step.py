"""One critic step and one generator step: the arithmetic a training spends its life on.

Knows nothing of files, the terminal or where pictures come from. Nothing is read back from the device here:
statistics are summed on it, and read once a tick.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.nets.critic import Critic
from trainer.nets.generator import Generator
from trainer.nets.layers import widened
from trainer.nets.vision import Views, Vision
from trainer.training.augment import Augmentation
from trainer.training.distributed import ALONE, Workers
from trainer.training.objectives import Objective, clip_weights, gradient_penalty, interpolate

Scorer = Callable[[Views], Tensor]
Gradients = tuple[Tensor, ...]
Autocast = Callable[[], AbstractContextManager[object]]

CRITIC_STATISTICS = ("critic_loss", "wasserstein", "penalty", "score_real", "score_fake")
"""Rows of a critic step's sums, one column a head; `wasserstein` is E[f(real)] - E[f(fake)]."""


@dataclass
class Networks:
    """The networks of a training. The averages are what is sampled, judged by and shipped."""

    generator: Generator
    critic: Critic
    generator_average: Generator
    critic_average: Critic
    """The latest critic pulls one way and soon another; pictures chosen by it differ from photographs the
    same way (docs/experiments.md)."""
    vision: Vision
    """What the critic sees by: fixed, and no part of it."""


@dataclass(frozen=True)
class Task:
    """What a step computes, apart from the networks and what is random."""

    objective: Objective
    augmentation: Augmentation
    head_weights: tuple[float, ...] = (1.0,)
    """How much each of the critic's heads counts in the generator's loss."""
    autocast: Autocast = nullcontext
    joined: bool = True
    """Whether reals and fakes go through the critic together; batch norm (DCGAN) would mix them."""


@dataclass(frozen=True)
class FakesDraw:
    """Everything random in a batch of fakes: latents (n, z), numbers of augmentation, the vision's offset
    (2,)."""

    latents: Tensor
    numbers: Tensor
    offset: Tensor


@dataclass(frozen=True)
class Example:
    """One batch as the gradients get it, to time and compare them by; drawn apart from the training's own."""

    reals: Views
    draw: FakesDraw
    epsilon: Tensor


def make_fakes(generator: Callable[[Tensor], Tensor], vision: Vision, task: Task, draw: FakesDraw) -> Views:
    """What the critic sees of a batch of fakes, as a function of the generator's weights."""
    with task.autocast():
        pictures = task.augmentation(widened(generator(draw.latents)), draw.numbers)
        views: Views = vision(pictures, draw.offset)
        return views


def constant(views: Views) -> Views:
    """The same values, without the graph that leads to them."""
    return tuple(view.detach() for view in views)


def critic_gradients(
    critic: Scorer,
    parameters: Sequence[Tensor],
    task: Task,
    reals: Views,
    fakes: Views,
    epsilon: Tensor,
) -> tuple[Gradients, Tensor]:
    """Gradients of the critic's loss by `parameters`, and its statistics (5, heads).

    The loss is the sum over heads of means over samples. Interpolates and gradient are taken at the views,
    where a head gets its input; `epsilon` (n,). Has no effect but its result: it can be traced and timed.
    """
    objective = task.objective
    with task.autocast():
        real_scores, fake_scores = _score_both(critic, reals, fakes, task.joined)
        losses = objective.critic_loss(real_scores, fake_scores).mean(0)
        penalties = torch.zeros_like(losses)
        if objective.penalty_weight:
            penalties = gradient_penalty(critic, interpolate(reals, fakes, epsilon)).mean(0)
            losses = losses + objective.penalty_weight * penalties
    gradients = torch.autograd.grad(losses.sum(), parameters)
    real_means, fake_means = real_scores.mean(0), fake_scores.mean(0)
    rows = torch.stack([losses, real_means - fake_means, penalties, real_means, fake_means])
    return gradients, rows.detach()


def _score_both(critic: Scorer, reals: Views, fakes: Views, joined: bool) -> tuple[Tensor, Tensor]:
    """Scores (n, heads) in float32 or wider, of one forward or of two."""
    if not joined:
        return widened(critic(reals)), widened(critic(fakes))
    both = tuple(torch.cat(pair) for pair in zip(reals, fakes, strict=True))
    real, fake = widened(critic(both)).split([len(reals[0]), len(fakes[0])])
    return real, fake


def view_gradients(critic: Scorer, task: Task, fakes: Views) -> tuple[Views, Tensor]:
    """Gradients of the generator's mean loss by what the critic sees of its fakes, and the loss (1,)."""
    leaves = tuple(view.detach().requires_grad_(True) for view in fakes)
    with task.autocast():
        losses = task.objective.generator_loss(widened(critic(leaves))).mean(0)
        loss = sum(weight * loss for weight, loss in zip(task.head_weights, losses, strict=True))
    assert isinstance(loss, Tensor)  # noqa: S101 (a critic has a head)
    return torch.autograd.grad(loss, leaves), loss.detach().reshape(1)


@dataclass(frozen=True)
class Arithmetic:
    """How a step's parts are computed: as they are written, or compiled (`trainer.training.compiled`)."""

    fakes: Callable[[FakesDraw], Views]
    """What the critic sees of fakes, with the graph that leads back to the generator's weights."""
    critic: Callable[[Views, Views, Tensor], tuple[Gradients, Tensor]]
    """Of reals, fakes and ε."""
    views: Callable[[Views], tuple[Views, Tensor]]
    """`view_gradients` of fakes."""


def eager(networks: Networks, task: Task) -> Arithmetic:
    """Everything as it is written, run by autograd."""
    critic = networks.critic

    def fakes(draw: FakesDraw) -> Views:
        return make_fakes(networks.generator, networks.vision, task, draw)

    def of_critic(reals: Views, fakes: Views, epsilon: Tensor) -> tuple[Gradients, Tensor]:
        return critic_gradients(critic, list(critic.parameters()), task, reals, fakes, epsilon)

    def of_views(fakes: Views) -> tuple[Views, Tensor]:
        critic.requires_grad_(False)
        result = view_gradients(critic, task, fakes)
        critic.requires_grad_(True)
        return result

    return Arithmetic(fakes, of_critic, of_views)


def generator_gradients(
    generator: Generator, arithmetic: Arithmetic, fakes: Views
) -> tuple[Gradients, Tensor]:
    """Gradients of the generator's mean loss by its weights, through the graph of `fakes`; and the loss
    (1,)."""
    by_views, row = arithmetic.views(fakes)
    return torch.autograd.grad(fakes, list(generator.parameters()), by_views), row


def critic_step(
    networks: Networks,
    optimiser: torch.optim.Optimizer,
    task: Task,
    arithmetic: Arithmetic,
    reals: Views,
    fakes: Views,
    epsilon: Tensor,
    *,
    sums: Tensor,
    workers: Workers = ALONE,
) -> None:
    """Update the critic once and add its statistics to `sums` (5, heads)."""
    gradients, rows = arithmetic.critic(reals, constant(fakes), epsilon)
    sums.add_(workers.average(gradients, rows), alpha=len(epsilon) * workers.size)
    _apply(optimiser, networks.critic, gradients)
    if task.objective.clip is not None:
        clip_weights([parameter.data for parameter in networks.critic.parameters()], task.objective.clip)


def generator_step(
    networks: Networks,
    optimiser: torch.optim.Optimizer,
    arithmetic: Arithmetic,
    fakes: Views,
    *,
    sums: Tensor,
    workers: Workers = ALONE,
) -> None:
    """Update the generator once, through the graph of `fakes`, and add its summed loss to `sums` (1,)."""
    gradients, row = generator_gradients(networks.generator, arithmetic, fakes)
    sums.add_(workers.average(gradients, row), alpha=len(fakes[0]) * workers.size)
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
def update_average(average: nn.Module, network: nn.Module, decay: float | Tensor) -> None:
    """Move the average's parameters towards the network's, and batch norm's running statistics alike.

    Statistics of the latest weights would not fit averaged ones: they gave the pictures a cast of colour.
    A tensor as `decay` can be changed under a captured graph.
    """
    pairs = list(zip(_values(average), _values(network), strict=True))
    for target, source in pairs:
        if not target.is_floating_point():
            target.copy_(source)
    averaged, current = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    if isinstance(decay, float):
        torch._foreach_lerp_(averaged, current, 1.0 - decay)
        return
    apart = torch._foreach_sub(current, averaged)
    torch._foreach_mul_(apart, 1.0 - decay)
    torch._foreach_add_(averaged, apart)


def _values(network: nn.Module) -> list[Tensor]:
    """Parameters and what is saved with them; constants are left alone."""
    return [tensor.detach() for tensor in network.state_dict(keep_vars=True).values()]
