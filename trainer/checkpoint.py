"""The checkpoint: one `.safetensors` file of EMA generator, critic, photographs' features and JSON metadata.

Never a pickle, and no photograph: of those held out it keeps what the critic sees in them, to compare by.

This is all the bot knows of the trainer. Reading the metadata needs neither torch nor the tensors;
`load` and `save` import torch when they are called.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trainer.device import told_faults
from trainer.errors import UsageError
from trainer.files import atomic_write
from trainer.metrics.metric import Metric
from trainer.nets import earlier
from trainer.nets.architecture import Architecture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from trainer.copies import CopyTest
    from trainer.metrics.realism import Realism
    from trainer.nets.critic import Critic
    from trainer.nets.generator import Generator
    from trainer.nets.vision import Description, Vision
    from trainer.typicality import Layout, Scale

T = TypeVar("T")

FORMAT = "meshibot-checkpoint"
FORMAT_VERSION = 3
LEAST_READER = 3
"""The least version of the format that a reader has to know to read what is written here."""
LEAST_READABLE = 2
"""The earliest version that is read: before it, files lack what the critic saw in photographs."""
_METADATA_KEY = "meshibot"
_PHOTOGRAPHS = "photographs"
_COPIES = "copies."
_LAYOUT = "layout."
_OF_PHOTOGRAPHS = ("copies.training", "copies.held_out")
"""Stored in half precision always: a number for each component and photograph."""
_MAX_HEADER_BYTES = 16 * 1024 * 1024
_LONGEST_TEXT = 10_000
_LONGEST_REASON = 200
_DAMAGED = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What is raised by reading JSON that is other than it should be: infinite, nested for ever, a list where a
table is due."""


class CheckpointError(UsageError):
    """The file can't be used as a checkpoint; the sentence says why."""


@dataclass(frozen=True)
class Metadata:
    """What a checkpoint says of itself."""

    architecture: dict[str, Any]
    objective: str
    preset: str
    step: int
    images_seen: int
    data_fingerprint: str
    training_pictures: int
    held_out_pictures: int
    score_quantiles: tuple[float, ...]
    """Scores of held-out reals, each among the others, at evenly spaced probabilities 0, 1/n, ..., 1."""
    metrics: dict[str, Metric] = field(default_factory=dict)
    held_out_apart: bool = False
    """Whether the held-out photographs that chose this checkpoint, those that calibrated it and those that
    judge it are not the same ones (`trainer.data.parts`)."""
    training_hashes: tuple[str, ...] = ()
    """Perceptual hashes (`trainer.hashes`, in hex) of the training pictures; may be empty."""
    versions: dict[str, str] = field(default_factory=dict)
    provenance: str = ""
    licence_note: str = ""
    created_at: str = ""
    score_scale: tuple[float, ...] = ()
    """Of `trainer.typicality.Scale`; empty where scores are what the critic alone says."""
    head_weights: tuple[float, ...] = ()
    """How much each of the critic's heads counts, in the generator's loss and in scores."""

    @property
    def networks(self) -> Architecture:
        """The shapes of both networks. Raises KeyError, TypeError or ValueError for some that can't be."""
        return Architecture.from_json(self.architecture)

    @property
    def resolution(self) -> int:
        return self.networks.resolution

    @property
    def latent_size(self) -> int:
        return self.networks.latent_size

    def quantile_of(self, score: float) -> float:
        """The share of held-out reals that score below `score`, in [0, 1], interpolated."""
        marks = self.score_quantiles
        if score <= marks[0]:
            return 0.0
        if score >= marks[-1]:
            return 1.0
        right = bisect.bisect_right(marks, score)
        low, high = marks[right - 1], marks[right]
        return (right - 1 + (score - low) / (high - low)) / (len(marks) - 1)

    def score_at(self, quantile: float) -> float:
        """The score below which the share `quantile` of held-out reals lies; inverse of `quantile_of`."""
        position = min(max(quantile, 0.0), 1.0) * (len(self.score_quantiles) - 1)
        low = math.floor(position)
        high = min(low + 1, len(self.score_quantiles) - 1)
        return self.score_quantiles[low] + (position - low) * (
            self.score_quantiles[high] - self.score_quantiles[low]
        )

    def to_json(self) -> dict[str, Any]:
        versions = {"format_version": FORMAT_VERSION, "least_reader": LEAST_READER}
        return {"format": FORMAT, **versions, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Metadata:
        """Raises KeyError, TypeError or ValueError where the document is not metadata."""
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in document.items() if key in known}
        marks = tuple(float(mark) for mark in values["score_quantiles"])
        span = marks[-1] - marks[0] if len(marks) > 1 else math.nan
        if list(marks) != sorted(marks) or not all(map(math.isfinite, (*marks, span))):
            raise ValueError("its score quantiles are not ascending numbers")
        values["score_quantiles"] = marks
        values["score_scale"] = _scale(values.get("score_scale", ()))
        values["head_weights"] = _weights(values.get("head_weights", ()))
        values["training_hashes"] = tuple(map(_hash, _list(values.get("training_hashes", []))))
        values["metrics"] = {
            _text(name): Metric(
                _number(metric["value"]), _optional(metric.get("floor")), _optional(metric.get("deviation"))
            )
            for name, metric in _table(values.get("metrics", {})).items()
        }
        values["versions"] = {
            _text(name): _text(version) for name, version in _table(values.get("versions", {})).items()
        }
        values["held_out_apart"] = values.get("held_out_apart", False) is True
        for name in ("step", "images_seen", "training_pictures", "held_out_pictures"):
            values[name] = _count(values[name])
        for name in ("objective", "preset", "data_fingerprint", "provenance", "licence_note", "created_at"):
            values[name] = _text(values.get(name, ""))
        return cls(**values)


def _scale(said: Any) -> tuple[float, ...]:
    """Nothing, or mean and deviation of two and, in newer files, the weight of the first."""
    values = tuple(float(value) for value in said)
    if not values:
        return values
    if (
        len(values) not in (4, 5)
        or not all(map(math.isfinite, values))
        or min(*values[1::2], *values[4:]) <= 0
    ):
        raise ValueError(
            "the scale of its scores is not two means and two positive deviations, and a positive weight"
        )
    return values


def _weights(said: Any) -> tuple[float, ...]:
    """Nothing, or some numbers above zero."""
    values = tuple(float(value) for value in said)
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise ValueError("the weights of its critic's heads are not all positive numbers")
    return values


def _hash(said: object) -> str:
    if not isinstance(said, str) or not re.fullmatch("[0-9a-f]{1,16}", said):
        raise ValueError("a hash of a training picture is not hexadecimal")
    return said


def _list(said: Any) -> list[Any]:
    if not isinstance(said, list):
        raise ValueError("a list is of another type")
    return said


def _table(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise ValueError("a table is of another type")
    return said


def _number(said: Any) -> float:
    """What is written may be no number, where a figure could not be taken; but never infinite."""
    value = float(said)
    if math.isinf(value):
        raise ValueError("a figure is infinite")
    return value


def _optional(said: Any) -> float | None:
    return None if said is None else _number(said)


def _count(said: object) -> int:
    if not isinstance(said, int) or not 0 <= said < 2**63:
        raise ValueError("a number of pictures or steps is not a whole number from 0 up")
    return said


def _text(said: object) -> str:
    """What is shown to people: a terminal must not take any of it for a command."""
    if not isinstance(said, str) or len(said) > _LONGEST_TEXT:
        raise ValueError("a text is of another type, or too long")
    if not all(character.isprintable() or character in "\n\t" for character in said):
        raise ValueError("a text holds control characters")
    return said


@dataclass(frozen=True)
class Checkpoint:
    """Both networks, in evaluation mode on `device`, with the metadata and the file's SHA-256."""

    generator: Generator
    critic: Critic
    vision: Vision
    photographs: Tensor
    """The critic's features (m, d) of the held-out photographs."""
    metadata: Metadata
    fingerprint: str
    device: str
    copies: CopyTest | None = None
    """By which a seeing critic's checkpoint knows copies of training photographs."""
    layout: Layout | None = None
    """By which it knows where photographs have what."""

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
        """How much like photographs the critic finds pictures (n, 3, r, r) in [-1, 1]: scores (n,).

        A seeing critic's own scores tell good pictures from bad ones, and better with `trainer.typicality`. A
        plain one's don't, and there it is by how near a picture lies to photographs in the critic's features
        (docs/experiments.md).
        """
        import torch

        from trainer.nets.vision import PretrainedVision

        images = images.to(self.device)
        with torch.inference_mode(), told_faults():
            if not isinstance(self.vision, PretrainedVision):
                return self._realism(self.critic.features(self.vision(images)).float())
            views, described = self.vision.look(images)
            scores = self.vision.weighed(self.critic(views))
            typical = self._typicality(described)
            if typical is None or self._scale is None:
                return scores
            return self._scale.score(scores, typical)

    def _typicality(self, described: Description) -> Tensor | None:
        """Of pictures (n,), where the checkpoint can tell it; as it was then in one of before layouts."""
        from trainer.typicality import nearness

        if self.layout is not None:
            return self.layout.typicality(described.layout)
        if self.copies is not None:
            return nearness(self.copies.components(described.content), self.copies.training)
        return None

    @cached_property
    def _scale(self) -> Scale | None:
        from trainer.typicality import Scale

        return Scale(*self.metadata.score_scale) if self.metadata.score_scale else None

    def find_copies(self, pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of uint8 pictures (n, r, r, 3) are too near to a training photograph, (n,): none, where the
        checkpoint has nothing to tell by (`training_hashes` are there all the same)."""
        import numpy as np

        from trainer.nets.vision import PretrainedVision

        if self.copies is None or not isinstance(self.vision, PretrainedVision):
            return np.zeros(len(pictures), dtype=np.bool_)
        with told_faults():
            return self.copies.finds(self.vision, pictures)

    @cached_property
    def _realism(self) -> Realism:
        from trainer.metrics.realism import Realism

        return Realism(self.photographs)


def fingerprint_of(path: Path) -> str:
    """SHA-256 of the file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _instead(path: Path) -> str:
    """What to give in place of a missing file; a run with few photographs has no best, but a last."""
    there = sorted(path.parent.glob("*.safetensors"))
    if not there:
        return "give the path of a file made by trainer fit"
    more = f" and {len(there) - 1} others" if there[1:] else ""
    return f"what is there is {there[0].name}{more}"


def _read_header(path: Path) -> dict[str, Any]:
    """The safetensors header: eight bytes of length, then JSON. The file has to be as long as it says."""
    if path.exists() and not (path.is_file() or path.is_dir()):  # to read a pipe or a device has no end
        raise CheckpointError(f"{path} is no file: give a .safetensors file made by trainer fit.")
    try:
        with path.open("rb") as file:
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or not 2 <= length <= _MAX_HEADER_BYTES:
                raise CheckpointError(
                    f"{path} is not a checkpoint: give a .safetensors file made by trainer fit."
                )
            raw = file.read(length)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise CheckpointError(f"There is no checkpoint at {path}: {_instead(path)}.") from None
    except IsADirectoryError:
        raise CheckpointError(
            f"{path} is a folder: give the .safetensors file in its checkpoints/ folder."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}.") from None
    if len(raw) < length:
        raise CheckpointError(f"{path} is cut short: copy it again from where it was trained.")
    try:
        header = json.loads(raw)
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except _DAMAGED:
        raise CheckpointError(
            f"{path} is not a checkpoint: give a .safetensors file made by trainer fit."
        ) from None
    if size != 8 + length + max(ends, default=0):
        raise CheckpointError(f"{path} is cut short or padded: copy it again from where it was trained.")
    return dict(header)


def read_metadata(path: Path) -> Metadata:
    """What the checkpoint says of itself, read without torch.

    Raises CheckpointError where the file is missing, is not a checkpoint, is cut short, or comes from a
    newer format.
    """
    header = _read_header(path)
    try:
        document = json.loads(header["__metadata__"][_METADATA_KEY])
        if document["format"] != FORMAT:
            raise ValueError("another format")
        version = int(document["format_version"])
        least_reader = int(document.get("least_reader", version))
    except _DAMAGED:
        raise CheckpointError(
            f"{path} is a safetensors file but not a checkpoint of this trainer: "
            "give one made by trainer fit."
        ) from None
    if least_reader > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, and this version reads up to {FORMAT_VERSION}: "
            "upgrade meshibot."
        )
    if version < LEAST_READABLE:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, which lacks what the critic saw in photographs: "
            "make it anew with trainer fit."
        )
    try:
        if version == 2:
            document = {**document, "architecture": earlier.architecture_2(document["architecture"])}
        metadata = Metadata.from_json(document)
        _ = metadata.networks
    except _DAMAGED as error:
        why = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
        raise CheckpointError(f"{path} has damaged metadata ({why}): train or copy it again.") from None
    return metadata


def save(
    path: Path,
    generator: Generator,
    critic: Critic,
    vision: Vision,
    photographs: Tensor,
    metadata: Metadata,
    copies: CopyTest | None = None,
    layout: Layout | None = None,
    *,
    half: bool = False,
) -> str:
    """Write the checkpoint atomically (temporary file, fsync, rename); returns its SHA-256.

    `photographs`: the critic's features (m, d) of the held-out ones. With `half` weights and features are
    stored as float16; they are computed with in float32 all the same. What a seeing critic looks through
    always is, being the larger part and no result of the training."""
    import torch
    from safetensors.torch import save as serialise

    tensors = {_PHOTOGRAPHS: photographs}
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
    data = serialise(tensors, {_METADATA_KEY: json.dumps(metadata.to_json(), ensure_ascii=False)})
    atomic_write(path, data)
    return hashlib.sha256(data).hexdigest()


def load(path: Path, device: str = "cpu") -> Checkpoint:
    """Both networks, built from the metadata and filled from the file, in evaluation mode.

    Raises CheckpointError for everything `read_metadata` refuses, and where names or shapes of the tensors
    are not those of the architecture that the metadata claims; TrainerError where this machine is at fault.
    """
    metadata = read_metadata(path)

    import torch

    from trainer.copies import CopyTest
    from trainer.nets.critic import Critic
    from trainer.nets.efficientnet import EfficientNetLite0
    from trainer.nets.generator import make_generator
    from trainer.nets.vision import PretrainedVision, Vision
    from trainer.typicality import Layout

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
        photographs = _photographs(tensors, critic, path).to(device)
        copies = _made_of(CopyTest.from_tensors, _COPIES, tensors, path, device)
        layout = _made_of(Layout.from_tensors, _LAYOUT, tensors, path, device)
    return Checkpoint(
        generator, critic, vision, photographs, metadata, fingerprint_of(path), device, copies, layout
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
