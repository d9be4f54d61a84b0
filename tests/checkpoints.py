"""A small checkpoint for the tests: a real network of random weights, and quantiles of its own scores."""

from dataclasses import asdict
from pathlib import Path

import torch

from trainer import checkpoint
from trainer.checkpoint import Metadata
from trainer.metrics.realism import Realism
from trainer.nets.architecture import Architecture
from trainer.nets.networks import Critic, Generator, latents_from_seeds


def make_checkpoint(
    path: Path,
    resolution: int = 32,
    *,
    width: int = 8,
    seed: int = 0,
    out_of_reach: float = 0.0,
    training_hashes: tuple[str, ...] = (),
    collapsed: bool = False,
) -> Path:
    """Write a checkpoint and return its path.

    Its "held-out photographs" are pictures of the generator itself, so that half of the candidates lie above
    the quantile 0.5. `out_of_reach` moves all quantiles up by so much: then none does.
    A `collapsed` generator makes one and the same picture of every seed.
    """
    torch.manual_seed(seed)
    arch = Architecture(resolution, width, 16)
    generator, critic = Generator(arch).eval(), Critic(arch).eval()
    if collapsed:
        torch.nn.init.zeros_(generator.to_rgb.weight)
    with torch.inference_mode():
        photographs = critic.features(generator(latents_from_seeds(list(range(200)), arch.latent_size)))
    marks = Realism(photographs).quantiles(20)
    metadata = Metadata(
        architecture=asdict(arch),
        objective="wgan-gp",
        preset="modern",
        step=0,
        images_seen=0,
        data_fingerprint="0" * 64,
        training_pictures=180,
        held_out_pictures=20,
        score_quantiles=tuple(mark + out_of_reach for mark in marks),
        training_hashes=training_hashes,
        provenance="random weights, for tests",
    )
    checkpoint.save(path, generator, critic, photographs, metadata)
    return path
