"""The checkpoint: one `.safetensors` file of EMA generator, critic, photographs' features and JSON metadata.

Never a pickle, and no photograph: of photographs it keeps what a network sees in them, to compare by.
What it says of itself is `trainer.metadata`. Torch is imported when something is called: who calls can then
say in words of its own that there was no memory for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trainer.device import rounds_well, told_faults
from trainer.files import atomic_write
from trainer.metadata import METADATA_KEY, CheckpointError, Metadata, fingerprint_of, read_metadata
from trainer.nets import earlier
from trainer.nets.architecture import Architecture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from trainer.copies import CopyTest
    from trainer.layout import Layout
    from trainer.metrics.realism import Realism
    from trainer.nets.critic import Critic
    from trainer.nets.generator import Generator
    from trainer.nets.vision import Vision

T = TypeVar("T")

_PHOTOGRAPHS = "photographs"
_COPIES = "copies."
_LAYOUT = "layout."
_OF_PHOTOGRAPHS = ("copies.training", "copies.held_out")
"""Stored in half precision always: a number for each component and photograph."""


@dataclass(frozen=True)
class Checkpoint:
    """Both networks, in evaluation mode on `device`, with the metadata and the file's SHA-256."""

    generator: Generator
    critic: Critic
    vision: Vision
    photographs: Tensor | None
    """A plain critic's features (m, d) of the held-out photographs, by which its pictures are scored."""
    metadata: Metadata
    fingerprint: str
    device: str
    copies: CopyTest | None = None
    """By which a seeing critic's checkpoint knows copies of training photographs."""
    layout: Layout | None = None
    """By which it knows where photographs have what."""
    rounded: bool = False
    """Whether a seeing critic looks in bf16 where the device has a bf16 of its own: in half the time, and
    near enough to choose by."""

    def sample(self, seeds: Sequence[int]) -> Tensor:
        """Pictures (n, 3, r, r) in [-1, 1], each from its own seed and independent of the others."""
        import torch

        from trainer.nets.generator import latents_from_seeds

        latents = latents_from_seeds(list(seeds), self.metadata.latent_size).to(self.device)
        with torch.inference_mode(), told_faults():
            pictures: Tensor = self.generator(latents)
        return pictures

    def draw(self, seeds: Sequence[int]) -> NDArray[np.uint8]:
        """The same as pictures to be looked at: uint8 (n, r, r, 3), some at a time."""
        from trainer.nets.generator import latents_from_seeds
        from trainer.pictures import draw

        return draw(self.generator, latents_from_seeds(list(seeds), self.metadata.latent_size), self.device)

    def score(self, images: Tensor) -> Tensor:
        """How much like photographs pictures (n, 3, r, r) in [-1, 1] are: their critic scores (n,).

        A seeing critic's has three parts (`trainer.scale`): what its heads say, and how typical layout and
        content are in what it looks through. What a plain one says tells nothing; there it is by how near a
        picture lies to photographs in the critic's features (docs/experiments.md).
        """
        import torch

        from trainer.nets.vision import PretrainedVision

        images = images.to(self.device)
        with torch.inference_mode(), told_faults():
            if not isinstance(self.vision, PretrainedVision):
                return self._realism(self.critic.features(self.vision(images)).float())
            with self._looking():
                views, described = self.vision.look(images)
                by_head: Tensor = self.critic(views)
            scores = self.vision.weighed(by_head.float())
            near = None if self.copies is None else self.copies.nearness(described.content)
            # in files of before layouts content stood in for them
            typical = near if self.layout is None else self.layout.typicality(described.layout)
            scale = self.metadata.score_scale
            return scores if typical is None or scale is None else scale.score(scores, typical, near)

    def find_copies(self, pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of uint8 pictures (n, r, r, 3) are too near to a training photograph, (n,): none, where the
        checkpoint has nothing to tell by (`training_hashes` are there all the same)."""
        import numpy as np

        from trainer.nets.vision import PretrainedVision

        if self.copies is None or not isinstance(self.vision, PretrainedVision):
            return np.zeros(len(pictures), dtype=np.bool_)
        with told_faults(), self._looking():
            return self.copies.finds(self.vision, pictures)

    def _looking(self) -> AbstractContextManager[object]:
        import torch

        device = torch.device(self.device)
        return torch.autocast(device.type, torch.bfloat16, enabled=self.rounded and rounds_well(device))

    @cached_property
    def _realism(self) -> Realism:
        from trainer.metrics.realism import Realism

        assert self.photographs is not None  # noqa: S101 (asked of a plain critic alone)
        return Realism(self.photographs)


def save(
    path: Path,
    generator: Generator,
    critic: Critic,
    vision: Vision,
    photographs: Tensor | None,
    metadata: Metadata,
    copies: CopyTest | None = None,
    layout: Layout | None = None,
    *,
    half: bool = False,
) -> str:
    """Write the checkpoint atomically (temporary file, fsync, rename); returns its SHA-256.

    `photographs`: a plain critic's features (m, d) of the held-out ones. With `half` weights and features are
    stored as float16; they are computed with in float32 all the same. What a seeing critic looks through
    always is, being the larger part and no result of the training."""
    import torch
    from safetensors.torch import save as serialise

    tensors = {} if photographs is None else {_PHOTOGRAPHS: photographs}
    if copies is not None:
        tensors |= {_COPIES + name: tensor for name, tensor in copies.to_tensors().items()}
    if layout is not None:
        tensors |= {_LAYOUT + name: tensor for name, tensor in layout.to_tensors().items()}
    for prefix, network in _parts(generator, critic, vision).items():
        tensors |= {prefix + name: tensor for name, tensor in network.state_dict().items()}
    for name, tensor in tensors.items():
        stored = tensor.detach().cpu()
        if stored.is_floating_point():
            small = half or name.startswith(("vision.net.", *_OF_PHOTOGRAPHS))
            stored = stored.to(torch.float16 if small else torch.float32)
        tensors[name] = stored.contiguous()
    data = serialise(tensors, {METADATA_KEY: json.dumps(metadata.to_json(), ensure_ascii=False)})
    atomic_write(path, data)
    return hashlib.sha256(data).hexdigest()


def load(path: Path, device: str = "cpu", *, rounded: bool = False) -> Checkpoint:
    """Both networks, built from the metadata and filled from the file, in evaluation mode.

    Raises CheckpointError for everything `read_metadata` refuses, and where names or shapes of the tensors
    are not those of the architecture that the metadata claims; TrainerError where this machine is at fault.
    """
    metadata = read_metadata(path)

    import torch

    from trainer.copies import CopyTest
    from trainer.layout import Layout
    from trainer.nets.critic import Critic
    from trainer.nets.efficientnet import EfficientNetLite0
    from trainer.nets.generator import make_generator
    from trainer.nets.vision import PretrainedVision, Vision

    arch = metadata.networks
    with told_faults():
        with torch.device("meta"):
            generator, critic = make_generator(arch.generator), Critic(arch.critic)
            sees = arch.critic.kind == "seeing"
            vision = PretrainedVision(EfficientNetLite0()) if sees else Vision()
        vision.head_weights = _weights_of_heads(metadata, critic, path)
        tensors = _read_tensors(path, arch)
        for prefix, network in _parts(generator, critic, vision).items():
            _fill(network, prefix, tensors, path)
            network.requires_grad_(False).eval().to(device)
        photographs = None if sees else _photographs(tensors, critic, path).to(device)
        copies = _made_of(CopyTest.from_tensors, _COPIES, tensors, path, device)
        layout = _made_of(Layout.from_tensors, _LAYOUT, tensors, path, device)
    scale = metadata.score_scale
    if sees and copies is None and scale is not None and scale.nearness_mean is not None:
        raise CheckpointError(
            f"{path} lacks the photographs that its scores compare content with: train or copy it again."
        )
    return Checkpoint(
        generator,
        critic,
        vision,
        photographs,
        metadata,
        fingerprint_of(path),
        device,
        copies,
        layout,
        rounded,
    )


def _weights_of_heads(metadata: Metadata, critic: Critic, path: Path) -> tuple[float, ...]:
    """Files that don't say have those of then."""
    heads = len(critic.head_names)
    weights = metadata.head_weights or earlier.HEAD_WEIGHTS[heads]
    if len(weights) != heads:
        raise CheckpointError(
            f"{path} weighs {len(weights)} heads of its critic, which has {heads}: train or copy it again."
        )
    return weights


def _read_tensors(path: Path, arch: Architecture) -> dict[str, Tensor]:
    """By today's names, in float32. Raises CheckpointError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = earlier.names_2(load_file(path), arch.resolution)
    except (SafetensorError, OSError, LookupError) as error:
        raise CheckpointError(f"{path} can't be read ({error}): train or copy it again.") from None
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def _fill(network: nn.Module, prefix: str, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises CheckpointError where the tensors are not the network's, or no numbers."""
    state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    wanted = network.state_dict()
    if {name: _form(tensor) for name, tensor in state.items()} != {
        name: _form(tensor) for name, tensor in wanted.items()
    }:
        raise _other_networks(path)
    _refuse_no_numbers(state.values(), path)
    network.load_state_dict(state, assign=True)


def _form(tensor: Tensor) -> tuple[tuple[int, ...], bool]:
    return tuple(tensor.shape), tensor.is_floating_point()


def _photographs(tensors: Mapping[str, Tensor], critic: Critic, path: Path) -> Tensor:
    """The features (m, d) that a checkpoint compares by. Raises CheckpointError."""
    features = tensors.get(_PHOTOGRAPHS)
    if features is None or features.ndim != 2 or not len(features):
        raise _other_networks(path)
    if features.shape[1] != critic.feature_size():
        raise _other_networks(path)
    _refuse_no_numbers([features], path)
    return features


def _made_of(
    make: Callable[[Mapping[str, Tensor]], T],
    prefix: str,
    tensors: Mapping[str, Tensor],
    path: Path,
    device: str,
) -> T | None:
    """Of the tensors whose names begin so, where the file has any. Raises CheckpointError."""
    parts = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    if not parts:
        return None
    _refuse_no_numbers(parts.values(), path)
    try:
        return make({name: tensor.to(device) for name, tensor in parts.items()})
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}): train or copy it again.") from None


def _refuse_no_numbers(tensors: Iterable[Tensor], path: Path) -> None:
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise CheckpointError(f"{path} holds values that are not numbers: train or copy it again.")


def _other_networks(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} does not hold the networks that its metadata claims: train or copy it again."
    )


def _parts(generator: Generator, critic: Critic, vision: Vision) -> dict[str, nn.Module]:
    """What a file holds, by the beginning of its tensors' names."""
    return {"generator.": generator, "critic.": critic, "vision.": vision}
