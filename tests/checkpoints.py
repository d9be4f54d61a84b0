"""Checkpoints for the tests: a real network of random weights with quantiles of its own scores; what a file
says of itself, and that changed."""

import json
import struct
from dataclasses import asdict, replace
from pathlib import Path

import torch

from tests.shapes import critic_shape, generator_shape, small
from trainer import checkpoint
from trainer.metadata import Metadata
from trainer.metrics.metric import Metric
from trainer.metrics.realism import Realism
from trainer.nets.architecture import Architecture, CriticKind
from trainer.nets.critic import Critic
from trainer.nets.generator import PlainGenerator, latents_from_seeds, make_generator
from trainer.nets.vision import PretrainedVision, make_vision
from trainer.scale import Scale

ARCH = small()
ARCHITECTURE = json.loads(json.dumps(asdict(ARCH)))


def make_checkpoint(
    path: Path,
    resolution: int = 32,
    *,
    width: int = 8,
    seed: int = 0,
    out_of_reach: float = 0.0,
    training_hashes: tuple[str, ...] = (),
    collapsed: bool = False,
    critic: CriticKind = "plain",
    step: int = 0,
) -> Path:
    """Write a checkpoint and return its path.

    Its "held-out photographs" are pictures of the generator itself, so that half of the candidates lie above
    the quantile 0.5. `out_of_reach` moves all quantiles up by so much: then none does.
    A `collapsed` generator makes one and the same picture of every seed. A `seeing` critic takes longer: it
    looks through a real network.
    """
    torch.manual_seed(seed)
    arch = Architecture(
        generator_shape("plain", resolution, width=width, latent_size=16),
        critic_shape(critic, resolution, width=width),
    )
    generator, scorer = make_generator(arch.generator).eval(), Critic(arch.critic).eval()
    assert isinstance(generator, PlainGenerator)
    if collapsed:
        torch.nn.init.zeros_(generator.to_rgb.weight)
    vision = make_vision(critic, seed)
    with torch.inference_mode():
        pictures = generator(latents_from_seeds(list(range(200)), arch.latent_size))
        if isinstance(vision, PretrainedVision):
            pictures = pictures[:40]
            vision.calibrate(pictures)
        views = vision(pictures)
        photographs = scorer.features(views) if critic == "plain" else None
        scores = vision.weighed(scorer(views))
    marks = tuple(torch.quantile(scores, torch.linspace(0, 1, 21)).tolist())
    if photographs is not None:
        marks = Realism(photographs).quantiles(20)
    metadata = Metadata(
        architecture=asdict(arch),
        objective="wgan-gp",
        preset="modern",
        step=step,
        images_seen=0,
        data_fingerprint="0" * 64,
        training_pictures=180,
        held_out_pictures=20,
        score_quantiles=tuple(mark + out_of_reach for mark in marks),
        training_hashes=training_hashes,
        head_weights=vision.head_weights,
        provenance="random weights, for tests",
    )
    checkpoint.save(path, generator, scorer, vision, photographs, metadata)
    return path


def metadata(**changes: object) -> Metadata:
    """Of a checkpoint of `ARCH`: every field has a value of its own."""
    document = Metadata(
        architecture=ARCHITECTURE,
        objective="wgan-gp",
        preset="modern",
        step=7,
        images_seen=224,
        data_fingerprint="f" * 64,
        training_pictures=90,
        held_out_pictures=10,
        score_quantiles=(-1.0, 0.0, 0.5, 3.0),
        metrics={"swd": Metric(12.5, 3.25), "gap": Metric(0.5)},
        held_out_apart=True,
        score_scale=Scale(0.5, 1.0, -2.0, 0.25, 0.5, -17.0, 3.0),
        head_weights=(0.5,),
        training_hashes=("00ff00ff00ff00ff",),
        versions={"torch": "2"},
        provenance="どんぶり\n二杯",
    )
    return replace(document, **changes)  # type: ignore[arg-type]


def header_of(path: Path) -> tuple[dict[str, object], bytes]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_header(path: Path, header: object, rest: bytes) -> None:
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + rest)


def with_document(path: Path, **changes: object) -> None:
    """Rewrite the metadata inside the file."""
    header, rest = header_of(path)
    inner = header["__metadata__"]
    assert isinstance(inner, dict)
    inner["meshibot"] = json.dumps({**json.loads(inner["meshibot"]), **changes})
    write_header(path, header, rest)
