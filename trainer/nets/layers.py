"""Layers cheap to differentiate twice: folded convolutions, a convolution whose second derivative is one
kernel call, and a leaky ReLU that has none.

All are exact rewrites (equal to rounding) of the plain forms, which the tests keep beside them.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from trainer.nets.constants import Once

LEAK = 0.2


def widened(x: Tensor) -> Tensor:
    """In float32, or in float64 where it is so already."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def exact(x: Tensor) -> AbstractContextManager[object]:
    """Without autocast on the device of `x`: in the types that tensors have. Derivatives belong here, as
    autocast would round those of what was in float32."""
    return torch.autocast(x.device.type, enabled=False)


def working_dtype(x: Tensor) -> torch.dtype:
    """In what `x` is multiplied: autocast's type on its device, or else its own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def apply(function: Any, *arguments: Any) -> Tensor:
    """`Function.apply` has no types of its own."""
    result: Tensor = function.apply(*arguments)
    return result


class _Slope(torch.autograd.Function):
    """grad times the leaky ReLU's slope at `out`: linear in `grad`, constant in `out`."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, out: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(out)
        result: Tensor = torch.ops.aten.leaky_relu_backward(grad, out, LEAK, True)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, None]:
        (out,) = ctx.saved_tensors
        return None if grad is None else apply(_Slope, grad, out), None


class _LeakyReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        # An undefined gradient stays undefined: made into zeros, it would be taken through the whole forward
        # graph of the interpolates, a sixth of all operations.
        ctx.set_materialize_grads(False)
        out = F.leaky_relu(x, LEAK)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Tensor | None:
        if grad is None:
            return None
        # detached: through its own output autograd would walk the forward graph again
        (out,) = ctx.saved_tensors
        return apply(_Slope, grad, out.detach())


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2 whose second derivative, zero almost everywhere, is structurally absent.

    Autograd's own formula sends those zeros back through the whole forward graph when the gradient penalty
    is differentiated; this one ends there.
    """
    return apply(_LeakyReLU, x)


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.glu(x, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        laid_out = torch.empty_like(x)
        result: Tensor = torch.ops.aten.glu_backward.grad_input(grad, x, 1, grad_input=laid_out)
        return result


def gate(x: Tensor) -> Tensor:
    """Gated linear unit (n, 2c, h, w) -> (n, c, h, w): one half times the other's sigmoid (Dauphin et al.
    2017).

    By itself torch's gives a gradient in another memory format than its input's, and the batch norm below it
    then took eight times as long: 40 % of a generator's step."""
    return apply(_Gate, x)


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _Parts.apply(grad)  # type: ignore[no-untyped-call]


class _Parts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor) -> tuple[Tensor, ...]:
        return tuple(whole.unbind())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return apply(_Stack, *grads)


def stack(parts: Sequence[Tensor]) -> Tensor:
    """`torch.stack` whose second derivative is a stack too: torch's own fills a whole one for each part, and
    adds them up."""
    return apply(_Stack, *parts)


@dataclass(frozen=True)
class _Geometry:
    """Stride and padding of a square convolution."""

    stride: int
    padding: int

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, self.padding)

    def input_gradient(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Of `x` only the shape counts."""
        result: Tensor = self._backward(grad, x, weight, [True, False, False])[0]
        return result

    def weight_gradients(self, grad: Tensor, x: Tensor, weight: Tensor, *, bias: bool) -> Any:
        """Of weight and bias, None where there is none. Of `weight` only the shape counts."""
        return self._backward(grad, x, weight, [False, True, bias])[1:]

    def _backward(self, grad: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> Any:
        pairs = [self.stride] * 2, [self.padding] * 2, [1, 1]
        sizes = [weight.shape[0]] if wanted[2] else None
        return torch.ops.aten.convolution_backward(grad, x, weight, sizes, *pairs, False, [0, 0], 1, wanted)


class _InputGradient(torch.autograd.Function):
    """A convolution's gradient by its input (n, i, h, w): bilinear in `grad` (n, o, h', w') and `weight`.

    Autograd's own second derivative takes the weight's part as a convolution of whole pictures with whole
    pictures; here it is the kernel that every backward has.
    """

    @staticmethod
    def forward(ctx: Any, grad: Tensor, weight: Tensor, x: Tensor, geometry: _Geometry) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, weight)
        ctx.geometry = geometry
        return geometry.input_gradient(grad, x, weight)

    @staticmethod
    def backward(ctx: Any, tangent: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        if tangent is None:
            return None, None, None, None
        grad, weight = ctx.saved_tensors
        geometry: _Geometry = ctx.geometry
        by_grad = geometry.forward(tangent, weight, None) if ctx.needs_input_grad[0] else None
        by_weight = None
        if ctx.needs_input_grad[1]:
            by_weight, _ = geometry.weight_gradients(grad, tangent, weight, bias=False)
        return by_grad, by_weight, None, None


class _ByWeight(torch.autograd.Function):
    """The convolution, as a function of its weight and bias alone."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, x: Tensor, geometry: _Geometry) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return geometry.forward(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        if grad is None:
            return None, None, None, None
        x, weight = ctx.saved_tensors
        by_weight, by_bias = ctx.geometry.weight_gradients(grad, x, weight, bias=ctx.needs_input_grad[1])
        return by_weight, by_bias, None, None


class _ByInput(torch.autograd.Function):
    """Passes the convolution's result on, as a function of the input too.

    A node of its own: where only the gradient by the input is asked for, as inside a gradient penalty,
    autograd leaves out the weight's.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        if grad is None:
            return None, None, None, None
        x, weight = ctx.saved_tensors
        by_input = apply(_InputGradient, grad, weight, x.detach(), ctx.geometry)
        return by_input, grad, None, None


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 1) -> Tensor:
    """`conv2d` of a square kernel, for a critic whose gradient by its input is differentiated again."""
    dtype = working_dtype(x)
    x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    geometry = _Geometry(stride, padding)
    out = apply(_ByWeight, weight, bias, x.detach(), geometry)
    return apply(_ByInput, x, out, weight, geometry) if x.requires_grad else out


def _fold_matrix() -> Tensor:
    """Sum of a 3x3 kernel placed at the four corners of a 4x4 one, turned about: (16, 9), to multiply from
    the left. Has its values also where a network is laid out on the meta device: no file brings them."""
    pair = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]], device="cpu")
    return torch.kron(pair, pair).flip(0).T.contiguous()


class Convolution(nn.Conv2d):
    """A convolution for a critic: `convolve` with square kernels, the same weights as torch's own."""

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias, stride=self.stride[0], padding=int(self.padding[0]))


class UpConv(nn.Conv2d):
    """Nearest upsampling by 2 followed by a 3x3 convolution, as one 4x4 transposed convolution of stride 2.

    16 multiplications an output pixel instead of 36. The 3x3 weights are what is trained; they lie in memory
    as the folding product takes them, (i, 3, 3, o), so that neither they nor their gradient are copied, and
    the kernel it gives is channels last.
    Input (n, i, h, w); output (n, o, 2h, 2w).
    """

    fold: Tensor

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1, bias=bias)
        self.register_buffer("fold", _fold_matrix(), persistent=False)
        self._rounded_fold: Once[Tensor] = Once()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if not self.weight.is_meta:
            self.weight.data = self.weight.data.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
        return self

    def forward(self, x: Tensor) -> Tensor:
        dtype = working_dtype(x)
        fold = self._rounded_fold((self.fold,), dtype, lambda: self.fold.to(dtype))
        kernel = fold @ self.weight.permute(1, 2, 3, 0).reshape(self.in_channels, 9, self.out_channels)
        kernel = kernel.view(self.in_channels, 4, 4, self.out_channels).permute(0, 3, 1, 2)
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


class _SumOfAll(torch.autograd.Function):
    """The sum over processes; each one's share has the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        dist.all_reduce(total)
        return total


class BatchNorm(nn.BatchNorm2d):
    """Batch norm by the whole batch's statistics, also where several processes share it in equal parts.

    Batches aren't counted: with a fixed momentum nothing follows from it, and it would be a kernel a layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        momentum = self.momentum or 0.1
        if self.training and dist.is_available() and dist.is_initialized():
            return self._of_all_processes(x, mean, variance, momentum)
        return F.batch_norm(x, mean, variance, self.weight, self.bias, self.training, momentum, self.eps)

    def _of_all_processes(
        self, x: Tensor, running_mean: Tensor, running_variance: Tensor, momentum: float
    ) -> Tensor:
        axes, size = (0, 2, 3), dist.get_world_size()
        wide = widened(x)  # moments that were rounded to bf16 would cancel, and don't fit the buffers
        own = torch.stack(torch.var_mean(wide, axes, correction=0))
        mine = torch.arange(size, device=x.device).eq(dist.get_rank())
        # Each process's own moments, (size, 2, c): a mean of squares less a squared mean may be below zero.
        # Autograd goes through this sum, for each process's pictures move the statistics of all.
        variances, means = apply(_SumOfAll, mine[:, None, None] * own).unbind(1)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        count = x.numel() // x.shape[1] * size
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_variance.lerp_(variance * count / (count - 1), momentum)
        scale = (self.weight * torch.rsqrt(variance + self.eps))[:, None, None]
        return torch.addcmul(self.bias[:, None, None], wide - mean[:, None, None], scale).to(x.dtype)


class PixelNorm(nn.Module):
    """Scales each pixel's feature vector to unit mean square (Karras et al. 2018, section 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def initialise(module: nn.Module, gain: float | None = None) -> None:
    """He initialisation for the leaky ReLU, or a deviation of `gain` over the root of the inputs; biases 0.

    On the meta device there is nothing to fill, and drawing there makes torch import its compiler: a second.
    """
    gain = math.sqrt(2 / (1 + LEAK**2)) if gain is None else gain
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            normal_(layer.weight, gain / math.sqrt(layer.weight[0].numel()))
            if layer.bias is not None and not layer.bias.is_meta:
                nn.init.zeros_(layer.bias)


def normal_(weight: Tensor, deviation: float) -> None:
    """Fill with N(0, deviation²), unless it lies on the meta device."""
    if not weight.is_meta:
        nn.init.normal_(weight, std=deviation)
