"""What one step changes and what it leaves alone, and the average's decay."""

import contextlib
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.augment import NUMBERS, Augmentation
from trainer.networks import Architecture, Critic, Generator
from trainer.objectives import ObjectiveName, gradient_penalty, interpolate, make_objective
from trainer.step import (
    CRITIC_STATISTICS,
    CriticDraw,
    GeneratorDraw,
    Networks,
    critic_step,
    ema_decay,
    generator_step,
    update_ema,
)

ARCH = Architecture(32, 4, 8)
BATCH = 4


@pytest.fixture
def networks() -> Networks:
    torch.manual_seed(0)
    return Networks(Generator(ARCH), Critic(ARCH), Generator(ARCH))


def snapshot(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(module: torch.nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def critic_draw() -> CriticDraw:
    rng = torch.Generator().manual_seed(1)
    return CriticDraw(
        torch.randn(BATCH, 8, generator=rng),
        torch.rand(BATCH, generator=rng),
        torch.rand(BATCH, NUMBERS, generator=rng),
        torch.rand(BATCH, NUMBERS, generator=rng),
    )


def take_critic_step(networks: Networks, name: ObjectiveName, factor: float = 1.0) -> torch.Tensor:
    """One step with plain gradient descent; returns the statistics' sums."""
    sums = torch.zeros(len(CRITIC_STATISTICS))
    critic_step(
        networks,
        torch.optim.SGD(networks.critic.parameters(), lr=1e-3),
        make_objective(name, penalty_weight=10.0, drift_weight=0.1, clip=0.01),
        Augmentation(),
        torch.rand(BATCH, 3, 32, 32) * 2 - 1,
        critic_draw(),
        autocast=contextlib.nullcontext(),
        penalty_factor=factor,
        sums=sums,
    )
    return sums


@pytest.mark.parametrize("name", ["wgan-gp", "wgan", "dcgan"])
def test_critic_step_moves_the_critic_only(networks: Networks, name: ObjectiveName) -> None:
    critic, generator = snapshot(networks.critic), snapshot(networks.generator)
    take_critic_step(networks, name)
    assert not same(networks.critic, critic)
    assert same(networks.generator, generator)
    assert all(parameter.grad is None for parameter in networks.generator.parameters())


def test_clipping_holds_after_each_step(networks: Networks) -> None:
    for _ in range(2):
        take_critic_step(networks, "wgan")
        assert max(p.abs().max().item() for p in networks.critic.parameters()) <= 0.01


def test_statistics_are_sums_over_samples(networks: Networks) -> None:
    """Against the same figures computed one by one with the critic as it was before the step."""
    torch.manual_seed(5)
    reals = torch.rand(BATCH, 3, 32, 32) * 2 - 1
    draw = critic_draw()
    fakes = networks.generator(draw.latents).detach()
    real, fake = networks.critic(reals), networks.critic(fakes)
    penalty = gradient_penalty(networks.critic, interpolate(reals, fakes, draw.epsilon))
    loss = fake - real + 0.1 * real.square() + 10 * penalty
    expected = [loss.sum(), (real - fake).sum(), penalty.sum(), real.sum(), fake.sum()]
    torch.manual_seed(5)
    sums = take_critic_step(networks, "wgan-gp")
    assert sums.tolist() == pytest.approx([value.item() for value in expected], rel=1e-4, abs=1e-4)


def test_a_lazy_penalty_counts_as_often_as_it_is_left_out(networks: Networks) -> None:
    """Factor 0 skips it; factor k makes its share of the gradient k times as large."""
    assert take_critic_step(networks, "wgan-gp", factor=0.0)[2].item() == 0
    gradients = {}
    for factor in (0.0, 1.0, 4.0):
        torch.manual_seed(0)
        fresh = Networks(Generator(ARCH), Critic(ARCH), Generator(ARCH))
        take_critic_step(fresh, "wgan-gp", factor=factor)
        weight = fresh.critic.blocks[0].conv.weight  # type: ignore[union-attr]
        gradients[factor] = weight.grad
    share = gradients[1.0] - gradients[0.0]  # type: ignore[operator]
    torch.testing.assert_close(gradients[4.0] - gradients[0.0], 4 * share, rtol=1e-3, atol=1e-4)  # type: ignore[operator]


def test_generator_step_moves_the_generator_only(networks: Networks) -> None:
    critic, generator = snapshot(networks.critic), snapshot(networks.generator)
    sums = torch.zeros(1)
    draw = GeneratorDraw(torch.randn(BATCH, 8), torch.rand(BATCH, NUMBERS))
    with torch.no_grad():
        expected = -networks.critic(networks.generator(draw.latents)).sum().item()
    generator_step(
        networks,
        torch.optim.SGD(networks.generator.parameters(), lr=1e-3),
        make_objective("wgan-gp", penalty_weight=10.0, drift_weight=0.0, clip=0.01),
        Augmentation(),
        draw,
        autocast=contextlib.nullcontext(),
        sums=sums,
    )
    assert same(networks.critic, critic)
    assert not same(networks.generator, generator)
    assert sums.item() == pytest.approx(expected, rel=1e-4)
    assert all(parameter.requires_grad for parameter in networks.critic.parameters())
    assert all(parameter.grad is None for parameter in networks.critic.parameters())


@given(st.floats(1, 1e5), st.integers(1, 512), st.integers(1, 200))
def test_half_of_the_average_is_forgotten_in_a_half_life(half_life: float, batch: int, steps: int) -> None:
    decay = ema_decay(batch, 10**9, half_life, ramp=0.05)
    assert decay**steps == pytest.approx(math.exp2(-steps * batch / half_life), rel=1e-6, abs=1e-12)


def test_the_average_ramps_up_and_can_be_off() -> None:
    assert ema_decay(32, 32, 10_000, ramp=0.05) < ema_decay(32, 32_000, 10_000, ramp=0.05)
    assert ema_decay(32, 1_000, 0.0, ramp=0.05) == 0.0


def test_the_average_moves_by_its_decay(networks: Networks) -> None:
    ema, target = snapshot(networks.ema), snapshot(networks.generator)
    update_ema(networks.ema, networks.generator, 0.75)
    for name, tensor in networks.ema.state_dict().items():
        torch.testing.assert_close(tensor, 0.75 * ema[name] + 0.25 * target[name])
