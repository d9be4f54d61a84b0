"""The training step as most public repositories write it: what ours is measured against.

Three critic forwards, an eager double backward through autograd's own activation and pooling, every
convolution as the papers draw it, pictures as NCHW, plain Adam, and a loss read back from the device at each
step. The networks are ours, weight for weight: only the way they are computed differs.
"""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.config import FitConfig
from trainer.nets.layers import LEAK
from trainer.nets.networks import Critic, Generator
from trainer.training.step import CriticDraw, GeneratorDraw

Autocast = Callable[[], AbstractContextManager[object]]


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, LEAK)


class NaiveGenerator(nn.Module):
    """A copy of a generator, computed in its plain form."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.net = copy.deepcopy(generator).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def forward(self, latents: Tensor) -> Tensor:
        net = self.net
        plain = net.arch.kind == "plain"
        x: Tensor = net.project(latents).reshape(latents.shape[0], -1, 4, 4)
        if plain:
            x = _relu(net.norm(x))
        block: Any
        for block in net.blocks:
            x = _plain_up(block, x) if plain else _residual_up(block, x)
        if not plain:
            x = _relu(net.final_norm(x))
        return torch.tanh(net.to_rgb(x))


def _plain_up(block: Any, x: Tensor) -> Tensor:
    return _relu(block.norm(F.conv2d(_upsample(x), block.conv.weight, block.conv.bias, padding=1)))


def _residual_up(block: Any, x: Tensor) -> Tensor:
    up = block.up
    h = F.conv2d(_upsample(_relu(block.norm1(x))), up.weight, up.bias, padding=1)
    h = block.conv(_relu(block.norm2(h)))
    result: Tensor = block.skip(_upsample(x)) + h
    return result


class NaiveCritic(nn.Module):
    """A copy of a critic, computed in its plain form."""

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.net = copy.deepcopy(critic).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        net = self.net
        plain = net.arch.kind == "plain"
        x: Tensor = net.from_rgb(images)
        block: Any
        for block in net.blocks:
            x = _relu(block.norm(block.conv(x))) if plain else _residual_down(block, x)
        if not plain:
            x = _relu(x)
        scores: Tensor = net.score(x.flatten(1)).squeeze(1)
        return scores


def _residual_down(block: Any, x: Tensor) -> Tensor:
    h = block.norm2(block.conv(_relu(block.norm1(x))))
    h = F.avg_pool2d(F.conv2d(_relu(h), block.down.weight, block.down.bias, padding=1), 2)
    result: Tensor = F.avg_pool2d(block.skip(x), 2) + h
    return result


class NaiveStep:
    """WGAN-GP's two steps without any of our care; augmentation is left out on both sides."""

    def __init__(self, generator: Generator, critic: Critic, config: FitConfig, autocast: Autocast) -> None:
        self.generator, self.critic = NaiveGenerator(generator), NaiveCritic(critic)
        self.config = config
        self.autocast = autocast
        betas = (config.beta1, config.beta2)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), config.critic_lr, betas)
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), config.generator_lr, betas)

    def critic_step(self, reals: Tensor, draw: CriticDraw) -> float:
        """One update; returns the loss."""
        self.critic_optimiser.zero_grad()
        with self.autocast():
            fakes = self.generator(draw.latents).detach()
            real_scores = self.critic(reals)
            fake_scores = self.critic(fakes)
            epsilon = draw.epsilon.reshape(-1, 1, 1, 1)
            points = (epsilon * fakes + (1 - epsilon) * reals).requires_grad_(True)
            scores = self.critic(points)
        (gradient,) = torch.autograd.grad(
            scores, points, torch.ones_like(scores), create_graph=True, retain_graph=True
        )
        norm = (gradient.flatten(1).square().sum(1) + 1e-12).sqrt()
        penalty = (norm - 1).square().mean()
        drift = self.config.drift_weight * real_scores.square().mean()
        loss = fake_scores.mean() - real_scores.mean() + self.config.penalty_weight * penalty + drift
        loss.backward()
        self.critic_optimiser.step()
        return float(loss.item())

    def generator_step(self, draw: GeneratorDraw) -> float:
        """One update; returns the loss."""
        self.generator_optimiser.zero_grad()
        with self.autocast():
            loss = -self.critic(self.generator(draw.latents)).mean()
        loss.backward()
        self.generator_optimiser.step()
        return float(loss.item())
