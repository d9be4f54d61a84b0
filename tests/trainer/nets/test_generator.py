"""Generators: shapes, pictures that depend on their own latent alone, and a 64 px one in a 128 px one."""

import math

import pytest
import torch

from tests.shapes import generator_shape
from trainer.nets.architecture import RESOLUTIONS, GeneratorKind, GeneratorNorm
from trainer.nets.generator import latents_from_seeds, make_generator
from trainer.nets.layers import LEAK, BatchNorm, PixelNorm

KINDS: tuple[GeneratorKind, ...] = ("plain", "gated")


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [2, 12])
def test_shapes(resolution: int, kind: GeneratorKind, width: int) -> None:
    generator = make_generator(generator_shape(kind, resolution, width=width))
    assert generator.shape == generator_shape(kind, resolution, width=width)
    pictures = generator(torch.randn(2, 8))
    assert pictures.shape == (2, 3, resolution, resolution)
    assert pictures.abs().max() <= 1


@pytest.mark.parametrize(
    ("kind", "norm"), [("plain", "batch"), ("plain", "pixel"), ("plain", "none"), ("gated", "batch")]
)
def test_a_sample_depends_on_its_own_latent_only(kind: GeneratorKind, norm: GeneratorNorm) -> None:
    """In evaluation mode, also with batch norm that has seen other batches in training mode."""
    torch.manual_seed(0)
    generator = make_generator(generator_shape(kind, norm=norm))
    generator(torch.randn(16, 8) * 3)
    generator.eval()
    latents = latents_from_seeds([11, 12, 13], 8)
    alone = generator(latents[:1])
    with_mates = generator(latents)[:1]
    with_others = generator(torch.cat([latents[:1], torch.randn(5, 8) * 10]))[:1]
    torch.testing.assert_close(alone, with_mates, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alone, with_others, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_one_is_the_beginning_of_a_larger_one(kind: GeneratorKind) -> None:
    """By name and shape, all but the last layer: training can go on at twice the size."""
    torch.manual_seed(0)
    smaller, larger = (make_generator(generator_shape(kind, size, width=32)) for size in (64, 128))
    begun = {name: tensor for name, tensor in smaller.state_dict().items() if "to_rgb" not in name}
    state = larger.state_dict()
    assert all(state[name].shape == tensor.shape for name, tensor in begun.items())
    larger.load_state_dict({**state, **begun})


def test_a_gated_generators_latents_lie_on_a_sphere() -> None:
    """Of the radius that normal ones have on average."""
    generator = make_generator(generator_shape("gated")).eval()
    latents, seen = torch.randn(3, 8), list[torch.Tensor]()
    generator.get_submodule("project").register_forward_hook(lambda layer, given, out: seen.append(given[0]))
    torch.testing.assert_close(generator(latents), generator(5 * latents))
    torch.testing.assert_close(seen[1].square().mean(1), torch.ones(3))


def test_a_gated_generator_convolves_twice_where_it_pays_and_has_no_bias_under_a_norm() -> None:
    """Names of a checkpoint's tensors, too."""
    names = {name for name, _ in make_generator(generator_shape("gated")).named_parameters()}
    norms = ["norm", "blocks.8.norm", "blocks.16.norm", "blocks.32.norm"]
    norms += ["blocks.8.second_norm", "blocks.32.second_norm"]
    biased = [*norms, "excitations.32.gather", "excitations.32.gate", "to_rgb"]
    plain = ["project", "blocks.8.up", "blocks.8.conv", "blocks.16.up", "blocks.32.up", "blocks.32.conv"]
    assert names == {f"{name}.weight" for name in biased + plain} | {f"{name}.bias" for name in biased}


@pytest.mark.parametrize(
    ("kind", "layer", "gain"),
    [
        ("plain", "to_rgb", 1.0),
        ("gated", "to_rgb", 1.0),
        ("plain", "project", math.sqrt(2 / (1 + LEAK**2))),
        ("gated", "project", 1.0),
    ],
)
def test_layers_begin_with_the_spread_that_what_follows_lets_pass(
    kind: GeneratorKind, layer: str, gain: float
) -> None:
    """Of the root of the inputs: tanh and a gate ask for 1, a leaky ReLU for what it takes away."""
    torch.manual_seed(0)
    begun = make_generator(generator_shape(kind, width=256))
    weight = begun.get_parameter(f"{layer}.weight")
    assert weight.std().item() == pytest.approx(gain * weight[0].numel() ** -0.5, rel=0.03)
    biases = [tensor for name, tensor in begun.named_parameters() if name == f"{layer}.bias"]
    assert all(bias.eq(0).all() for bias in biases)


@pytest.mark.parametrize(
    ("norm", "wanted"), [("batch", BatchNorm), ("pixel", PixelNorm), ("none", torch.nn.Identity)]
)
def test_each_block_has_the_norm_that_is_asked_for(norm: GeneratorNorm, wanted: type) -> None:
    generator = make_generator(generator_shape(norm=norm))
    found = [layer for name, layer in generator.named_modules() if name.endswith("norm")]
    assert len(found) == 4
    assert {type(layer) for layer in found} == {wanted}


@pytest.mark.parametrize("size", [32, 64])
def test_small_maps_gate_the_channels_of_large_ones(size: int) -> None:
    """Shut, the gate at 4 px leaves nothing of the map at 32 px; and so on."""
    torch.manual_seed(0)
    generator = make_generator(generator_shape("gated", 64)).eval()
    gates = generator.get_submodule(f"excitations.{size}.gate")
    before = generator(torch.randn(2, 8))
    assert isinstance(gates, torch.nn.Conv2d)
    assert gates.bias is not None
    torch.nn.init.constant_(gates.bias, -100.0)
    after = generator(torch.randn(2, 8))
    assert before.std((2, 3)).min() > 0
    if size == 64:  # of the last map nothing is left but to_rgb's bias
        assert after.std((2, 3)).max() == 0


def test_latents_are_a_function_of_the_seed_alone() -> None:
    one, two = latents_from_seeds([5, 6], 16), latents_from_seeds([6, 2**63 - 1], 16)
    assert torch.equal(one[1], two[0])
    assert not torch.equal(one[0], one[1])
