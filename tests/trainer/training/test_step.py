"""What one step changes and what it leaves alone, and the average's decay."""

import contextlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from testbed.naive import NaiveStep
from tests.shapes import critic_shape, generator_shape
from trainer.config import make_config
from trainer.nets.architecture import CriticKind, GeneratorKind, GeneratorNorm
from trainer.nets.critic import Critic
from trainer.nets.efficientnet import load_pretrained
from trainer.nets.generator import make_generator
from trainer.nets.vision import PretrainedVision, Views, Vision
from trainer.training.augment import NUMBERS, Augmentation
from trainer.training.objectives import ObjectiveName, gradient_penalty, interpolate, make_objective
from trainer.training.step import (
    CRITIC_STATISTICS,
    Arithmetic,
    FakesDraw,
    Networks,
    Task,
    constant,
    critic_step,
    eager,
    ema_decay,
    generator_step,
    update_averages,
    view_gradients,
)

BATCH = 4


def make_networks(generator: GeneratorKind = "plain", critic: CriticKind = "plain") -> Networks:
    torch.manual_seed(0)
    vision = Vision()
    if critic == "seeing":
        vision = PretrainedVision(load_pretrained())
        vision.draw(0)
        vision.calibrate(torch.rand(8, 3, 32, 32) * 2 - 1)
    of_generator, of_critic = generator_shape(generator), critic_shape(critic)
    return Networks(
        make_generator(of_generator),
        Critic(of_critic),
        make_generator(of_generator),
        Critic(of_critic),
        vision,
    )


@pytest.fixture
def networks() -> Networks:
    return make_networks()


def snapshot(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(module: torch.nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def fakes_draw(seed: int = 1) -> FakesDraw:
    rng = torch.Generator().manual_seed(seed)
    return FakesDraw(
        torch.randn(BATCH, 8, generator=rng),
        torch.rand(BATCH, NUMBERS, generator=rng),
        torch.rand(2, generator=rng),
    )


def photographs(seed: int = 2) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(BATCH, 3, 32, 32, generator=rng) * 2 - 1


EPSILON = torch.rand(BATCH, generator=torch.Generator().manual_seed(3))


def task(name: ObjectiveName = "wgan-gp", vision: Vision | None = None) -> Task:
    objective = make_objective(name, penalty_weight=10.0, drift_weight=0.1, clip=0.01)
    if not isinstance(vision, PretrainedVision):
        return Task(objective, Augmentation())
    values = vision.head_weights, vision.lengths(32)
    weights, lengths = (torch.tensor(value, dtype=torch.float64) for value in values)
    return Task(objective, Augmentation(), weights, lengths)


def take_critic_step(networks: Networks, name: ObjectiveName, *, joined: bool = True) -> torch.Tensor:
    """One step with plain gradient descent; returns the statistics' sums (5, heads)."""
    sums = torch.zeros(len(CRITIC_STATISTICS), len(networks.critic.head_names))
    what = replace(task(name, networks.vision), joined=joined)
    arithmetic = eager(networks, what)
    with torch.no_grad():
        reals: Views = networks.vision(photographs())
    critic_step(
        networks,
        torch.optim.SGD(networks.critic.parameters(), lr=1e-3),
        what,
        arithmetic,
        reals,
        arithmetic.fakes(fakes_draw()),
        EPSILON,
        sums=sums,
    )
    return sums


@pytest.mark.parametrize("critic", ["plain", "seeing"])
@pytest.mark.parametrize("name", ["wgan-gp", "wgan", "dcgan"])
def test_critic_step_moves_the_critic_only(name: ObjectiveName, critic: CriticKind) -> None:
    networks = make_networks(critic=critic)
    before, generator = snapshot(networks.critic), dict(networks.generator.named_parameters())
    kept = {key: parameter.clone() for key, parameter in generator.items()}
    vision = snapshot(networks.vision)
    take_critic_step(networks, name)
    heads = {name.split(".")[1] for name, t in snapshot(networks.critic).items() if not t.equal(before[name])}
    assert heads == set(networks.critic.head_names)
    assert all(torch.equal(parameter, kept[key]) for key, parameter in generator.items())
    assert all(parameter.grad is None for parameter in networks.generator.parameters())
    assert same(networks.vision, vision)


def test_clipping_holds_after_each_step(networks: Networks) -> None:
    for _ in range(2):
        take_critic_step(networks, "wgan")
        assert max(p.abs().max().item() for p in networks.critic.parameters()) <= 0.01


def test_statistics_are_sums_over_samples(networks: Networks) -> None:
    """Against the same figures computed one by one with the critic as it was before the step."""
    reals = photographs()
    fakes = networks.generator(fakes_draw().latents).detach()
    real, fake = networks.critic((reals,)), networks.critic((fakes,))
    penalty = gradient_penalty(networks.critic, interpolate((reals,), (fakes,), EPSILON))
    loss = fake - real + 0.1 * real.square() + 10 * penalty
    expected = [loss.sum(), (real - fake).sum(), penalty.sum(), real.sum(), fake.sum()]
    sums = take_critic_step(networks, "wgan-gp")
    assert sums[:, 0].tolist() == pytest.approx([value.item() for value in expected], rel=1e-4, abs=1e-4)


def test_dcgans_reals_and_fakes_go_through_batch_norm_apart() -> None:
    """Joined, the statistics would be those of both together."""
    sums = []
    for joined in (False, True):
        torch.manual_seed(0)
        shape = critic_shape(norm="batch")
        networks = replace(make_networks(), critic=Critic(shape), critic_average=Critic(shape))
        networks.critic.load_state_dict(networks.critic_average.state_dict())
        torch.manual_seed(1)
        for parameter in networks.critic.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        expected_real = networks.critic((photographs(),)).sum().item()
        sums.append(take_critic_step(networks, "dcgan", joined=joined))
        real = sums[-1][CRITIC_STATISTICS.index("score_real"), 0].item()
        assert (real == pytest.approx(expected_real, rel=1e-4)) is not joined


@pytest.mark.parametrize("critic", ["plain", "seeing"])
@pytest.mark.parametrize("name", ["wgan-gp", "wgan", "dcgan"])
def test_generator_step_moves_the_generator_only(name: ObjectiveName, critic: CriticKind) -> None:
    networks = make_networks("gated", critic)
    before, generator = snapshot(networks.critic), snapshot(networks.generator)
    vision = snapshot(networks.vision)
    what, sums = task(name, networks.vision), torch.zeros(1)
    arithmetic = eager(networks, what)
    fakes = arithmetic.fakes(fakes_draw())
    with torch.no_grad():
        losses = what.objective.generator_loss(networks.critic(fakes)).sum(0)
        expected = (torch.tensor(networks.vision.head_weights) * losses).sum().item()
    optimiser = torch.optim.SGD(networks.generator.parameters(), lr=1e-3)
    generator_step(networks, optimiser, arithmetic, fakes, sums=sums)
    assert same(networks.critic, before)
    assert same(networks.vision, vision)
    moved = {
        key for key, parameter in networks.generator.named_parameters() if not parameter.equal(generator[key])
    }
    assert moved == {key for key, _ in networks.generator.named_parameters()}
    assert sums.item() == pytest.approx(expected, rel=1e-4)
    assert all(parameter.requires_grad for parameter in networks.critic.parameters())
    assert all(parameter.grad is None for parameter in networks.critic.parameters())


def test_fakes_are_augmented_in_both_updates(networks: Networks) -> None:
    """What the critic and the generator get is what augmentation makes of the pictures."""
    augmentation = Augmentation(colour=1.0, translation=0.25)
    what = replace(task(), augmentation=augmentation)
    arithmetic, draw = eager(networks, what), fakes_draw()
    networks.generator.eval()
    (view,) = arithmetic.fakes(draw)
    plain = networks.generator(draw.latents)
    torch.testing.assert_close(view, augmentation(plain, draw.numbers))
    assert not torch.allclose(view, plain)


@pytest.mark.parametrize("part", ["fakes", "views", "critic"])
def test_under_autocast_each_part_computes_with_the_networks_present_weights(
    part: str, networks: Networks
) -> None:
    """Its weights are rounded copies, taken anew each time."""
    what = replace(task(), autocast=lambda: torch.autocast("cpu", torch.bfloat16))
    reals, fakes = (photographs(2).bfloat16(),), (photographs(3).bfloat16(),)

    def result(arithmetic: Arithmetic) -> Any:
        if part == "fakes":
            return constant(arithmetic.fakes(fakes_draw()))
        return arithmetic.views(fakes) if part == "views" else arithmetic.critic(reals, fakes, EPSILON)

    used = eager(networks, what)
    before = result(used)
    with torch.no_grad():
        for parameter in (*networks.generator.parameters(), *networks.critic.parameters()):
            parameter.mul_(1.5)
    after = result(used)
    torch.testing.assert_close(after, result(eager(networks, what)))
    assert not torch.allclose(after[0][0], before[0][0])


def test_the_generators_loss_is_a_row_of_one(networks: Networks) -> None:
    """Statistics of both networks are averaged over processes as rows."""
    fakes = (photographs(),)
    gradients, loss = view_gradients(networks.critic, task(), fakes)
    torch.testing.assert_close(loss, -networks.critic(fakes).mean(0).detach())
    assert loss.shape == (1,)
    assert [gradient.shape for gradient in gradients] == [view.shape for view in fakes]


def test_gradients_lie_in_memory_as_their_parameters_do(networks: Networks) -> None:
    """However they come: a fused optimiser walks both in memory's order."""
    networks.critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    arithmetic = eager(networks, task())

    def in_rows(*given: Any) -> Any:
        gradients, rows = arithmetic.critic(*given)
        return tuple(gradient.contiguous() for gradient in gradients), rows

    optimiser = torch.optim.SGD(networks.critic.parameters(), lr=1e-3)
    changed, views = replace(arithmetic, critic=in_rows), (photographs(), photographs(3))
    sums = torch.zeros(len(CRITIC_STATISTICS), 1)
    critic_step(networks, optimiser, task(), changed, views[:1], views[1:], EPSILON, sums=sums)
    assert any(not parameter.is_contiguous() for parameter in networks.critic.parameters())
    for parameter in networks.critic.parameters():
        assert parameter.grad is not None
        assert parameter.grad.stride() == parameter.stride()


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
        eager(networks, task()).critic((reals,), (fakes,), torch.rand(BATCH))
    layers = len(networks.critic.shape.channels) - 1
    # reals and fakes joined, interpolates, and the penalty's tangents
    assert count.forward == 3 * layers
    # by the weights twice, by the input of interpolates, and of reals and fakes all but the picture itself
    assert count.backward == 4 * layers - 1


@pytest.mark.parametrize(
    ("generator", "critic"), [("plain", "plain"), ("gated", "plain"), ("gated", "seeing")]
)
def test_steps_are_those_of_the_plain_way_to_write_them(generator: GeneratorKind, critic: CriticKind) -> None:
    """Weight for weight in float64: our derivatives of folded layers, and autograd's of the plain form."""
    config = make_config(Path("none"), "modern", "wgan-gp", batch=BATCH, drift_weight=0.1)
    networks = make_networks(generator, critic)
    for net in vars(networks).values():
        net.double()
    naive = NaiveStep(networks, config, contextlib.nullcontext)
    for net in (networks.generator, networks.critic):
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    betas = (config.beta1, config.beta2)
    of_critic = torch.optim.Adam(networks.critic.parameters(), config.critic_lr, betas, fused=True)
    of_generator = torch.optim.Adam(networks.generator.parameters(), config.generator_lr, betas, fused=True)
    what = task(vision=networks.vision)
    arithmetic = eager(networks, what)
    rng = torch.Generator().manual_seed(1)
    steps, batch = (20, BATCH) if critic == "plain" else (3, 2)
    for _ in range(steps):
        pictures = torch.rand(batch, 3, 32, 32, generator=rng, dtype=torch.float64) * 2 - 1
        with torch.no_grad():
            reals: Views = networks.vision(pictures)
        latents = torch.randn(batch, 8, generator=rng, dtype=torch.float64)
        epsilon = torch.rand(batch, generator=rng, dtype=torch.float64)
        none = torch.empty(batch, NUMBERS, dtype=torch.float64)
        draw = FakesDraw(latents, none, torch.rand(2, generator=rng))
        heads = len(networks.critic.head_names)
        sums = torch.zeros(len(CRITIC_STATISTICS), heads, dtype=torch.float64)
        fakes = arithmetic.fakes(draw)
        critic_step(networks, of_critic, what, arithmetic, reals, fakes, epsilon, sums=sums)
        loss = naive.critic_step(reals, draw, epsilon)
        assert sums[0].sum().item() / batch == pytest.approx(loss, rel=1e-8)
        total = torch.zeros(1, dtype=torch.float64)
        generator_step(networks, of_generator, arithmetic, fakes, sums=total)
        assert total.item() / batch == pytest.approx(naive.generator_step(draw), rel=1e-8)
    for ours, theirs in (
        (networks.critic, naive.critic.net),
        (networks.generator, naive.generator.net),
    ):
        torch.testing.assert_close(dict(ours.named_parameters()), dict(theirs.named_parameters()))


@given(st.floats(1, 1e5), st.integers(1, 512), st.integers(1, 200))
def test_half_of_the_average_is_forgotten_in_a_half_life(half_life: float, batch: int, steps: int) -> None:
    decay = ema_decay(batch, 10**9, half_life, ramp=0.05)
    assert decay**steps == pytest.approx(math.exp2(-steps * batch / half_life), rel=1e-6, abs=1e-12)


def test_the_average_ramps_up_and_can_be_off() -> None:
    """The half-life is at most a share of the images seen."""
    assert ema_decay(10, 1_000, 10_000, ramp=0.05) == pytest.approx(0.5 ** (10 / 50))
    assert ema_decay(10, 10**6, 10_000, ramp=0.05) == pytest.approx(0.5 ** (10 / 10_000))
    assert ema_decay(10, 1_000, 10_000, ramp=0.0) == pytest.approx(0.5 ** (10 / 10_000))
    assert ema_decay(10, 0, 10_000, ramp=0.05) == 0.0
    assert ema_decay(10, 1_000, 0.0, ramp=0.05) == 0.0


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("norm", ["pixel", "batch"])
def test_the_average_moves_by_its_share(norm: GeneratorNorm, staged: bool) -> None:
    """Batch norm's running statistics too: those of the latest weights would not fit averaged ones."""
    average, generator = (make_generator(generator_shape(norm=norm)) for _ in range(2))
    generator(torch.randn(BATCH, 8))
    ema, target = snapshot(average), snapshot(generator)
    update_averages([(average, generator)], torch.tensor(0.25) if staged else 0.25)
    for name, tensor in average.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, 0.75 * ema[name] + 0.25 * target[name])
