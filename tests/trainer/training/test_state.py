"""An exact resume: bit-identical networks, optimisers, random numbers, statistics and pictures."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.drawings import bowls
from trainer.config import FitConfig, differences, make_config
from trainer.errors import TrainerError
from trainer.nets.vision import Vision
from trainer.pictures import to_device
from trainer.training.guard import Guard
from trainer.training.setback import go_back
from trainer.training.state import (
    STATE_VERSION,
    LoopState,
    TrainingCopy,
    _tensors,
    calm_state,
    loop_state_of,
    newest_state,
    restore_state,
    save_calm,
    save_setback,
    save_state,
    saved_config,
    write_state,
)
from trainer.training.training import Training

CPU = torch.device("cpu")
AROUND = LoopState("fingerprint", Guard(), 0)


VERSION_1 = Path(__file__).parent / "examples" / "state-of-version-1.safetensors"
"""Four steps of 32 px, width 2, saved by the last version that numbered its networks' blocks."""


def config_for(objective: str, critic: str = "plain") -> FitConfig:
    return make_config(
        Path("bowls"), "modern", objective, resolution=32, width=4, batch=3, latent_size=8,
        generator="plain" if critic == "plain" else "gated", critic=critic,
    )  # fmt: skip


def start(config: FitConfig, vision: Vision | None = None) -> Training:
    return Training(config, to_device(bowls(10, 32), CPU), vision=vision)


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> None:
    """Change tensors and document of a state in place."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        document = json.loads(file.metadata()["trainer-state"])
    change(tensors, document)
    save_file(tensors, path, {"trainer-state": json.dumps(document)})


def everything(training: Training) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in _tensors(training).items()}


@pytest.mark.parametrize(
    ("objective", "critic"),
    [("wgan-gp", "plain"), ("wgan", "plain"), ("dcgan", "plain"), ("wgan-gp", "seeing")],
)
def test_a_resumed_training_is_the_one_that_never_stopped(
    objective: str, critic: str, tmp_path: Path
) -> None:
    config = config_for(objective, critic)
    whole = start(config)
    for _ in range(5):
        whole.cycle()

    first = start(config)
    for _ in range(3):
        first.cycle()
    path = save_state(tmp_path, first, AROUND)
    second = start(replace(config, seed=1))  # another projection: the state brings its own
    second.config = config
    second.cycle()  # whatever it did before, the state replaces it whole
    assert restore_state(path, second) == ()
    for _ in range(2):
        second.cycle()

    assert second.step == whole.step == 5
    ours, theirs = everything(second), everything(whole)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    assert second.take_statistics() == whole.take_statistics()


def test_a_state_is_restored_in_place(tmp_path: Path) -> None:
    """A captured graph goes on working on the same memory."""
    training = start(config_for("wgan-gp"))
    training.cycle()
    path = save_state(tmp_path, training, AROUND)
    training.cycle()
    before = {name: tensor.data_ptr() for name, tensor in _tensors(training).items() if name != "rng"}
    restore_state(path, training)
    after = {name: tensor.data_ptr() for name, tensor in _tensors(training).items() if name != "rng"}
    assert before == after


def test_a_gpus_state_goes_on_here_with_a_word(tmp_path: Path) -> None:
    """And the same each time: its random numbers are a function of seed and step."""
    config = config_for("wgan-gp")
    training = start(config)
    training.cycle()
    path = save_state(tmp_path, training, AROUND)

    def as_of_a_gpu(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
        document["device"] = "cuda"
        tensors["rng"] = torch.arange(16, dtype=torch.uint8)  # seed and offset, as CUDA has them

    rewrite(path, as_of_a_gpu)
    ends = []
    for _ in range(2):
        again = start(config)
        (word,) = restore_state(path, again)
        assert word == "The state is another device's: on cpu, random numbers are drawn anew."
        assert again.step == 1
        drawn = start(config)
        drawn.step = 1
        drawn.draw_anew()
        assert torch.equal(again.rng.get_state(), drawn.rng.get_state())
        for name, tensor in again.networks.critic.state_dict().items():
            assert torch.equal(tensor, training.networks.critic.state_dict()[name])
        again.cycle()
        ends.append(everything(again))
    training.cycle()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert not torch.equal(ends[0]["rng"], everything(training)["rng"])


@pytest.mark.parametrize(("device", "size"), [("mps", 5056), ("cpu", 16)])
def test_random_numbers_go_on_only_where_they_are_this_devices(
    device: str, size: int, tmp_path: Path
) -> None:
    """By its name and by their size: states of version 1 do not say their device."""
    training = start(config_for("wgan-gp"))
    path = save_state(tmp_path, training, AROUND)

    def elsewhere(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
        document["device"] = device
        tensors["rng"] = torch.zeros(size, dtype=torch.uint8)

    rewrite(path, elsewhere)
    (word,) = restore_state(path, training)
    assert "drawn anew" in word


def test_a_state_from_before_the_first_step_begins_anew(tmp_path: Path) -> None:
    """The guard may go back to it: moments are zeros again, and setbacks are counted."""
    config = config_for("wgan-gp")
    fresh, training = start(config), start(config)
    for each in (fresh, training):
        each.set_back(2)
    path = save_state(tmp_path, training, AROUND)
    training.cycle()
    training.set_back(0)
    restore_state(path, training)
    assert training.setbacks == 2
    for each in (fresh, training):
        each.cycle()
        each.cycle()
    ours, theirs = everything(training), everything(fresh)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_state_of_version_1_goes_on_with_a_word() -> None:
    """Weights, averages, moments, step and random numbers are taken over."""
    with safe_open(VERSION_1, "pt") as file:
        document = json.loads(file.metadata()["trainer-state"])
        weight = file.get_tensor("critic.blocks.1.conv.weight")
        average = file.get_tensor("judge.score.weight")
        moment = file.get_tensor("generator_optimiser.4.exp_avg")
        rng = file.get_tensor("rng")
    config = saved_config(document)
    assert (config.generator, config.critic, config.channels) == ("plain", "plain", (8, 4, 2, 1))
    assert differences(config, config) == []
    training = start(config)
    (word,) = restore_state(VERSION_1, training)
    assert "earlier version's" in word
    assert training.step == 4
    networks = training.networks
    state = networks.critic.state_dict()
    assert torch.equal(state["heads.picture.blocks.16.conv.weight"], weight)
    assert torch.equal(networks.critic_average.state_dict()["heads.picture.score.weight"], average)
    parameter = networks.generator.get_parameter("blocks.8.conv.weight")
    assert torch.equal(training.generator_optimiser.state[parameter]["exp_avg"], moment)
    assert torch.equal(training.rng.get_state(), rng)
    training.cycle()
    assert math.isfinite(training.take_statistics().critic["critic_loss"])


def test_a_run_begun_without_an_averaged_critic_goes_on_with_the_latest(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    shutil.copy(VERSION_1, path)

    def without_average(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith("judge.")]:
            del tensors[name]

    rewrite(path, without_average)
    with safe_open(path, "pt") as file:
        training = start(saved_config(json.loads(file.metadata()["trainer-state"])))
    restore_state(path, training)
    networks = training.networks
    pairs = zip(networks.critic_average.parameters(), networks.critic.parameters(), strict=True)
    assert all(torch.equal(average, latest) for average, latest in pairs)


def test_a_newer_state_is_one_sentence(tmp_path: Path) -> None:
    path = save_state(tmp_path, start(config_for("wgan-gp")), AROUND)
    rewrite(path, lambda tensors, document: document.update(version=STATE_VERSION + 1))
    with pytest.raises(TrainerError, match="upgrade meshibot"):
        newest_state(tmp_path, print)


def test_memory_formats_survive(tmp_path: Path) -> None:
    """Lost formats would make a resumed run slower, and round differently."""
    training = start(config_for("wgan-gp"))
    training.cycle()
    path = save_state(tmp_path, training, AROUND)
    again = start(config_for("wgan-gp"))
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


def test_what_a_setback_gives_up_is_dropped_and_what_it_goes_back_to_is_not(tmp_path: Path) -> None:
    training = start(config_for("wgan-gp"))
    for training.step in (4, 8):
        save_state(tmp_path, training, AROUND)
    training.step = 6
    save_setback(tmp_path, training, AROUND)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["state-00000004", "state-00000006"]


def test_what_the_loop_knows_comes_back(tmp_path: Path) -> None:
    guard = Guard()
    guard.note_calm(3)
    loop = LoopState("fingerprint", guard, 17, lowest=0.25, best_by="kid_pretrained")
    save_state(tmp_path, start(config_for("wgan-gp")), loop)
    _, document = newest_state(tmp_path, print)
    assert document["version"] == 2, "which the versions before this one resume too"
    again = loop_state_of(document)
    assert again.guard.to_json() == guard.to_json()
    assert replace(again, guard=guard) == loop
    for name in ("lowest", "best_by"):
        del document[name]
    earlier = loop_state_of(document)
    assert (earlier.lowest, earlier.best_by) == (math.inf, "kid")


def test_a_copy_in_memory_leaves_no_trace_of_what_came_after() -> None:
    training = start(config_for("wgan-gp"))
    training.cycle()
    before, copy = everything(training), TrainingCopy(training)
    training.set_back(1)
    training.cycle()
    copy.restore(training)
    assert (training.step, training.summed_steps, training.setbacks) == (1, 1, 0)
    after = everything(training)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


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


def test_calm_states_are_kept_while_the_guard_or_a_saved_state_knows_them(tmp_path: Path) -> None:
    training = start(config_for("wgan-gp"))
    guard = Guard()
    for step in range(6):
        training.step = step
        guard.note_calm(step)
        save_calm(tmp_path, training, LoopState("fingerprint", guard, 0), also=[1])
    kept = [int(path.stem.removeprefix("calm-")) for path in sorted(tmp_path.iterdir())]
    assert kept == [1, 2, 3, 4, 5]
    assert guard.trusted_step == 2


def test_nothing_to_resume_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="no saved state"):
        newest_state(tmp_path / "state", print)


def test_where_the_states_are_gone_the_one_to_go_back_to_is_resumed_from(tmp_path: Path) -> None:
    training = start(config_for("wgan-gp"))
    training.cycle()
    calm = calm_state(tmp_path, 1)
    write_state(calm, training, AROUND)
    write_state(calm_state(tmp_path, 0), training, AROUND)
    newer = save_state(tmp_path, training, AROUND)
    said: list[str] = []
    assert newest_state(tmp_path, said.append)[0] == newer
    newer.write_bytes(newer.read_bytes()[:1000])
    assert newest_state(tmp_path, said.append)[0] == calm
    assert said == [f"Skipped {newer.name}: it is damaged or was only half written."]
    for path in tmp_path.glob("calm-*"):
        path.unlink()
    with pytest.raises(TrainerError, match="with another --out"):
        newest_state(tmp_path, said.append)


@pytest.mark.parametrize("damaged", [True, False])
def test_going_back_to_a_state_that_is_damaged_or_gone_takes_the_newest(
    tmp_path: Path, damaged: bool
) -> None:
    training = start(config_for("wgan-gp"))
    training.cycle()
    save_state(tmp_path, training, AROUND)
    kept = {name: tensor.clone() for name, tensor in training.networks.generator.state_dict().items()}
    training.cycle()
    if damaged:
        calm_state(tmp_path, 2).write_bytes(b"cut short")
    said: list[str] = []
    go_back(training, tmp_path, 2, 1, said.append)
    assert (training.step, training.setbacks) == (1, 1)
    for name, tensor in training.networks.generator.state_dict().items():
        assert torch.equal(tensor, kept[name])
    assert "damaged or gone: taking the newest state" in said[0]
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(TrainerError, match="no saved state"):
        go_back(training, tmp_path, 2, 2, said.append)
