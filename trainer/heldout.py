"""Looks at the held-out photographs: losses, and the critic's calibration."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.networks import Critic, Generator
from trainer.objectives import Objective, gradient_penalty, interpolate
from trainer.pictures import to_float

CHUNK = 64
QUANTILES = 100


@dataclass(frozen=True)
class Losses:
    """Means over samples, without augmentation."""

    critic_loss: float
    wasserstein: float
    penalty: float


@torch.no_grad()
def scores_of(critic: Critic, pictures: Tensor) -> Tensor:
    """Scores (n,) of uint8 pictures (n, 3, r, r), in evaluation mode and float32."""
    was_training = critic.training
    critic.eval()
    scores = torch.cat([critic(to_float(part)).float() for part in pictures.split(CHUNK)])
    critic.train(was_training)
    return scores


def score_quantiles(critic: Critic, held_out: Tensor) -> tuple[float, ...]:
    """Scores of held-out reals at probabilities 0, 1/100, ..., 1: what the bot's filter is calibrated on."""
    marks = torch.linspace(0, 1, QUANTILES + 1, device=held_out.device)
    return tuple(torch.quantile(scores_of(critic, held_out), marks).tolist())


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

    def __call__(self, critic: Critic, generator: Generator) -> tuple[Losses, Losses]:
        """Losses on training reals and on held-out reals, against the same fakes of `generator`."""
        modes = critic.training, generator.training
        critic.eval()
        generator.eval()
        with torch.no_grad():
            fakes = torch.cat([generator(part) for part in self.latents.split(CHUNK)])
        results = self._losses(critic, self.training, fakes), self._losses(critic, self.held_out, fakes)
        critic.train(modes[0])
        generator.train(modes[1])
        return results

    def _losses(self, critic: Critic, pictures: Tensor, fakes: Tensor) -> Losses:
        losses, gaps, penalties = [], [], []
        for start in range(0, len(fakes), CHUNK):
            part = slice(start, start + CHUNK)
            reals, fake = to_float(pictures[part]), fakes[part]
            with torch.no_grad():
                real_scores, fake_scores = critic(reals).float(), critic(fake).float()
            loss = self.objective.critic_loss(real_scores, fake_scores)
            if self.objective.penalty_weight:
                penalty = gradient_penalty(critic, interpolate(reals, fake, self.epsilon[part])).detach()
                penalties.append(penalty)
                loss = loss + self.objective.penalty_weight * penalty
            losses.append(loss)
            gaps.append(real_scores - fake_scores)
        mean_penalty = torch.cat(penalties).mean().item() if penalties else 0.0
        return Losses(torch.cat(losses).mean().item(), torch.cat(gaps).mean().item(), mean_penalty)
