"""The three systems as objectives: WGAN-GP, WGAN with clipped weights, and DCGAN.

Scores are (n, heads); every function returns one value a sample and head, so that means are taken over
samples once and at one place. Knows nothing of optimisers, data or augmentation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.nets.layers import exact
from trainer.nets.vision import Views

SMALLEST = 1e-6
"""Norm of a gradient below which it counts as this."""
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
    shares = {dtype: epsilon.reshape(-1, 1, 1, 1).to(dtype) for dtype in {view.dtype for view in reals}}
    pairs = zip(reals, fakes, strict=True)
    return tuple(torch.lerp(real, fake, shares[real.dtype]) for real, fake in pairs)


def gradient_penalty(
    critic: Callable[[Views], Tensor], points: Views, lengths: Tensor | None = None
) -> Tensor:
    """(‖∇f(x̂)‖₂ - 1)² of each point and head, (n, heads), the norm over all of a sample's values in its
    view, times `lengths` (heads,) where a view's distances are not those that count.

    A head sees one view alone, so the gradient by that view is its own. `points` are taken as constants.
    """
    slopes, _ = slopes_at(critic, points, lengths)
    return (slopes - 1.0).square()


def slopes_at(
    critic: Callable[[Views], Tensor], points: Views, lengths: Tensor | None = None
) -> tuple[Tensor, Views]:
    """The norms ‖∇f(x̂)‖₂, (n, heads), without a graph, and the gradients by the views, with theirs.

    Norms are taken in float32 or wider, and are SMALLEST at least: so that they can be divided by.
    """
    points = tuple(point.detach().requires_grad_(True) for point in points)
    scores = critic(points)
    # a sum's gradient holds each sample's own: a critic without batch statistics does not mix samples
    with exact(scores):
        gradients = torch.autograd.grad(scores, points, torch.ones_like(scores), create_graph=True)
    norms = torch.stack([_norms(gradient.detach()) for gradient in gradients], 1)
    return (norms if lengths is None else norms * lengths).clamp_min(SMALLEST), gradients


def penalty_tangents(slopes: Tensor, gradients: Views, lengths: Tensor | None, weight: float) -> Views:
    """What `gradients` have to be multiplied by for the derivative of weight x mean (‖∇f‖ - 1)².

    d(r - 1)² / d∇ = 2 (r - 1) / r · l² ∇, with the slope r = l ‖∇‖: written down, it is a product a view,
    where autograd would go back through norm and square of each.
    """
    factors = (slopes - 1.0) / slopes * (2 * weight / len(slopes))
    if lengths is not None:
        factors = factors * lengths.square()
    rounded = {dtype: factors.to(dtype)[..., None, None, None] for dtype in {g.dtype for g in gradients}}
    return tuple(g.detach() * rounded[g.dtype][:, head] for head, g in enumerate(gradients))


def _norms(gradient: Tensor) -> Tensor:
    """Of each sample (n, c, h, w), (n,): in the order of memory, where it is channels last."""
    wide = torch.promote_types(gradient.dtype, torch.float32)
    norms: Tensor = torch.linalg.vector_norm(gradient.permute(0, 2, 3, 1).flatten(1), dim=1, dtype=wide)
    return norms


@torch.no_grad()
def clip_weights(parameters: list[Tensor], limit: float) -> None:
    """Clamp every value to [-limit, limit] (Arjovsky et al. 2017, algorithm 1)."""
    torch._foreach_clamp_min_(parameters, -limit)
    torch._foreach_clamp_max_(parameters, limit)
