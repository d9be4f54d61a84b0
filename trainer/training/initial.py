"""Networks that begin as another checkpoint's: `trainer fit --init`.

Blocks are named by their size and channels are counted from 4x4, so that a network of 64 px is the beginning
of one of 128 px. What the checkpoint lacks, or has in another shape, starts as it would anyway.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from trainer import checkpoint
from trainer.checkpoint import Checkpoint
from trainer.config import FitConfig
from trainer.nets.vision import PretrainedVision, Vision, make_vision
from trainer.training.step import Networks

_FROZEN = "net."
"""The pretrained network itself: a checkpoint has it in half precision."""


def load_initial(config: FitConfig) -> Checkpoint | None:
    """The checkpoint that a new run begins with, if any. Raises CheckpointError."""
    return checkpoint.load(Path(config.init)) if config.init else None


def initial_vision(config: FitConfig, initial: Checkpoint) -> Vision | None:
    """The eyes of the checkpoint's critic: its heads only understand what these see.

    None where it has none of its own. Raises TrainerError where pretrained weights are missing.
    """
    if not isinstance(initial.vision, PretrainedVision):
        return None
    vision = make_vision(config.critic, config.seed)
    saved = initial.vision.state_dict()
    projection = {name: tensor for name, tensor in saved.items() if not name.startswith(_FROZEN)}
    vision.load_state_dict(vision.state_dict() | projection)
    return vision


@torch.no_grad()
def begin_as(networks: Networks, initial: Checkpoint) -> tuple[int, int]:
    """Fill both networks and their averages with the checkpoint's averages, where these fit.

    Returns how many tensors were taken over, and how many start fresh.
    """
    taken = fresh = 0
    for network, average, saved in (
        (networks.generator, networks.generator_average, initial.generator),
        (networks.critic, networks.critic_average, initial.critic),
    ):
        fitting = _fitting(network, saved.state_dict())
        for each in (network, average):
            each.load_state_dict(each.state_dict() | fitting)
        taken += len(fitting)
        fresh += len(network.state_dict()) - len(fitting)
    return taken, fresh


def _fitting(network: nn.Module, saved: dict[str, Tensor]) -> dict[str, Tensor]:
    own = network.state_dict()
    return {name: tensor for name, tensor in saved.items() if name in own and tensor.shape == own[name].shape}
