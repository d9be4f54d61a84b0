"""The three systems as objectives: WGAN-GP, WGAN with clipped weights, and DCGAN.

Scores are (n, heads); every function returns one value a sample and head, so that means are taken over
samples once and at one place. Knows nothing of optimisers, data or augmentation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.nets.layers import widened
from trainer.nets.vision import Views

ObjectiveName = Literal["wgan-gp", "wgan", "dcgan"]


@dataclass(frozen=True)
class Objective:
    """What the critic and the generator minimise, and what keeps the critic Lipschitz."""

    name: ObjectiveName
    penalty_weight: float = 0.0
    """λ of the gradient penalty; 0 where the objective has none."""
    drift_weight: float = 0.0
    """Weight of the mean squared score of reals (Karras et al. 2018, appendix A.1)."""
    clip: float | None = None
    """Critic weights are clamped to [-clip, clip] after each step."""

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of each pair, without the penalty."""
        if self.name == "dcgan":
            return F.softplus(-real) + F.softplus(fake)
        loss = fake - real
        if self.drift_weight:
            loss = loss + self.drift_weight * real.square()
        return loss

    def generator_loss(self, fake: Tensor) -> Tensor:
        """Loss of each fake. DCGAN's is the non-saturating one (Goodfellow et al. 2014, section 3)."""
        return F.softplus(-fake) if self.name == "dcgan" else -fake


def make_objective(
    name: ObjectiveName, *, penalty_weight: float, drift_weight: float, clip: float
) -> Objective:
    """The objective by its name, with only those weights that it has."""
    if name == "wgan-gp":
        return Objective(name, penalty_weight=penalty_weight, drift_weight=drift_weight)
    if name == "wgan":
        return Objective(name, drift_weight=drift_weight, clip=clip)
    return Objective(name)


def interpolate(reals: Views, fakes: Views, epsilon: Tensor) -> Views:
    """x̂ = εx̃ + (1-ε)x in each view, one ε ~ U[0, 1] a sample, (n,) (Gulrajani et al. 2017, algorithm 1)."""
    share = epsilon.reshape(-1, 1, 1, 1)
    return tuple(
        torch.lerp(real, fake, share.to(real.dtype)) for real, fake in zip(reals, fakes, strict=True)
    )


def gradient_penalty(critic: Callable[[Views], Tensor], points: Views) -> Tensor:
    """(‖∇f(x̂)‖₂ - 1)² of each point and head, (n, heads), the norm over all of a sample's values in its
    view.

    A head sees one view alone, so the gradient by that view is its own. `points` are taken as constants; the
    result can be differentiated by the critic's weights. The norm is taken in float32 or wider, and its root
    has a small constant inside: its derivative at zero would be NaN.
    """
    points = tuple(point.detach().requires_grad_(True) for point in points)
    # the sum's gradient holds each sample's own: a critic without batch statistics does not mix samples
    gradients = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    squares = [widened(gradient.flatten(1)).square().sum(1) for gradient in gradients]
    norms = (torch.stack(squares, 1) + 1e-12).sqrt()
    return (norms - 1.0).square()


@torch.no_grad()
def clip_weights(parameters: list[Tensor], limit: float) -> None:
    """Clamp every value to [-limit, limit] (Arjovsky et al. 2017, algorithm 1)."""
    torch._foreach_clamp_min_(parameters, -limit)
    torch._foreach_clamp_max_(parameters, limit)
