"""What a checkpoint says of itself: JSON in the header of its `.safetensors` file, read without torch.

It is what the bot and its pages need of a checkpoint, and all they are given: `trainer.checkpoint` has the
networks.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from trainer.errors import UsageError
from trainer.metrics.metric import Metric
from trainer.nets import earlier
from trainer.nets.architecture import Architecture
from trainer.scale import Scale

FORMAT = "meshibot-checkpoint"
FORMAT_VERSION = 6
_LEAST_READER = 3
"""The least version that a program has to know to read what is written here."""
_LEAST_READER_OF_SEEING = 6
"""The same of a seeing critic's file: earlier programs miss features of photographs in it, by which none of
its pictures is scored."""
LEAST_READABLE = 2
"""The earliest version that is read: before it, files lack what the critic saw in photographs."""
METADATA_KEY = "meshibot"
"""Under which the JSON stands among the header's texts."""
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
    score_scale: Scale | None = None
    """None where scores are what the critic alone says."""
    head_weights: tuple[float, ...] = ()
    """How much each of the critic's heads counts, in the generator's loss and in scores."""

    format_version: int = field(default=FORMAT_VERSION, compare=False)
    """Of the file that it was read from; what is written is of the present one."""

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
        scale, critic = self.score_scale, self.networks.critic.kind
        said = {name: value for name, value in asdict(self).items() if name != "format_version"}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "least_reader": _LEAST_READER_OF_SEEING if critic == "seeing" else _LEAST_READER,
            **said,
            "score_scale": () if scale is None else scale.numbers,
        }

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
        values["score_scale"] = Scale.from_numbers(values.get("score_scale", ()))
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
        for name in ("step", "images_seen", "training_pictures", "held_out_pictures", "format_version"):
            values[name] = _count(values[name])
        for name in ("objective", "preset", "data_fingerprint", "provenance", "licence_note", "created_at"):
            values[name] = _text(values.get(name, ""))
        return cls(**values)


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
        document = json.loads(header["__metadata__"][METADATA_KEY])
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
