"""What the critic makes of held-out photographs: losses beside those on training ones, scores, features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from trainer.nets.critic import Critic
from trainer.nets.generator import Generator
from trainer.nets.vision import Views, Vision
from trainer.pictures import to_float
from trainer.training.objectives import Objective, gradient_penalty, interpolate

CHUNK = 64
LOOKED_AT = 512
"""Photographs of each kind at most, and as many fakes."""


@dataclass(frozen=True)
class Losses:
    """Of each head, means over samples, without augmentation."""

    losses: tuple[float, ...]
    """With the penalty."""
    apart: tuple[float, ...]
    """E[f(real)] - E[f(fake)]."""
    penalties: tuple[float, ...]

    @property
    def critic_loss(self) -> float:
        """Mean over the heads, as are the next two."""
        return fmean(self.losses)

    @property
    def wasserstein(self) -> float:
        return fmean(self.apart)

    @property
    def penalty(self) -> float:
        return fmean(self.penalties)


@dataclass(frozen=True)
class CriticComparison:
    """A critic's losses on both kinds of photographs against the same fakes, and its scores' spread."""

    training: Losses
    held_out: Losses
    spreads: tuple[float, ...]
    """Standard deviation of each head's scores of training photographs and fakes together."""
    slope: float
    """Where a Wasserstein critic has no penalty: 1 + the root of the mean (‖∇‖ - 1)² of the steepest head,
    else 0."""

    @property
    def separations(self) -> tuple[float, ...]:
        """Distance between the mean scores of photographs and fakes, in units of the spread, of each head."""
        pairs = zip(self.training.apart, self.spreads, strict=True)
        return tuple(apart / spread if spread else 0.0 for apart, spread in pairs)

    @property
    def separation(self) -> float:
        """The mean over the heads."""
        return fmean(self.separations)

    @property
    def spread(self) -> float:
        return fmean(self.spreads)

    @property
    def gaps(self) -> tuple[float, ...]:
        """r_v = (E[f(train)] - E[f(held out)]) / (E[f(train)] - E[f(fake)]) (Karras et al. 2020, eq. 1), of
        each head; 0 where it does not tell photographs from fakes."""
        pairs = zip(self.training.apart, self.held_out.apart, strict=True)
        return tuple((apart - held) / apart if apart > 0 else 0.0 for apart, held in pairs)

    @property
    def gap(self) -> float:
        """The mean over the heads."""
        return fmean(self.gaps)


@dataclass(frozen=True)
class _Chunk:
    """Of training photographs, held-out ones and fakes; and of points between each of the first two and
    fakes."""

    scores: tuple[Tensor, ...]
    penalties: tuple[Tensor, ...]


def scores_of(critic: Critic, vision: Vision, pictures: Tensor) -> Tensor:
    """Scores (n, heads) of uint8 pictures (n, 3, r, r), in evaluation mode and float32."""
    return _in_chunks(critic, vision, critic, pictures)


def features_of(critic: Critic, vision: Vision, pictures: Tensor) -> Tensor:
    """The critic's features (n, d) of uint8 pictures (n, 3, r, r), in evaluation mode and float32."""
    return _in_chunks(critic, vision, critic.features, pictures)


@torch.no_grad()
def _in_chunks(critic: Critic, vision: Vision, ask: Callable[[Views], Tensor], pictures: Tensor) -> Tensor:
    """What `ask`, the critic or a part of it, says of the pictures."""
    was_training = critic.training
    critic.eval()
    said = torch.cat([ask(vision(to_float(part))).float() for part in pictures.split(CHUNK)])
    critic.train(was_training)
    return said


class CriticWatch:
    """Measures the critic on training and on held-out reals against the same fakes, with its own seed.

    Its random numbers are its own, so that how often one looks does not change the training.
    """

    def __init__(
        self, training: Tensor, held_out: Tensor, latent_size: int, objective: Objective, vision: Vision
    ) -> None:
        """`training`, `held_out`: uint8 (n, 3, r, r); at most LOOKED_AT of each are looked at."""
        count = min(len(training), len(held_out), LOOKED_AT)
        chosen = torch.randperm(len(training), generator=torch.Generator().manual_seed(1))[:count]
        self.training = training[chosen.to(training.device)]
        self.held_out = held_out[:count]
        rng = torch.Generator().manual_seed(2)
        self.latents = torch.randn(count, latent_size, generator=rng).to(training.device)
        self.epsilon = torch.rand(count, generator=rng).to(training.device)
        self.objective = objective
        self.vision = vision
        self.lengths = torch.tensor(vision.lengths(training.shape[-1]), device=training.device)

    def __call__(self, critic: Critic, generator: Generator) -> CriticComparison:
        """Losses on training reals and on held-out reals, against the same fakes of `generator`."""
        modes = critic.training, generator.training
        critic.eval()
        generator.eval()
        sums = [
            self._chunk(critic, generator, slice(at, at + CHUNK)) for at in range(0, len(self.latents), CHUNK)
        ]
        critic.train(modes[0])
        generator.train(modes[1])
        scores = [torch.cat(parts) for parts in zip(*(each.scores for each in sums), strict=True)]
        penalties = [torch.cat(parts) for parts in zip(*(each.penalties for each in sums), strict=True)]
        return self._compare(*scores, *penalties)

    def _chunk(self, critic: Critic, generator: Generator, rows: slice) -> _Chunk:
        """Scores and penalties of some of the pictures; no graph outlives it."""
        with torch.no_grad():
            fakes = self.vision(generator(self.latents[rows]))
            training, held_out = (
                self.vision(to_float(pictures[rows])) for pictures in (self.training, self.held_out)
            )
            scores = tuple(critic(views).float() for views in (training, held_out, fakes))
        penalties = tuple(
            gradient_penalty(critic, interpolate(reals, fakes, self.epsilon[rows]), self.lengths)
            if self.objective.name != "dcgan"
            else torch.zeros_like(scores[0])
            for reals in (training, held_out)
        )
        return _Chunk(scores, penalties)

    def _compare(
        self, training: Tensor, held_out: Tensor, fakes: Tensor, penalty: Tensor, held_out_penalty: Tensor
    ) -> CriticComparison:
        spreads = torch.cat([training, fakes]).std(0)
        slope = 0.0
        if self.objective.name != "dcgan" and not self.objective.penalty_weight:
            slope = 1.0 + penalty.mean(0).max().sqrt().item()
        return CriticComparison(
            self._losses(training, fakes, penalty),
            self._losses(held_out, fakes, held_out_penalty),
            tuple(spreads.tolist()),
            slope,
        )

    def _losses(self, reals: Tensor, fakes: Tensor, penalty: Tensor) -> Losses:
        """Of scores (n, heads) and penalties (n, heads)."""
        weight = self.objective.penalty_weight
        losses = (self.objective.critic_loss(reals, fakes) + weight * penalty).mean(0)
        penalties = penalty.mean(0) if weight else torch.zeros_like(losses)
        apart = (reals - fakes).mean(0)
        return Losses(tuple(losses.tolist()), tuple(apart.tolist()), tuple(penalties.tolist()))
