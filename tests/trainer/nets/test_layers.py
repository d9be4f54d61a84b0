"""The rewritten layers against the plain forms they stand for, in float64."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.nets.layers import (
    LEAK,
    BatchNorm,
    PixelNorm,
    UpConv,
    convolve,
    gate,
    initialise,
    leaky_relu,
    stack,
    widened,
)

F64 = torch.float64


def plain_form(layer: UpConv, x: Tensor) -> Tensor:
    return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), layer.weight, layer.bias, padding=1)


@pytest.mark.parametrize("size", [4, 6, 16])
def test_a_folded_convolution_equals_the_plain_one_with_gradients(size: int) -> None:
    torch.manual_seed(size)
    layer = UpConv(3, 5).to(F64)
    x = torch.randn(2, 3, size, size, dtype=F64, requires_grad=True)
    folded, reference = layer(x), plain_form(layer, x)
    torch.testing.assert_close(folded, reference, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(reference)
    ours = torch.autograd.grad((folded * weights).sum(), [x, layer.weight])
    theirs = torch.autograd.grad((reference * weights).sum(), [x, layer.weight])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_a_folded_convolution_laid_out_on_the_meta_device_is_filled_by_its_weights() -> None:
    """As a checkpoint is loaded: what no file brings has to be there."""
    torch.manual_seed(0)
    layer, x = UpConv(3, 5), torch.randn(1, 3, 4, 4)
    with torch.device("meta"):
        empty = UpConv(3, 5)
    empty.load_state_dict(layer.state_dict(), assign=True)
    torch.testing.assert_close(empty.to("cpu")(x), layer(x))


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, 1), (4, 2, 1), (1, 1, 0)])
def test_a_convolution_and_its_derivatives_by_way_of_the_input(size: int, stride: int, padding: int) -> None:
    torch.manual_seed(size)
    x = torch.randn(2, 3, 6, 6, dtype=F64, requires_grad=True)
    weight = torch.randn(5, 3, size, size, dtype=F64, requires_grad=True)
    bias = torch.randn(5, dtype=F64, requires_grad=True)
    results = []
    for out in (
        convolve(x, weight, bias, stride=stride, padding=padding),
        F.conv2d(x, weight, bias, stride, padding),
    ):
        (slope,) = torch.autograd.grad(out.pow(3).sum(), x, create_graph=True)
        # through a square of the slope, as in a gradient penalty, and the output itself, as in the loss
        results.append([out, slope, *torch.autograd.grad(slope.square().sum() + out.sum(), [weight, bias])])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_leaky_relu_and_both_its_derivatives() -> None:
    x = torch.randn(100, dtype=F64, requires_grad=True)
    torch.testing.assert_close(leaky_relu(x), F.leaky_relu(x, LEAK))
    # through a square, so that the second derivative by x is not zero everywhere
    for activation in (leaky_relu, lambda t: F.leaky_relu(t, LEAK)):
        (first,) = torch.autograd.grad(activation(x).square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        slope = torch.where(x > 0, 1.0, LEAK).to(F64)
        torch.testing.assert_close(first, 2 * slope.square() * x)
        torch.testing.assert_close(second, 2 * slope.square())


def test_a_gate_is_torchs_own_with_its_gradient() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 3, 3, dtype=F64, requires_grad=True)
    torch.testing.assert_close(gate(x), F.glu(x, 1))
    weights = torch.randn(2, 3, 3, 3, dtype=F64)
    ours, theirs = (torch.autograd.grad((out * weights).sum(), x) for out in (gate(x), F.glu(x, 1)))
    torch.testing.assert_close(ours, theirs)


def test_alone_batch_norm_is_torchs_own() -> None:
    torch.manual_seed(0)
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm2d(3)
    x = torch.randn(4, 3, 5, 5) + 2
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_widening_never_narrows() -> None:
    for kind, wanted in ((torch.bfloat16, torch.float32), (torch.float32, torch.float32), (F64, F64)):
        assert widened(torch.zeros(1, dtype=kind)).dtype == wanted


def test_initialisation_keeps_the_size_of_what_passes() -> None:
    """He's for the leaky ReLU: the mean square of what comes out is that of what went in."""
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(64, 64, 3, padding=1)
    initialise(layer)
    x = torch.randn(8, 64, 16, 16)
    out = F.leaky_relu(layer(x), LEAK)[:, :, 1:-1, 1:-1]
    assert out.square().mean().item() == pytest.approx(1.0, rel=0.1)
    assert layer.bias is not None
    assert layer.bias.abs().max() == 0


def test_pixel_norm_gives_each_pixel_unit_mean_square() -> None:
    y = PixelNorm()(torch.randn(2, 16, 4, 4, dtype=F64) * 7)
    torch.testing.assert_close(y.square().mean(1), torch.ones(2, 4, 4, dtype=F64), rtol=1e-6, atol=1e-6)


def test_an_upsampling_convolutions_weights_and_gradients_lie_alike() -> None:
    """As the folding product takes them: a copy of either would be a kernel more at each step."""
    layer = UpConv(3, 5).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(2, 3, 4, 4)
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), [layer.weight])
    assert layer.weight.permute(1, 2, 3, 0).is_contiguous()
    assert gradient.stride() == layer.weight.stride()


def test_a_stack_can_be_differentiated_twice() -> None:
    parts = [torch.randn(3, dtype=F64, requires_grad=True) for _ in range(4)]
    assert torch.equal(stack(parts), torch.stack(parts))
    assert torch.autograd.gradcheck(lambda *given: stack(given), parts)
    assert torch.autograd.gradgradcheck(lambda *given: stack(given).square(), parts)
