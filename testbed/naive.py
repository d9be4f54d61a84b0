"""The training step as most public repositories write it: what ours is measured against, weight for weight.

Three critic forwards, an eager double backward through autograd's own activation, every convolution as the
papers draw it, pictures as NCHW, plain Adam, fakes made anew for the generator's update, and a loss read back
from the device at each step. The networks are ours: only the way they are computed differs.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.config import FitConfig
from trainer.nets.critic import Critic
from trainer.nets.generator import GatedGenerator, Generator
from trainer.nets.layers import LEAK
from trainer.nets.vision import Views
from trainer.training.step import FakesDraw, Networks
from trainer.training.weights import Autocast


def _upsampled(layer: Any, x: Tensor) -> Tensor:
    """The folded convolution as it is drawn: nearest upsampling, then 3x3."""
    return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), layer.weight, layer.bias, padding=1)


def _relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, LEAK)


class NaiveGenerator(nn.Module):
    """A copy of a generator, computed in its plain form."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.net: Any = copy.deepcopy(generator).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def forward(self, latents: Tensor) -> Tensor:
        if isinstance(self.net, GatedGenerator):
            return self._gated(latents)
        x = _relu(self.net.norm(self._projected(latents)))
        for block in self.net.blocks.values():
            x = _relu(block.norm(_upsampled(block.conv, x)))
        return torch.tanh(self.net.to_rgb(x))

    def _gated(self, latents: Tensor) -> Tensor:
        net = self.net
        latents = latents / latents.square().mean(1, keepdim=True).sqrt()
        x = F.glu(net.norm(self._projected(latents)), 1)
        maps = {4: x}
        for name, block in net.blocks.items():
            x = F.glu(block.norm(_upsampled(block.up, x)), 1)
            if block.conv is not None:
                x = F.glu(block.second_norm(F.conv2d(x, block.conv.weight, padding=1)), 1)
            if name in net.excitations:
                excitation, small = net.excitations[name], F.adaptive_avg_pool2d(maps[int(name) // 8], 4)
                x = x * torch.sigmoid(excitation.gate(F.silu(excitation.gather(small))))
            maps[int(name)] = x
        return torch.tanh(net.to_rgb(x))

    def _projected(self, latents: Tensor) -> Tensor:
        x: Tensor = self.net.project(latents)
        return x.reshape(len(latents), -1, 4, 4)


class NaiveCritic(nn.Module):
    """A copy of a critic, computed in its plain form."""

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.net: Any = copy.deepcopy(critic).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def forward(self, views: Views) -> list[Tensor]:
        """Scores (n,) of each head."""
        heads = self.net.heads.items()
        return [_score(name, head, view) for (name, head), view in zip(heads, views, strict=True)]


def _score(name: str, head: Any, view: Tensor) -> Tensor:
    x = view
    for block in head.blocks.values():
        conv = block.conv
        x = F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding)
        x = _relu(block.norm(x) if hasattr(block, "norm") else x)
    if name == "picture":
        scores: Tensor = head.score(x.flatten(1)).squeeze(1)
        return scores
    return F.conv2d(x, head.score.weight, head.score.bias, padding=1).mean((1, 2, 3))


class NaiveStep:
    """WGAN-GP's two steps without any of our care; augmentation is left out on both sides."""

    def __init__(self, networks: Networks, config: FitConfig, autocast: Autocast) -> None:
        self.generator, self.critic = NaiveGenerator(networks.generator), NaiveCritic(networks.critic)
        self.vision = networks.vision
        self.config = config
        self.autocast = autocast
        betas = (config.beta1, config.beta2)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), config.critic_lr, betas)
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), config.generator_lr, betas)

    def critic_step(self, reals: Views, draw: FakesDraw, epsilon: Tensor) -> float:
        """One update; returns the loss, a sum over heads."""
        self.critic_optimiser.zero_grad()
        share = epsilon.reshape(-1, 1, 1, 1)
        lengths = self.vision.lengths(reals[0].shape[-1])
        with self.autocast():
            fakes = tuple(view.detach() for view in self._fakes(draw))
            real_scores = self.critic(reals)
            fake_scores = self.critic(fakes)
            points = tuple(
                ((share * fake + (1 - share) * real) / length).requires_grad_(True)
                for real, fake, length in zip(reals, fakes, lengths, strict=True)
            )
            scaled = (point * length for point, length in zip(points, lengths, strict=True))
            scores = self.critic(tuple(scaled))
        loss = torch.zeros((), dtype=epsilon.dtype, device=epsilon.device)
        for real, fake, score, point in zip(real_scores, fake_scores, scores, points, strict=True):
            (gradient,) = torch.autograd.grad(
                score, point, torch.ones_like(score), create_graph=True, retain_graph=True
            )
            norm = (gradient.flatten(1).square().sum(1) + 1e-12).sqrt()
            penalty = self.config.penalty_weight * (norm - 1).square().mean()
            drift = self.config.drift_weight * real.square().mean()
            loss = loss + fake.mean() - real.mean() + penalty + drift
        loss.backward()
        self.critic_optimiser.step()
        return float(loss.item())

    def generator_step(self, draw: FakesDraw) -> float:
        """One update; returns the loss, a weighted sum over heads."""
        self.generator_optimiser.zero_grad()
        with self.autocast():
            scores = self.critic(self._fakes(draw))
        weighted = zip(self.vision.head_weights, scores, strict=True)
        loss = -torch.stack([weight * score.mean() for weight, score in weighted]).sum()
        loss.backward()
        self.generator_optimiser.step()
        return float(loss.item())

    def _fakes(self, draw: FakesDraw) -> Views:
        views: Views = self.vision(self.generator(draw.latents), draw.offset)
        return views
