"""A training that begins as another checkpoint, of its own resolution or of half of it."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from tests.drawings import bowls
from trainer import checkpoint
from trainer.checkpoint import Checkpoint
from trainer.config import FitConfig, make_config, shape_settings
from trainer.metadata import Metadata
from trainer.pictures import to_device
from trainer.training.initial import begin_as, initial_vision, load_initial
from trainer.training.training import Training


def settings(resolution: int, critic: str) -> FitConfig:
    return make_config(
        Path("bowls"), "modern", "wgan-gp", resolution=resolution, batch=3, critic=critic, width=16,
        latent_size=8,
    )  # fmt: skip


def start(config: FitConfig) -> Training:
    return Training(config, to_device(bowls(6, config.resolution), torch.device("cpu")))


def begun(config: FitConfig, initial: Checkpoint) -> Training:
    pictures = to_device(bowls(6, config.resolution, first=50), torch.device("cpu"))
    training = Training(config, pictures, vision=initial_vision(config, initial))
    begin_as(training.networks, initial)
    return training


def checkpoint_of(training: Training, path: Path) -> Checkpoint:
    networks = training.networks
    features = torch.zeros(1, networks.critic.feature_size())
    architecture = asdict(training.config.architecture)
    document = Metadata(architecture, "wgan-gp", "modern", 1, 3, "f", 6, 1, (0.0, 1.0))
    checkpoint.save(
        path, networks.generator_average, networks.critic_average, networks.vision, features, document
    )
    return checkpoint.load(path)


@pytest.mark.parametrize("critic", ["plain", "seeing"])
def test_of_the_same_resolution_everything_is_taken_over(critic: str, tmp_path: Path) -> None:
    first = start(settings(32, critic))
    first.cycle()
    initial = checkpoint_of(first, tmp_path / "first.safetensors")
    config = make_config(Path("own"), "modern", "wgan-gp", **shape_settings(initial.metadata.networks, 32))
    second = begun(config, initial)
    assert config.architecture == first.config.architecture
    pairs = (
        ("generator", "generator_average"),
        ("generator_average", "generator_average"),
        ("critic", "critic_average"),
        ("critic_average", "critic_average"),
    )
    for name, source in pairs:
        expected = getattr(first.networks, source).state_dict()
        for key, tensor in getattr(second.networks, name).state_dict().items():
            torch.testing.assert_close(tensor, expected[key], rtol=0, atol=0)
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    scores = [each.networks.critic_average(each.networks.vision(pictures)) for each in (first, second)]
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-4, atol=1e-4)
    second.cycle()


def test_a_network_of_half_the_size_is_the_beginning(tmp_path: Path) -> None:
    """Blocks are named by their size: those below the new one's are the checkpoint's, maps and all."""
    first = start(settings(32, "seeing"))
    first.cycle()
    initial = checkpoint_of(first, tmp_path / "first.safetensors")
    config = make_config(Path("own"), "modern", "wgan-gp", **shape_settings(initial.metadata.networks, 64))
    assert config.channels == (*first.config.channels, 8)
    second = begun(config, initial)
    torch.testing.assert_close(
        second.networks.vision.get_buffer("across8"), first.networks.vision.get_buffer("across8")
    )
    for network in ("generator", "critic"):
        old = getattr(first.networks, f"{network}_average").state_dict()
        new = getattr(second.networks, network).state_dict()
        taken = [name for name in new if name in old and torch.equal(new[name], old[name])]
        assert len(taken) > 0.8 * len(old)
        assert any(name.startswith(("blocks.16", "heads.picture.blocks.16")) for name in taken)
        assert any(name.startswith(("blocks.64", "heads.picture.blocks.64")) for name in new.keys() - old)
    latents = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    generators = [each.networks.generator_average.eval() for each in (first, second)]
    maps = []
    for generator in generators:
        hook = generator.get_submodule("blocks.16").register_forward_hook(lambda *args: maps.append(args[2]))
        with torch.no_grad():
            generator(latents)
        hook.remove()
    torch.testing.assert_close(maps[1], maps[0])
    second.cycle()


def test_without_one_nothing_is_loaded() -> None:
    assert load_initial(settings(32, "plain")) is None
