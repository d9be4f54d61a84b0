"""The mathematics of the objectives, against values worked out by hand and against finite differences."""

import math
from collections.abc import Callable
from itertools import zip_longest
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.shapes import critic_shape
from trainer.nets.architecture import CriticKind
from trainer.nets.critic import Critic
from trainer.nets.vision import Views, map_shapes
from trainer.training.augment import Augmentation
from trainer.training.objectives import (
    Objective,
    ObjectiveName,
    clip_weights,
    gradient_penalty,
    interpolate,
    make_objective,
    penalty_tangents,
    slopes_at,
)
from trainer.training.step import Task, critic_gradients

F64 = torch.float64


def objective(name: ObjectiveName, drift: float = 0.0) -> Objective:
    return make_objective(name, penalty_weight=10.0, drift_weight=drift, clip=0.01)


def scorer(function: Callable[[Tensor], Tensor]) -> Callable[[Views], Tensor]:
    """A critic of one head that scores the only view by a function of its own."""
    return lambda views: function(views[0])[:, None]


class TestGradientPenalty:
    def test_linear_critic_has_the_penalty_of_its_weights(self) -> None:
        """f(x) = w·x has gradient w everywhere: the penalty is (‖w‖ - 1)², whatever the points."""
        weights = torch.randn(3 * 4 * 4, dtype=F64)
        points = torch.randn(5, 3, 4, 4, dtype=F64)
        penalty = gradient_penalty(scorer(lambda x: x.flatten(1) @ weights), (points,))
        expected = (weights.norm() - 1).square().expand(5, 1)
        torch.testing.assert_close(penalty, expected, rtol=1e-9, atol=1e-9)

    def test_quadratic_critic_has_a_penalty_of_each_point(self) -> None:
        """f(x) = ½‖x‖² has gradient x: the penalty is (‖x‖ - 1)², another one for each sample."""
        points = torch.randn(6, 3, 4, 4, dtype=F64)
        penalty = gradient_penalty(scorer(lambda x: x.flatten(1).square().sum(1) / 2), (points,))
        expected = (points.flatten(1).norm(dim=1) - 1).square()
        assert expected.unique().numel() == 6
        torch.testing.assert_close(penalty[:, 0], expected, rtol=1e-9, atol=1e-9)

    def test_each_head_has_the_penalty_of_its_own_view(self) -> None:
        views = tuple(torch.randn(3, 2, size, size, dtype=F64) for size in (4, 8))

        def critic(seen: Views) -> Tensor:
            return torch.stack([view.flatten(1).square().sum(1) / 2 for view in seen], 1)

        penalty = gradient_penalty(critic, views)
        for column, view in zip(penalty.T, views, strict=True):
            expected = (view.flatten(1).norm(dim=1) - 1).square()
            torch.testing.assert_close(column, expected, rtol=1e-9, atol=1e-9)

    def test_norm_is_over_all_values_of_a_sample(self) -> None:
        """A unit gradient spread over every value costs nothing; over one axis it would."""
        count = 3 * 4 * 4
        weights = torch.full((count,), 1 / math.sqrt(count), dtype=F64)
        critic = scorer(lambda x: x.flatten(1) @ weights)
        assert gradient_penalty(critic, (torch.randn(2, 3, 4, 4, dtype=F64),)).abs().max() < 1e-12

    def test_distances_of_a_view_can_be_others_than_those_that_count(self) -> None:
        """Of a view u = l v, ‖∇f‖ at v is l times that at u."""
        weights, views = torch.randn(48, dtype=F64), (torch.randn(5, 3, 4, 4, dtype=F64),)
        penalty = gradient_penalty(scorer(lambda x: x.flatten(1) @ weights), views, torch.tensor([3.0]))
        torch.testing.assert_close(penalty, (3 * weights.norm() - 1).square().expand(5, 1))

    @given(st.floats(0.05, 20), st.floats(0.1, 10), st.integers(0, 1_000))
    def test_tangents_are_the_derivative_of_the_penalty(self, size: float, length: float, seed: int) -> None:
        rng = torch.Generator().manual_seed(seed)
        gradients = tuple(size * torch.randn(2, c, 2, 2, dtype=F64, generator=rng) for c in (1, 3))
        lengths = torch.tensor([1.0, length], dtype=F64)

        def penalty(*gradients: Tensor) -> Tensor:
            norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients], 1)
            return 7.0 * (norms * lengths - 1).square().mean(0).sum()

        leaves = tuple(gradient.clone().requires_grad_() for gradient in gradients)
        expected = torch.autograd.grad(penalty(*leaves), leaves)
        slopes = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients], 1) * lengths
        torch.testing.assert_close(penalty_tangents(slopes, gradients, lengths, 7.0), expected)

    def test_zero_gradient_has_a_finite_derivative(self) -> None:
        critic = scorer(lambda x: 0.0 * x.flatten(1).sum(1))
        points = (torch.ones(2, 3, 4, 4, dtype=F64),)
        slopes, gradients = slopes_at(critic, points)
        (tangent,) = penalty_tangents(slopes, gradients, None, 10.0)
        assert tangent.eq(0).all()
        penalty = gradient_penalty(critic, points)
        assert penalty.flatten().tolist() == pytest.approx([1.0, 1.0], abs=1e-5)

    def test_bf16_gradients_are_measured_in_float32(self) -> None:
        weights = torch.full((48,), 0.1, dtype=torch.bfloat16)
        points = torch.randn(2, 3, 4, 4, dtype=torch.bfloat16)
        critic = scorer(lambda x: x.flatten(1) @ weights)
        assert gradient_penalty(critic, (points,)).dtype == torch.float32


class TestInterpolate:
    def test_one_epsilon_a_sample(self) -> None:
        """Between 0 and 1 the interpolate shows ε itself: constant within a sample, another in the next."""
        epsilon = torch.rand(8)
        zeros = (torch.zeros(8, 3, 4, 4), torch.zeros(8, 5, 2, 2))
        for points in interpolate(zeros, tuple(view + 1 for view in zeros), epsilon):
            flat = points.flatten(1)
            assert torch.equal(flat.amin(1), flat.amax(1))
            torch.testing.assert_close(flat[:, 0], epsilon)

    def test_epsilon_weighs_the_fake(self) -> None:
        real, fake = torch.full((1, 3, 2, 2), 2.0), torch.full((1, 3, 2, 2), 6.0)
        (points,) = interpolate((real,), (fake,), torch.tensor([0.25]))
        assert points.unique().tolist() == [3.0]


class TestLosses:
    @given(st.floats(-20, 20), st.floats(-20, 20))
    def test_wasserstein_losses(self, real: float, fake: float) -> None:
        r, f = torch.tensor([real], dtype=F64), torch.tensor([fake], dtype=F64)
        assert objective("wgan").critic_loss(r, f).item() == pytest.approx(fake - real)
        assert objective("wgan-gp").generator_loss(f).item() == pytest.approx(-fake)
        with_drift = objective("wgan-gp", drift=0.5).critic_loss(r, f).item()
        assert with_drift == pytest.approx(fake - real + 0.5 * real**2)

    @given(st.floats(-20, 20), st.floats(-20, 20))
    def test_dcgan_is_binary_cross_entropy(self, real: float, fake: float) -> None:
        """-log σ(real) - log(1 - σ(fake)) for the critic, -log σ(fake) for the generator."""
        r, f = torch.tensor([real], dtype=F64), torch.tensor([fake], dtype=F64)
        bce = nn.BCEWithLogitsLoss()
        expected = bce(r, torch.ones_like(r)) + bce(f, torch.zeros_like(f))
        assert objective("dcgan").critic_loss(r, f).item() == pytest.approx(expected.item(), abs=1e-12)
        generator = objective("dcgan").generator_loss(f).item()
        assert generator == pytest.approx(bce(f, torch.ones_like(f)).item(), abs=1e-12)

    def test_each_objective_has_only_its_own_constraint(self) -> None:
        assert objective("wgan-gp").clip is None
        assert objective("wgan-gp").penalty_weight == 10
        assert objective("wgan").clip == 0.01
        assert objective("wgan").penalty_weight == 0
        assert objective("dcgan").clip is None
        assert objective("dcgan").penalty_weight == 0
        assert objective("dcgan", drift=0.5).drift_weight == 0
        assert (
            objective("wgan", drift=0.5).drift_weight == objective("wgan-gp", drift=0.5).drift_weight == 0.5
        )


@pytest.mark.parametrize(
    ("name", "kind"),
    [("wgan-gp", "plain"), ("wgan", "plain"), ("dcgan", "plain"), ("wgan-gp", "seeing")],
)
def test_critic_gradients_agree_with_finite_differences(name: str, kind: CriticKind) -> None:
    """The gradient of the critic's whole loss, penalty and its double backward included, in float64.

    A parameter of every head is moved at once: each shows in the loss of its own head alone.
    """
    torch.manual_seed(3)
    critic = Critic(critic_shape(kind, width=2)).to(F64)
    shapes = [(3, 32, 32)]
    if kind == "seeing":
        shapes += [(channels, size, size) for channels, size in map_shapes(32).values()]
    reals, fakes = (tuple(torch.randn(3, *shape, dtype=F64) / 2 for shape in shapes) for _ in range(2))
    epsilon = torch.rand(3, dtype=F64)
    system = objective(cast(ObjectiveName, name), drift=0.01)

    def losses() -> Tensor:
        found = system.critic_loss(critic(reals), critic(fakes)).mean(0)
        if system.penalty_weight:
            points = interpolate(reals, fakes, epsilon)
            found = found + system.penalty_weight * gradient_penalty(critic, points).mean(0)
        return found.detach()

    task = Task(system, Augmentation())
    parameters = list(critic.parameters())
    gradients, _ = critic_gradients(critic, parameters, task, reals, fakes, epsilon)
    of = dict(zip(parameters, gradients, strict=True))
    for of_heads in zip_longest(*(head.parameters() for head in critic.heads.values())):
        moved = {head: parameter for head, parameter in enumerate(of_heads) if parameter is not None}
        directions = [torch.randn_like(parameter) for parameter in moved.values()]
        step, found = 1e-8, []
        for times in (1, -2, 1):
            with torch.no_grad():
                torch._foreach_add_(list(moved.values()), directions, alpha=times * step)
            found.append(losses())
        numeric = (found[0] - found[1]) / (2 * step)
        for (head, parameter), direction in zip(moved.items(), directions, strict=True):
            along = (of[parameter] * direction).sum().item()
            assert along == pytest.approx(numeric[head].item(), rel=2e-4, abs=1e-6)


def test_clipping_leaves_every_weight_in_range() -> None:
    critic = Critic(critic_shape())
    before = torch.cat([p.detach().flatten() for p in critic.parameters()])
    clip_weights([p.data for p in critic.parameters()], 0.01)
    after = torch.cat([p.detach().flatten() for p in critic.parameters()])
    assert before.abs().max() > 0.01
    assert torch.equal(after, before.clamp(-0.01, 0.01))
