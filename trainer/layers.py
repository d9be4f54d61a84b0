"""Layers cheap to differentiate twice: folded convolutions and a leaky ReLU without a second derivative.

Both are exact rewrites (equal to rounding) of the plain forms, which the tests keep beside them.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAK = 0.2


def _apply(function: Any, *tensors: Tensor) -> Tensor:
    """`Function.apply` has no types of its own."""
    result: Tensor = function.apply(*tensors)
    return result


class _Slope(torch.autograd.Function):
    """grad times the leaky ReLU's slope at `out`: linear in `grad`, constant in `out`."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, out: Tensor) -> Tensor:
        ctx.save_for_backward(out)
        result: Tensor = torch.ops.aten.leaky_relu_backward(grad, out, LEAK, True)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        return _apply(_Slope, grad, out), None


class _LeakyReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = F.leaky_relu(x, LEAK)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # detached: through its own output autograd would walk the forward graph again
        (out,) = ctx.saved_tensors
        return _apply(_Slope, grad, out.detach())


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2 whose second derivative, zero almost everywhere, is structurally absent.

    Autograd's own formula sends those zeros back through the whole forward graph when the gradient penalty
    is differentiated; this one ends there.
    """
    return _apply(_LeakyReLU, x)


def fold_with_pair_sum(kernel: Tensor) -> Tensor:
    """Sum of a 3x3 kernel placed at the four corners of a 4x4 one: shape (o, i, 3, 3) -> (o, i, 4, 4)."""
    rows = F.pad(kernel, (0, 0, 1, 0)) + F.pad(kernel, (0, 0, 0, 1))
    return F.pad(rows, (1, 0)) + F.pad(rows, (0, 1))


class DownConv(nn.Conv2d):
    """A 3x3 convolution followed by a 2x2 mean pool, as one 4x4 convolution of stride 2.

    16 multiplications an output pixel instead of 36. The 3x3 weights are what is trained.
    Input (n, i, h, w) with even h and w; output (n, o, h/2, w/2).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, fold_with_pair_sum(self.weight) * 0.25, self.bias, stride=2, padding=1)


class UpConv(nn.Conv2d):
    """Nearest upsampling by 2 followed by a 3x3 convolution, as one 4x4 transposed convolution of stride 2.

    Input (n, i, h, w); output (n, o, 2h, 2w). The 3x3 weights are what is trained.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        kernel = fold_with_pair_sum(self.weight).flip(2, 3).transpose(0, 1)
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


def mean_pool(x: Tensor) -> Tensor:
    """2x2 mean pool as a strided mean: `avg_pool2d` would walk the forward graph at the double backward."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))


class PixelNorm(nn.Module):
    """Scales each pixel's feature vector to unit mean square (Karras et al. 2018, section 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)
