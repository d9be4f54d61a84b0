"""What the critic makes of held-out photographs: against values worked out by hand."""

from statistics import fmean

import pytest
import torch

from tests.drawings import bowls
from tests.shapes import critic_shape, generator_shape
from trainer.nets.critic import Critic
from trainer.nets.efficientnet import load_pretrained
from trainer.nets.generator import make_generator
from trainer.nets.vision import PretrainedVision, Vision
from trainer.pictures import to_device, to_float
from trainer.training import heldout
from trainer.training.heldout import (
    CriticComparison,
    CriticWatch,
    Losses,
    features_of,
    scores_of,
)
from trainer.training.objectives import ObjectiveName, gradient_penalty, interpolate, make_objective

CPU = torch.device("cpu")
TRAINING, HELD_OUT = to_device(bowls(9, 32), CPU), to_device(bowls(6, 32, first=50), CPU)


def watch(name: ObjectiveName = "wgan-gp", vision: Vision | None = None) -> CriticWatch:
    objective = make_objective(name, penalty_weight=10.0, drift_weight=0.1, clip=0.01)
    return CriticWatch(TRAINING, HELD_OUT, 8, objective, vision or Vision())


def test_both_kinds_have_losses_of_their_own() -> None:
    """Each of the two from scores and interpolates of its own photographs, with the same fakes."""
    torch.manual_seed(0)
    critic, generator = Critic(critic_shape()), make_generator(generator_shape())
    looked = watch()
    found = looked(critic, generator)
    generator.eval()
    with torch.no_grad():
        fakes = generator(looked.latents)
    for losses, pictures in ((found.training, looked.training), (found.held_out, HELD_OUT)):
        reals = to_float(pictures)
        real, fake = critic((reals,)), critic((fakes,))
        penalty = gradient_penalty(critic, interpolate((reals,), (fakes,), looked.epsilon)).mean().item()
        loss = (fake - real + 0.1 * real.square()).mean().item() + 10 * penalty
        assert losses.penalty == pytest.approx(penalty, rel=1e-4)
        assert losses.wasserstein == pytest.approx((real - fake).mean().item(), rel=1e-4, abs=1e-6)
        assert losses.critic_loss == pytest.approx(loss, rel=1e-4)
    assert found.training.penalty != found.held_out.penalty
    everything = torch.cat([critic((to_float(looked.training),)), critic((fakes,))])
    assert found.spread == pytest.approx(everything.std().item(), rel=1e-4)


@pytest.mark.parametrize(("critic_trains", "generator_trains"), [(True, False), (False, True)])
def test_nothing_is_changed_and_no_graph_is_kept(critic_trains: bool, generator_trains: bool) -> None:
    """Neither modes nor batch norm's statistics, of both networks; both are looked at in evaluation mode."""
    torch.manual_seed(0)
    critic, generator = Critic(critic_shape(norm="batch")), make_generator(generator_shape())
    critic.train(critic_trains)
    generator.train(generator_trains)
    before = {name: t.clone() for net in (critic, generator) for name, t in net.state_dict().items()}
    looked = watch("dcgan")
    found = looked(critic, generator)
    assert (critic.training, generator.training) == (critic_trains, generator_trains)
    after = {name: t for net in (critic, generator) for name, t in net.state_dict().items()}
    assert all(torch.equal(t, before[name]) for name, t in after.items())
    assert all(p.grad is None for p in (*critic.parameters(), *generator.parameters()))
    critic.eval()
    generator.eval()
    assert looked(critic, generator) == found
    scores = scores_of(critic.train(), Vision(), HELD_OUT)
    assert critic.training
    assert torch.equal(scores, scores_of(critic.eval(), Vision(), HELD_OUT))


@pytest.mark.parametrize("name", ["wgan-gp", "wgan", "dcgan"])
def test_each_head_of_a_seeing_critic_has_its_own(name: ObjectiveName) -> None:
    vision = PretrainedVision(load_pretrained())
    vision.draw(0)
    vision.calibrate(to_float(TRAINING))
    torch.manual_seed(0)
    critic, generator = Critic(critic_shape("seeing")), make_generator(generator_shape())
    found = watch(name, vision)(critic, generator)
    heads = len(critic.head_names)
    for values in (found.separations, found.gaps, found.spreads, found.training.losses):
        assert len(values) == heads
        assert len(set(values)) > 1
    assert found.separation == pytest.approx(fmean(found.separations))
    assert (found.slope > 0) is (name == "wgan")
    assert (found.training.penalty > 0) is (name == "wgan-gp")
    assert scores_of(critic, vision, HELD_OUT).shape == (6, heads)
    assert features_of(critic, vision, HELD_OUT).shape == (6, critic.feature_size())


def test_some_at_a_time_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    critic, generator = Critic(critic_shape()), make_generator(generator_shape())
    whole, scores = watch()(critic, generator), scores_of(critic, Vision(), HELD_OUT)
    monkeypatch.setattr(heldout, "CHUNK", 4)
    parts = watch()(critic, generator)
    for one, other in ((whole.training, parts.training), (whole.held_out, parts.held_out)):
        assert one.losses == pytest.approx(other.losses, rel=1e-4)
        assert one.apart == pytest.approx(other.apart, rel=1e-4)
        assert one.penalties == pytest.approx(other.penalties, rel=1e-4)
    assert whole.spreads == pytest.approx(parts.spreads, rel=1e-4)
    torch.testing.assert_close(scores_of(critic, Vision(), HELD_OUT), scores)


def test_as_many_are_looked_at_of_each_as_of_the_fewest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(watch().training) == len(watch().held_out) == len(watch().latents) == len(HELD_OUT)
    few = CriticWatch(TRAINING[:5], HELD_OUT, 8, watch().objective, Vision())
    assert len(few.training) == len(few.held_out) == 5
    monkeypatch.setattr(heldout, "LOOKED_AT", 4)
    assert len(watch().training) == len(watch().held_out) == 4


def test_a_clipped_critics_slope_is_told_by_its_interpolates() -> None:
    torch.manual_seed(0)
    critic, generator = Critic(critic_shape()), make_generator(generator_shape()).eval()
    looked = watch("wgan")
    with torch.no_grad():
        fakes = generator(looked.latents)
    points = interpolate((to_float(looked.training),), (fakes,), looked.epsilon)
    penalty = gradient_penalty(critic, points).mean().item()
    assert looked(critic, generator).slope == pytest.approx(1 + penalty**0.5, rel=1e-4)


def losses(*apart: float) -> Losses:
    return Losses((0.0,) * len(apart), apart, (0.0,) * len(apart))


def test_the_gap_is_how_far_held_out_photographs_have_moved_towards_fakes() -> None:
    """r_v: 0 where they score as training ones do, 1 where they score as fakes do, by head."""
    found = CriticComparison(
        losses(2.0, 2.0, 2.0, 2.0, -1.0), losses(2.0, 1.0, 0.0, 3.0, 1.0), (1.0, 2.0, 4.0, 0.0, 1.0), 0.0
    )
    assert found.gaps == (0.0, 0.5, 1.0, -0.5, 0.0)
    assert found.separations == (2.0, 1.0, 0.5, 0.0, -1.0)
