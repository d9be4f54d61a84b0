"""Shapes, independence of batch-mates, and what may not be in a WGAN-GP critic."""

import pytest
import torch
from torch import nn

from trainer.nets.architecture import KINDS, RESOLUTIONS, Architecture
from trainer.nets.networks import Critic, Generator, latents_from_seeds


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [2, 6])
def test_shapes(resolution: int, kind: str, width: int) -> None:
    arch = Architecture(resolution, width, 8, kind)  # type: ignore[arg-type]
    pictures = Generator(arch)(torch.randn(2, 8))
    assert pictures.shape == (2, 3, resolution, resolution)
    assert pictures.abs().max() <= 1
    assert Critic(arch)(pictures).shape == (2,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["batch", "pixel", "none"])
def test_a_sample_depends_on_its_own_latent_only(kind: str, norm: str) -> None:
    """In evaluation mode, also with batch norm that has seen other batches in training mode."""
    torch.manual_seed(0)
    generator = Generator(Architecture(32, 4, 8, kind, generator_norm=norm))  # type: ignore[arg-type]
    generator(torch.randn(16, 8) * 3)
    generator.eval()
    latents = latents_from_seeds([11, 12, 13], 8)
    alone = generator(latents[:1])
    with_mates = generator(latents)[:1]
    with_others = generator(torch.cat([latents[:1], torch.randn(5, 8) * 10]))[:1]
    torch.testing.assert_close(alone, with_mates, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alone, with_others, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_depends_on_its_own_picture_only(kind: str) -> None:
    torch.manual_seed(0)
    critic = Critic(Architecture(32, 4, 8, kind))  # type: ignore[arg-type]
    pictures = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(critic(pictures[:1]), critic(pictures)[:1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_critic_has_no_batch_norm(kind: str) -> None:
    critic = Critic(Architecture(kind=kind))  # type: ignore[arg-type]
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in critic.modules())


def test_latents_are_a_function_of_the_seed_alone() -> None:
    one, two = latents_from_seeds([5, 6], 16), latents_from_seeds([6, 2**63 - 1], 16)
    assert torch.equal(one[1], two[0])
    assert not torch.equal(one[0], one[1])
