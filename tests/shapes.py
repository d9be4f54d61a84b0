"""Shapes of small networks for the tests, by widths as on the command line."""

from trainer.nets.architecture import (
    Architecture,
    CriticKind,
    CriticNorm,
    CriticShape,
    GeneratorKind,
    GeneratorNorm,
    GeneratorShape,
    channels_for,
)


def generator_shape(
    kind: GeneratorKind = "plain",
    resolution: int = 32,
    *,
    width: int = 4,
    latent_size: int = 8,
    norm: GeneratorNorm = "batch",
) -> GeneratorShape:
    return GeneratorShape(kind, latent_size, channels_for(resolution, width), norm)


def critic_shape(
    kind: CriticKind = "plain", resolution: int = 32, *, width: int = 4, norm: CriticNorm = "none"
) -> CriticShape:
    return CriticShape(kind, channels_for(resolution, width), norm)


def small(resolution: int = 32, width: int = 4, latent_size: int = 8) -> Architecture:
    """Both networks of the plain kind."""
    return Architecture(
        generator_shape(resolution=resolution, width=width, latent_size=latent_size),
        critic_shape(resolution=resolution, width=width),
    )
