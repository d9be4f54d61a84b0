"""Weights that are rounded all at once: which, when, and that nothing is lost on the way back."""

import contextlib

import pytest
import torch
from torch import Tensor, nn

from tests.shapes import critic_shape, generator_shape
from trainer.nets.critic import Critic
from trainer.nets.generator import make_generator
from trainer.training.weights import Autocast, Weights, widened_all


def bf16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def critic() -> Critic:
    torch.manual_seed(0)
    return Critic(critic_shape())


def rounded(weights: Weights, network: nn.Module) -> set[str]:
    names = (name for name, _ in network.named_parameters())
    return {
        name for name, tensor in zip(names, weights.tensors, strict=True) if tensor.dtype != torch.float32
    }


def test_without_autocast_they_are_the_networks_own() -> None:
    network = critic()
    weights = Weights(network, contextlib.nullcontext)
    assert all(ours is own for ours, own in zip(weights.tensors, network.parameters(), strict=True))


def test_what_is_multiplied_is_rounded_and_the_rest_is_not() -> None:
    """Scores in float32, or the drift term would be rounded away; batch norm's scale and shift are not
    multiplied as matrices are."""
    network = critic()
    names = {name for name, _ in network.named_parameters()}
    assert rounded(Weights(network, bf16), network) == {name for name in names if ".score." not in name}
    generator = make_generator(generator_shape("gated"))
    of_generator = rounded(Weights(generator, bf16), generator)
    norms = {name for name, _ in generator.named_parameters() if "norm" in name}
    assert norms
    assert of_generator == {name for name, _ in generator.named_parameters()} - norms


def test_they_follow_the_network_when_they_are_refreshed() -> None:
    network = critic()
    weights, picture = Weights(network, bf16), (torch.randn(2, 3, 32, 32),)
    weights.refresh()
    with torch.no_grad(), bf16():
        before = weights(picture)
        torch.testing.assert_close(before, network(picture), rtol=0, atol=0)
        for parameter in network.parameters():
            parameter.mul_(1.5)
        weights.refresh()
        torch.testing.assert_close(weights(picture), network(picture), rtol=0, atol=0)
        assert not torch.equal(weights(picture), before)


@pytest.mark.parametrize("autocast", [bf16, contextlib.nullcontext])
def test_gradients_are_taken_by_them_and_not_by_fixed_ones(autocast: Autocast) -> None:
    network = critic()
    weights = Weights(network, autocast)
    weights.refresh()
    picture = torch.randn(2, 3, 32, 32, requires_grad=True)
    with autocast():
        scores, fixed = weights((picture,)).sum(), weights.fixed((picture,)).sum()
    assert torch.equal(scores, fixed)
    assert all(gradient is not None for gradient in torch.autograd.grad(scores, weights.tensors))
    unused = torch.autograd.grad(fixed, [picture, *weights.tensors], allow_unused=True)
    assert [gradient is None for gradient in unused] == [False, *(True for _ in weights.tensors)]


def test_rounded_gradients_come_back_in_float32_and_as_they_lie() -> None:
    wide, narrow = torch.randn(3), torch.randn(4, 3, 2, 2).bfloat16().to(memory_format=torch.channels_last)
    found: tuple[Tensor, ...] = widened_all([narrow, wide])
    assert found[1] is wide
    assert found[0].dtype == torch.float32
    assert found[0].stride() == narrow.stride()
    assert torch.equal(found[0], narrow.float())
