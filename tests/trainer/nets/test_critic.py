"""Critics: one score a view, each by its own head, and what may not be in a WGAN-GP critic."""

import pytest
import torch
from torch import nn

from tests.shapes import critic_shape
from trainer.nets.architecture import RESOLUTIONS, CriticKind
from trainer.nets.critic import Critic
from trainer.nets.vision import Views, map_shapes

KINDS: tuple[CriticKind, ...] = ("plain", "seeing")


def views(kind: CriticKind, count: int, resolution: int = 32, seed: int = 0) -> Views:
    """Random views of the right shapes: a critic does not ask where they come from."""
    rng = torch.Generator().manual_seed(seed)
    pictures = torch.rand(count, 3, resolution, resolution, generator=rng) * 2 - 1
    if kind == "plain":
        return (pictures,)
    maps = (
        torch.randn(count, channels, size, size, generator=rng)
        for channels, size in map_shapes(resolution).values()
    )
    return (pictures, *maps)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_shapes(resolution: int, kind: CriticKind) -> None:
    critic = Critic(critic_shape(kind, resolution, width=6))
    seen = views(kind, 2, resolution)
    heads = ("picture", "stride2", "stride4", "stride8", "stride16", "stride32")
    assert critic.head_names == (heads if kind == "seeing" else heads[:1])
    assert critic(seen).shape == (2, len(critic.head_names))
    assert critic.features(seen).shape == (2, critic.feature_size())


def test_channels_of_maps_are_doubled_up_to_64() -> None:
    critic = Critic(critic_shape("seeing"))
    channels = {
        name: [len(weight) for part, weight in head.named_parameters() if part.endswith("conv.weight")]
        for name, head in critic.heads.items()
    }
    assert channels == {
        "picture": [4, 4, 4],
        "stride2": [16, 32, 64, 64],
        "stride4": [32, 64, 64],
        "stride8": [64, 64],
        "stride16": [64],
        "stride32": [64],
    }
    assert critic.feature_size() == 4 + 5 * 64


def test_a_picture_is_scored_by_a_linear_layer_and_a_map_by_the_mean_of_a_convolution() -> None:
    torch.manual_seed(0)
    critic, seen = Critic(critic_shape("seeing")), views("seeing", 3)
    scores, features = critic(seen).T, critic.features(seen).split([4, *[64] * 5], 1)
    for head, view, score, means in zip(critic.heads.values(), seen, scores, features, strict=True):
        maps = head.maps(view)
        flat = isinstance(head.score, nn.Linear)
        expected = head.score(maps.flatten(1) if flat else maps).flatten(1).mean(1)
        torch.testing.assert_close(score, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(means, maps.mean((2, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_depends_on_its_own_picture_only(kind: CriticKind) -> None:
    torch.manual_seed(0)
    critic, seen = Critic(critic_shape(kind)), views(kind, 4)
    alone = critic(tuple(view[:1] for view in seen))
    torch.testing.assert_close(alone, critic(seen)[:1], rtol=1e-4, atol=1e-4)


def test_a_head_sees_its_own_view_only() -> None:
    torch.manual_seed(0)
    critic, seen = Critic(critic_shape("seeing")), views("seeing", 2)
    before = critic(seen)
    for index in range(len(seen)):
        changed = tuple(view + (k == index) for k, view in enumerate(seen))
        others = [k for k in range(len(seen)) if k != index]
        after = critic(changed)
        assert torch.equal(after[:, others], before[:, others])
        assert not torch.equal(after[:, index], before[:, index])


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_critic_has_no_batch_norm(kind: CriticKind) -> None:
    critic = Critic(critic_shape(kind, 64))
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in critic.modules())


def test_batch_norm_leaves_the_picture_itself_alone() -> None:
    """Its mean and contrast are part of what is judged."""
    critic = Critic(critic_shape(norm="batch"))
    norms = [module for module in critic.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == len(critic.shape.channels) - 2


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_not_rounded_to_bf16(kind: CriticKind) -> None:
    """A drift term of 1e-3 · D² moves a score's bias by less than bf16 can tell: its gradient was 0."""
    torch.manual_seed(0)
    critic, seen = Critic(critic_shape(kind)), views(kind, 4)
    biases = {name: p for name, p in critic.named_parameters() if name.endswith("score.bias")}
    with torch.autocast("cpu", torch.bfloat16):
        scores = critic(seen)
    loss = (1e-3 * scores.square() - scores).mean(0).sum() + scores.detach().mean(0).sum()
    rest = torch.autograd.grad(loss, list(biases.values()))
    assert scores.dtype == torch.float32
    for gradient, score in zip(rest, scores.mean(0), strict=True):
        assert gradient.item() == pytest.approx(2e-3 * score.item() - 1, abs=1e-6)
