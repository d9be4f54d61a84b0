"""An exact resume: bit-identical networks, optimisers, random numbers, statistics and pictures."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.drawings import bowls
from trainer.config import FitConfig, make_config
from trainer.errors import TrainerError
from trainer.pictures import to_device
from trainer.training.guard import Guard
from trainer.training.state import Surroundings, newest_state, restore_state, save_state
from trainer.training.training import Training

CPU = torch.device("cpu")
AROUND = Surroundings("fingerprint", Guard(), 0)


def config_for(objective: str, kind: str = "plain") -> FitConfig:
    return make_config(
        Path("bowls"), "modern", objective, resolution=32, width=4, batch=3, latent_size=8, kind=kind
    )


def start(config: FitConfig) -> Training:
    return Training(config, to_device(bowls(10, 32), CPU))


def everything(training: Training) -> dict[str, torch.Tensor]:
    from trainer.training.state import _tensors

    return {name: tensor.clone() for name, tensor in _tensors(training).items()}


@pytest.mark.parametrize("objective", ["wgan-gp", "wgan", "dcgan"])
def test_a_resumed_training_is_the_one_that_never_stopped(objective: str, tmp_path: Path) -> None:
    config = config_for(objective)
    whole = start(config)
    for _ in range(9):
        whole.cycle()

    first = start(config)
    for _ in range(4):
        first.cycle()
    path = save_state(tmp_path, first, AROUND)
    second = start(config)
    second.cycle()  # whatever it did before, the state replaces it whole
    restore_state(path, second)
    for _ in range(5):
        second.cycle()

    assert second.step == whole.step == 9
    ours, theirs = everything(second), everything(whole)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    assert second.take_statistics() == whole.take_statistics()


def test_a_run_begun_without_an_averaged_critic_goes_on_with_the_latest(tmp_path: Path) -> None:
    training = start(config_for("wgan-gp"))
    training.cycle()
    path = save_state(tmp_path, training, AROUND)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if not name.startswith("judge.")}  # noqa: SIM118
        metadata = file.metadata()
    save_file(tensors, path, metadata)
    again = start(config_for("wgan-gp"))
    restore_state(path, again)
    for average, latest in zip(
        again.networks.judge.parameters(), training.networks.critic.parameters(), strict=True
    ):
        assert torch.equal(average, latest)


def test_memory_formats_survive(tmp_path: Path) -> None:
    """Lost formats would make a resumed run slower, and round differently."""
    training = start(config_for("wgan-gp", "residual"))
    training.cycle()
    path = save_state(tmp_path, training, AROUND)
    again = start(config_for("wgan-gp", "residual"))
    restore_state(path, again)
    pairs = zip(training.networks.critic.parameters(), again.networks.critic.parameters(), strict=True)
    for before, after in pairs:
        ours, theirs = again.critic_optimiser.state[after], training.critic_optimiser.state[before]
        assert ours["exp_avg"].stride() == theirs["exp_avg"].stride()


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    training = start(config_for("wgan-gp"))
    for _ in range(4):
        training.cycle()
        save_state(tmp_path, training, AROUND)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "state-00000003.safetensors",
        "state-00000004.safetensors",
    ]


@pytest.mark.parametrize("keep", [0, 5, 200, 0.5, 0.99])
def test_a_half_written_state_is_skipped_with_a_word(keep: float, tmp_path: Path) -> None:
    training = start(config_for("wgan-gp"))
    training.cycle()
    save_state(tmp_path, training, AROUND)
    training.cycle()
    broken = save_state(tmp_path, training, AROUND)
    data = broken.read_bytes()
    broken.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    words: list[str] = []
    path, document = newest_state(tmp_path, words.append)
    assert document["step"] == 1
    assert path.name == "state-00000001.safetensors"
    assert len(words) == 1
    assert broken.name in words[0]


def test_nothing_to_resume_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="no saved state"):
        newest_state(tmp_path / "state", print)
