"""A network's weights as a step computes with them: its own, or under autocast copies rounded all at once.

By itself autocast rounds each weight at each use and each gradient on its way back, two kernels every time:
400 of a seeing critic's 1,400 a cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Autocast = Callable[[], AbstractContextManager[object]]
WIDE = "score"
"""The layer that stays in float32: bf16 would round the drift term away."""


class Weights:
    """What a network's value is a function of, and its gradients are taken by."""

    def __init__(self, network: nn.Module, autocast: Autocast) -> None:
        self.network = network
        self._own = dict(network.named_parameters())
        dtype = _rounds_to(network, autocast)
        names = _multiplied(network) if dtype is not None else []
        self._rounded = {
            name: torch.empty_like(self._own[name], dtype=dtype, requires_grad=True) for name in names
        }
        self._named = self._own | self._rounded

    @property
    def tensors(self) -> list[Tensor]:
        """In the order of the network's parameters."""
        return list(self._named.values())

    @torch.no_grad()
    def refresh(self) -> None:
        """Take the network's present values."""
        if self._rounded:
            values: list[Tensor] = [self._own[name] for name in self._rounded]
            torch._foreach_copy_(list(self._rounded.values()), values)

    def __call__(self, *inputs: Any) -> Any:
        """The network's value, as a function of `tensors`."""
        return (
            functional_call(self.network, self._rounded, inputs) if self._rounded else self.network(*inputs)
        )

    def fixed(self, *inputs: Any) -> Any:
        """The same, as a function of its inputs alone."""
        constants = {name: tensor.detach() for name, tensor in self._named.items()}
        return functional_call(self.network, constants, inputs)


def widened_all(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The rounded ones of them in float32, by one operation; laid out as they are."""
    rounded = [tensor for tensor in tensors if tensor.dtype == torch.bfloat16]
    if not rounded:
        return tuple(tensors)
    wide = [torch.empty_like(tensor, dtype=torch.float32) for tensor in rounded]
    torch._foreach_copy_(wide, rounded)
    found = iter(wide)
    return tuple(next(found) if tensor.dtype == torch.bfloat16 else tensor for tensor in tensors)


def _rounds_to(network: nn.Module, autocast: Autocast) -> torch.dtype | None:
    device = next(network.parameters()).device.type
    with autocast():
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _multiplied(network: nn.Module) -> list[str]:
    """Names of the weights and biases of convolutions and linear layers, which autocast rounds."""
    return [
        f"{name}.{parameter}"
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and name.rpartition(".")[2] != WIDE
        for parameter, _ in layer.named_parameters(recurse=False)
    ]
