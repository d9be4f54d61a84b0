"""Looks at the held-out photographs: the critic's losses on them, its scores and its features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.nets.networks import Critic, Generator
from trainer.pictures import to_float
from trainer.training.objectives import Objective, gradient_penalty, interpolate

CHUNK = 64


@dataclass(frozen=True)
class Losses:
    """Means over samples, without augmentation."""

    critic_loss: float
    wasserstein: float
    penalty: float


@dataclass(frozen=True)
class Look:
    """One look: losses on both kinds of photographs, and how the critic's scores are spread."""

    training: Losses
    held_out: Losses
    spread: float
    """Standard deviation of the scores of training photographs and fakes together."""
    slope: float
    """Where a Wasserstein critic has no penalty: 1 + the root of the mean (‖∇‖ - 1)², else 0."""

    @property
    def separation(self) -> float:
        """Distance between the mean scores of photographs and fakes in units of the spread."""
        return self.training.wasserstein / self.spread if self.spread else 0.0

    @property
    def gap(self) -> float:
        """r_v = (E[f(train)] - E[f(held out)]) / (E[f(train)] - E[f(fake)]) (Karras et al. 2020, eq. 1)."""
        apart = self.training.wasserstein
        return (apart - self.held_out.wasserstein) / apart if apart > 0 else 0.0


def scores_of(critic: Critic, pictures: Tensor) -> Tensor:
    """Scores (n,) of uint8 pictures (n, 3, r, r), in evaluation mode and float32."""
    return _in_chunks(critic, critic, pictures)


def features_of(critic: Critic, pictures: Tensor) -> Tensor:
    """The critic's features (n, d) of uint8 pictures (n, 3, r, r), in evaluation mode and float32."""
    return _in_chunks(critic, critic.features, pictures)


@torch.no_grad()
def _in_chunks(critic: Critic, judge: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    """What `judge`, a view of the critic, says of the pictures."""
    was_training = critic.training
    critic.eval()
    judged = torch.cat([judge(to_float(part)).float() for part in pictures.split(CHUNK)])
    critic.train(was_training)
    return judged


class HeldOutLook:
    """Measures the critic on training and on held-out reals against the same fakes, with its own seed.

    Its random numbers are its own, so that how often one looks does not change the training.
    """

    def __init__(self, training: Tensor, held_out: Tensor, latent_size: int, objective: Objective) -> None:
        """`training`, `held_out`: uint8 (n, 3, r, r); at most 512 of each are looked at."""
        count = min(len(training), len(held_out), 512)
        chosen = torch.randperm(len(training), generator=torch.Generator().manual_seed(1))[:count]
        self.training = training[chosen.to(training.device)]
        self.held_out = held_out[:count]
        rng = torch.Generator().manual_seed(2)
        self.latents = torch.randn(count, latent_size, generator=rng).to(training.device)
        self.epsilon = torch.rand(count, generator=rng).to(training.device)
        self.objective = objective

    def __call__(self, critic: Critic, generator: Generator) -> Look:
        """Losses on training reals and on held-out reals, against the same fakes of `generator`."""
        modes = critic.training, generator.training
        critic.eval()
        generator.eval()
        with torch.no_grad():
            fakes = torch.cat([generator(part) for part in self.latents.split(CHUNK)])
            fake_scores = torch.cat([critic(part).float() for part in fakes.split(CHUNK)])
        training, training_scores = self._losses(critic, self.training, fakes, fake_scores)
        slope = 0.0
        if self.objective.name != "dcgan" and not self.objective.penalty_weight:
            slope = 1.0 + self._penalty(critic, self.training, fakes).mean().sqrt().item()
        held_out, _ = self._losses(critic, self.held_out, fakes, fake_scores)
        critic.train(modes[0])
        generator.train(modes[1])
        spread = torch.cat([training_scores, fake_scores]).std().item()
        return Look(training, held_out, spread, slope)

    def _losses(
        self, critic: Critic, pictures: Tensor, fakes: Tensor, fake_scores: Tensor
    ) -> tuple[Losses, Tensor]:
        """The losses, and the pictures' scores (n,)."""
        real_scores = scores_of(critic, pictures)
        loss = self.objective.critic_loss(real_scores, fake_scores)
        penalty = torch.zeros(())
        if self.objective.penalty_weight:
            penalty = self._penalty(critic, pictures, fakes)
            loss = loss + self.objective.penalty_weight * penalty
        gap = (real_scores - fake_scores).mean()
        return Losses(loss.mean().item(), gap.item(), penalty.mean().item()), real_scores

    def _penalty(self, critic: Critic, pictures: Tensor, fakes: Tensor) -> Tensor:
        """(‖∇‖ - 1)² (n,) between the pictures and the fakes."""
        parts = zip(pictures.split(CHUNK), fakes.split(CHUNK), self.epsilon.split(CHUNK), strict=True)
        points = (interpolate(to_float(reals), fake, epsilon) for reals, fake, epsilon in parts)
        return torch.cat([gradient_penalty(critic, point).detach() for point in points])
