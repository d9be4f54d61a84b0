"""What one step changes and what it leaves alone, and the average's decay."""

import contextlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.naive import NaiveStep
from trainer.config import make_config
from trainer.nets.architecture import Architecture, GeneratorNorm, NetworkKind
from trainer.nets.networks import Critic, Generator
from trainer.training.augment import NUMBERS, Augmentation
from trainer.training.objectives import ObjectiveName, gradient_penalty, interpolate, make_objective
from trainer.training.step import (
    CRITIC_STATISTICS,
    CriticDraw,
    GeneratorDraw,
    Networks,
    Task,
    critic_step,
    eager,
    ema_decay,
    generator_step,
    update_average,
)

ARCH = Architecture(32, 4, 8)
BATCH = 4


@pytest.fixture
def networks() -> Networks:
    torch.manual_seed(0)
    return Networks(Generator(ARCH), Critic(ARCH), Generator(ARCH), Critic(ARCH))


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


def task(name: ObjectiveName = "wgan-gp") -> Task:
    return Task(make_objective(name, penalty_weight=10.0, drift_weight=0.1, clip=0.01), Augmentation())


def take_critic_step(networks: Networks, name: ObjectiveName) -> torch.Tensor:
    """One step with plain gradient descent; returns the statistics' sums."""
    sums = torch.zeros(len(CRITIC_STATISTICS))
    critic_step(
        networks,
        torch.optim.SGD(networks.critic.parameters(), lr=1e-3),
        task(name),
        eager(networks, task(name)),
        torch.rand(BATCH, 3, 32, 32) * 2 - 1,
        critic_draw(),
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


def test_generator_step_moves_the_generator_only(networks: Networks) -> None:
    critic, generator = snapshot(networks.critic), snapshot(networks.generator)
    sums = torch.zeros(1)
    draw = GeneratorDraw(torch.randn(BATCH, 8), torch.rand(BATCH, NUMBERS))
    with torch.no_grad():
        expected = -networks.critic(networks.generator(draw.latents)).sum().item()
    generator_step(
        networks,
        torch.optim.SGD(networks.generator.parameters(), lr=1e-3),
        eager(networks, task()),
        draw,
        sums=sums,
    )
    assert same(networks.critic, critic)
    assert not same(networks.generator, generator)
    assert sums.item() == pytest.approx(expected, rel=1e-4)
    assert all(parameter.requires_grad for parameter in networks.critic.parameters())
    assert all(parameter.grad is None for parameter in networks.critic.parameters())


class _CountConvolutions(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.forward = self.backward = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.forward += func is torch.ops.aten.convolution.default
        self.backward += func is torch.ops.aten.convolution_backward.default
        return func(*args, **(kwargs or {}))


def test_the_critics_gradients_take_no_more_convolutions_than_they_must(networks: Networks) -> None:
    """Autograd's own second derivatives would walk the interpolates' forward graph once more, with zeros."""
    reals, fakes = torch.randn(2, BATCH, 3, 32, 32)
    with _CountConvolutions() as count:
        eager(networks, task()).critic(reals, fakes, torch.rand(BATCH))
    layers = ARCH.levels
    # reals and fakes joined, interpolates, and the penalty's tangents
    assert count.forward == 3 * layers
    # by the weights twice, by the input of interpolates, and of reals and fakes all but the picture itself
    assert count.backward == 4 * layers - 1


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_twenty_steps_are_those_of_the_plain_way_to_write_them(kind: NetworkKind) -> None:
    """Weight for weight in float64: our derivatives of folded layers, and autograd's of the plain form."""
    arch = Architecture(32, 4, 8, kind)
    torch.manual_seed(3)
    config = make_config(Path("none"), "modern", "wgan-gp", batch=BATCH, drift_weight=0.1)
    pairs = [(Generator(arch).double(), Critic(arch).double()) for _ in range(2)]
    nets = Networks(*pairs[0], *pairs[1])
    naive = NaiveStep(nets.generator, nets.critic, config, contextlib.nullcontext)
    for net in (nets.generator, nets.critic):
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    of_critic = torch.optim.Adam(nets.critic.parameters(), config.critic_lr, (0.0, 0.9), fused=True)
    of_generator = torch.optim.Adam(nets.generator.parameters(), config.generator_lr, (0.0, 0.9), fused=True)
    arithmetic = eager(nets, task())
    rng = torch.Generator().manual_seed(1)
    for _ in range(20):
        reals = torch.rand(BATCH, 3, 32, 32, generator=rng, dtype=torch.float64) * 2 - 1
        latents = torch.randn(BATCH, 8, generator=rng, dtype=torch.float64)
        epsilon = torch.rand(BATCH, generator=rng, dtype=torch.float64)
        none = torch.empty(BATCH, NUMBERS, dtype=torch.float64)
        draw = CriticDraw(latents, epsilon, none, none)
        sums = torch.zeros(len(CRITIC_STATISTICS), dtype=torch.float64)
        critic_step(nets, of_critic, task(), arithmetic, reals, draw, sums=sums)
        assert sums[0].item() / BATCH == pytest.approx(naive.critic_step(reals, draw), rel=1e-8)
        total = torch.zeros(1, dtype=torch.float64)
        generator_step(nets, of_generator, arithmetic, GeneratorDraw(latents, none), sums=total)
        expected = naive.generator_step(GeneratorDraw(latents, none))
        assert total.item() / BATCH == pytest.approx(expected, rel=1e-8)
    for ours, theirs in ((nets.critic, naive.critic.net), (nets.generator, naive.generator.net)):
        torch.testing.assert_close(dict(ours.named_parameters()), dict(theirs.named_parameters()))


@given(st.floats(1, 1e5), st.integers(1, 512), st.integers(1, 200))
def test_half_of_the_average_is_forgotten_in_a_half_life(half_life: float, batch: int, steps: int) -> None:
    decay = ema_decay(batch, 10**9, half_life, ramp=0.05)
    assert decay**steps == pytest.approx(math.exp2(-steps * batch / half_life), rel=1e-6, abs=1e-12)


def test_the_average_ramps_up_and_can_be_off() -> None:
    assert ema_decay(32, 32, 10_000, ramp=0.05) < ema_decay(32, 32_000, 10_000, ramp=0.05)
    assert ema_decay(32, 1_000, 0.0, ramp=0.05) == 0.0


@pytest.mark.parametrize("norm", ["pixel", "batch"])
def test_the_average_moves_by_its_decay(norm: GeneratorNorm) -> None:
    """Batch norm's running statistics too: those of the latest weights would not fit averaged ones."""
    arch = Architecture(32, 4, 8, generator_norm=norm)
    average, generator = Generator(arch), Generator(arch)
    generator(torch.randn(BATCH, 8))
    ema, target = snapshot(average), snapshot(generator)
    update_average(average, generator, 0.75)
    for name, tensor in average.state_dict().items():
        whole = not tensor.is_floating_point()  # how many batches were seen
        expected = target[name] if whole else 0.75 * ema[name] + 0.25 * target[name]
        torch.testing.assert_close(tensor, expected)
