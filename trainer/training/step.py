"""One critic step and one generator step: the arithmetic a training spends its life on.

Knows nothing of files, the terminal or where pictures come from. Nothing is read back from the device here:
statistics are summed on it, and read once a tick.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.nets.critic import Critic
from trainer.nets.generator import Generator
from trainer.nets.layers import widened
from trainer.nets.vision import Views, Vision
from trainer.training.augment import Augmentation
from trainer.training.distributed import ALONE, Workers
from trainer.training.objectives import Objective, clip_weights, interpolate, penalty_tangents, slopes_at
from trainer.training.weights import Autocast, Weights, widened_all

Scorer = Callable[[Views], Tensor]
Gradients = tuple[Tensor, ...]

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
    head_weights: Tensor | None = None
    """How much each of the critic's heads counts in the generator's loss (heads,); None stands for ones."""
    lengths: Tensor | None = None
    """`Vision.lengths` (heads,); None stands for ones."""
    autocast: Autocast = nullcontext
    joined: bool = True
    """Whether reals and fakes go through the critic together; batch norm (DCGAN) would mix them."""


@dataclass(frozen=True)
class FakesDraw:
    """Everything random in a batch of fakes: latents (n, z), numbers of augmentation where there is any, the
    vision's offset (2,)."""

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
        pictures = generator(draw.latents)
        if task.augmentation.active:
            pictures = task.augmentation(widened(pictures), draw.numbers)
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
    objective, weight = task.objective, task.objective.penalty_weight
    with task.autocast():
        real_scores, fake_scores = _score_both(critic, reals, fakes, task.joined)
    losses = objective.critic_loss(real_scores, fake_scores)
    gradients = widened_all(torch.autograd.grad(losses, parameters, _means(losses)))
    penalties = None
    if weight:
        with task.autocast():
            slopes, by_views = slopes_at(critic, interpolate(reals, fakes, epsilon), task.lengths)
        penalties = (slopes - 1.0).square()
        tangents = penalty_tangents(slopes, by_views, task.lengths, weight)
        # a graph of its own: in one walk autograd would add up each weight's two gradients by itself
        of_penalty = torch.autograd.grad(by_views, parameters, tangents, allow_unused=True)
        gradients = _added(gradients, of_penalty)
    losses = losses.detach()
    if penalties is None:
        penalties = torch.zeros_like(losses)
    losses = losses.add(penalties, alpha=weight)
    real_scores, fake_scores = real_scores.detach(), fake_scores.detach()
    rows = torch.stack([losses, real_scores - fake_scores, penalties, real_scores, fake_scores])
    return gradients, rows.mean(1)


def _means(values: Tensor) -> Tensor:
    """The derivative of a sum of means over samples by each of the values (n, …)."""
    return torch.full_like(values, 1 / len(values))


def _added(gradients: Sequence[Tensor], more: Sequence[Tensor | None]) -> Gradients:
    """Their sums; None stands for no gradient."""
    wide = iter(widened_all([tensor for tensor in more if tensor is not None]))
    others = [None if tensor is None else next(wide) for tensor in more]
    pairs = [(own, other) for own, other in zip(gradients, others, strict=True) if other is not None]
    sums = iter(torch._foreach_add([own for own, _ in pairs], [other for _, other in pairs]))
    return tuple(own if other is None else next(sums) for own, other in zip(gradients, others, strict=True))


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
        scores = widened(critic(leaves))
    losses = task.objective.generator_loss(scores)
    losses = losses.sum(1) if task.head_weights is None else losses @ task.head_weights.to(losses.dtype)
    return torch.autograd.grad(losses, leaves, _means(losses)), losses.detach().mean(0, keepdim=True)


@dataclass(frozen=True)
class Arithmetic:
    """How a step's parts are computed: as they are written, or compiled (`trainer.training.compiled`)."""

    fakes: Callable[[FakesDraw], Views]
    """What the critic sees of fakes, with the graph that leads back to `weights`."""
    weights: Sequence[Tensor]
    """The generator's, as they are computed with."""
    critic: Callable[[Views, Views, Tensor], tuple[Gradients, Tensor]]
    """Of reals, fakes and ε."""
    views: Callable[[Views], tuple[Views, Tensor]]
    """`view_gradients` of fakes."""


def eager(networks: Networks, task: Task) -> Arithmetic:
    """Everything as it is written, run by autograd."""
    generator = Weights(networks.generator, task.autocast)
    critic = Weights(networks.critic, task.autocast)

    def fakes(draw: FakesDraw) -> Views:
        generator.refresh()
        return make_fakes(generator, networks.vision, task, draw)

    def of_critic(reals: Views, fakes: Views, epsilon: Tensor) -> tuple[Gradients, Tensor]:
        critic.refresh()
        return critic_gradients(critic, critic.tensors, task, reals, fakes, epsilon)

    def of_views(fakes: Views) -> tuple[Views, Tensor]:
        critic.refresh()
        return view_gradients(critic.fixed, task, fakes)

    return Arithmetic(fakes, generator.tensors, of_critic, of_views)


def generator_gradients(arithmetic: Arithmetic, fakes: Views) -> tuple[Gradients, Tensor]:
    """Gradients of the generator's mean loss by its weights, through the graph of `fakes`; and the loss
    (1,)."""
    by_views, row = arithmetic.views(fakes)
    return widened_all(torch.autograd.grad(fakes, arithmetic.weights, by_views)), row


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
    gradients, row = generator_gradients(arithmetic, fakes)
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
def update_averages(pairs: Sequence[tuple[nn.Module, nn.Module]], share: float | Tensor) -> None:
    """Move each average's parameters towards its network's, and batch norm's running statistics alike.

    Statistics of the latest weights would not fit averaged ones: they gave the pictures a cast of colour.
    `share` of the way; as a tensor it can be changed under a captured graph.
    """
    averaged = [tensor for average, _ in pairs for tensor in _values(average)]
    current = [tensor for _, network in pairs for tensor in _values(network)]
    if isinstance(share, float):
        torch._foreach_lerp_(averaged, current, share)
        return
    apart = torch._foreach_sub(current, averaged)
    torch._foreach_mul_(apart, share)
    torch._foreach_add_(averaged, apart)


def _values(network: nn.Module) -> list[Tensor]:
    """Parameters and statistics that are saved with them; constants are left alone."""
    return [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
