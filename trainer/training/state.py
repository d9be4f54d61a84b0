"""Everything an exact resume needs, in one safetensors file: networks, optimisers, random numbers, counters.

The order of the data is a function of the seed and the step, so the step is all it needs. A file is written
whole or not at all; the last two are kept, and one that is damaged is skipped with a word.
"""

import json
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from trainer.config import FitConfig
from trainer.errors import TrainerError
from trainer.files import atomic_write
from trainer.nets import earlier
from trainer.training.guard import Guard
from trainer.training.training import Training

STATE_VERSION = 2
KEPT = 2
_KEY = "trainer-state"


@dataclass(frozen=True)
class LoopState:
    """What the loop has beside the training itself, and has to be resumed with it."""

    data_fingerprint: str
    guard: Guard
    log_length: int
    """Bytes of metrics.jsonl that had been written."""
    lowest: float = math.inf
    """The least of the figure by which the best checkpoint is chosen."""
    best_by: str = "kid"
    """That figure's name."""


def save_state(folder: Path, training: Training, loop: LoopState) -> Path:
    """Write `state-<step>.safetensors` atomically and drop all but the last two. Raises TrainerError."""
    path = _path_of(folder, training.step)
    write_state(path, training, loop)
    for old in _states(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def save_setback(folder: Path, training: Training, loop: LoopState) -> None:
    """Save the state that the guard has gone back to, and drop those of the steps that it gave up.

    Left there, they would be resumed from as the newest. They go last, so that there always is a state.
    """
    write_state(_path_of(folder, training.step), training, loop)
    for given_up in _states(folder):
        if given_up > _path_of(folder, training.step):
            given_up.unlink(missing_ok=True)


def write_state(path: Path, training: Training, loop: LoopState) -> None:
    """Write one state atomically. Raises TrainerError."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(training).items()}
    document = {
        "version": STATE_VERSION,
        **_counters(training),
        "seconds": training.seconds,
        "data_fingerprint": loop.data_fingerprint,
        "guard": loop.guard.to_json(),
        "log_length": loop.log_length,
        "lowest": loop.lowest,
        "best_by": loop.best_by,
        "config": training.config.to_json(),
        "device": training.device.type,
        "torch": torch.__version__,
    }
    atomic_write(path, serialise(tensors, {_KEY: json.dumps(document)}))


def save_calm(folder: Path, training: Training, loop: LoopState, also: Collection[int]) -> None:
    """Write the state of a calm evaluation, and drop those that the guard no longer knows but for `also`."""
    write_state(calm_state(folder, training.step), training, loop)
    kept = {calm_state(folder, step) for step in (*loop.guard.calm_steps, *also)}
    for old in folder.glob("calm-*.safetensors"):
        if old not in kept:
            old.unlink(missing_ok=True)


def calm_state(folder: Path, step: int) -> Path:
    """A state that the guard may go back to, also the last resort of a resume."""
    return folder / f"calm-{step:08d}.safetensors"


def newest_state(folder: Path, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
    """The newest readable state and its document. Raises TrainerError where there is none."""
    for path in (*_states(folder), *sorted(folder.glob("calm-*.safetensors"), reverse=True)):
        document = read_document(path)
        if document is None:
            say(f"Skipped {path.name}: it is damaged or was only half written.")
            continue
        if int(document["version"]) > STATE_VERSION:
            raise TrainerError(f"{path} was saved by a newer version: upgrade meshibot to resume it.")
        return path, document
    raise TrainerError(
        f"There is no saved state in {folder} that could be read: begin a run anew with another --out "
        f"(what {folder.parent} has of checkpoints stays as it is)."
    )


def read_document(path: Path) -> dict[str, Any] | None:
    """What a state says of itself, or None where it is missing or damaged; one that was cut short can't be
    opened."""
    try:
        with safe_open(path, "pt") as file:
            return dict(json.loads((file.metadata() or {})[_KEY]))
    except (SafetensorError, KeyError, ValueError, OSError):
        return None


@torch.no_grad()
def restore_state(path: Path, training: Training) -> tuple[str, ...]:
    """Fill a training of the same architecture from a state file, bit for bit, in place.

    Returns in sentences what could not be taken over: random numbers of another kind of device, say, which
    are drawn anew from seed and step then.
    """
    with safe_open(path, "pt") as file:
        document = json.loads(file.metadata()[_KEY])
        saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    words = []
    if int(document["version"]) == 1:
        saved = _from_version_1(saved, training)
        words.append("The state is an earlier version's: from here on its run is computed as by this one.")
    _fill(training, saved, document)
    here = training.device.type
    if document.get("device", here) == here and saved["rng"].shape == training.rng.get_state().shape:
        training.rng.set_state(saved["rng"])
    else:
        training.draw_anew()
        words.append(f"The state is another device's: on {here}, random numbers are drawn anew.")
    return tuple(words)


class TrainingCopy:
    """A training's state in memory, to go back to after what should leave no trace."""

    def __init__(self, training: Training) -> None:
        self.tensors = {name: tensor.detach().clone() for name, tensor in _tensors(training).items()}
        self._counters = _counters(training)

    @torch.no_grad()
    def restore(self, training: Training) -> None:
        """In place: the training's tensors stay the same ones."""
        _fill(training, self.tensors, self._counters)
        training.rng.set_state(self.tensors["rng"])


def _counters(training: Training) -> dict[str, int]:
    return {
        "step": training.step,
        "summed_steps": training.summed_steps,
        "setbacks": training.setbacks,
    }


def _fill(training: Training, saved: dict[str, Tensor], counters: dict[str, Any]) -> None:
    """Copy everything but the random numbers into the training's own tensors."""
    networks = training.networks
    for prefix, network in _networks(training).items():
        state = {name.removeprefix(prefix): t for name, t in saved.items() if name.startswith(prefix)}
        frozen = {name: t for name, t in network.state_dict().items() if _is_frozen(prefix + name)}
        network.load_state_dict(frozen | state)
    for prefix, optimiser, network in (
        ("critic_optimiser.", training.critic_optimiser, networks.critic),
        ("generator_optimiser.", training.generator_optimiser, networks.generator),
    ):
        _restore_optimiser(optimiser, list(network.parameters()), saved, prefix)
    training.critic_sums.copy_(saved["critic_sums"])
    training.generator_sums.copy_(saved["generator_sums"])
    training.step = int(counters["step"])
    training.summed_steps = int(counters["summed_steps"])
    training.set_back(int(counters["setbacks"]))


def _from_version_1(saved: dict[str, Tensor], training: Training) -> dict[str, Tensor]:
    """Its tensors by today's names; parameters had the order they have today, and critics one head.

    The first runs had no averaged critic: their latest stands for it.
    """
    tensors = earlier.names_2(saved, training.config.resolution)
    latest = {
        "critic_average." + name.removeprefix("critic."): tensor
        for name, tensor in tensors.items()
        if name.startswith("critic.")
    }
    return {**latest, **tensors, "critic_sums": saved["critic_sums"][:, None]}


def loop_state_of(document: dict[str, Any]) -> LoopState:
    return LoopState(
        str(document["data_fingerprint"]),
        Guard.from_json(document["guard"]),
        int(document["log_length"]),
        float(document.get("lowest", math.inf)),
        str(document.get("best_by", "kid")),
    )


def saved_config(document: dict[str, Any]) -> FitConfig:
    return FitConfig.from_json(document["config"])


def _path_of(folder: Path, step: int) -> Path:
    return folder / f"state-{step:08d}.safetensors"


def _states(folder: Path) -> list[Path]:
    """State files, the newest first."""
    return sorted(folder.glob("state-*.safetensors"), reverse=True)


def _networks(training: Training) -> dict[str, torch.nn.Module]:
    networks = training.networks
    return {
        "generator.": networks.generator,
        "critic.": networks.critic,
        "generator_average.": networks.generator_average,
        "critic_average.": networks.critic_average,
        "vision.": networks.vision,
    }


def _is_frozen(name: str) -> bool:
    """Whether it is of the pretrained network, which is installed and never changes: no state keeps it."""
    return name.startswith("vision.net.")


def _tensors(training: Training) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {
        "rng": training.rng.get_state(),
        "critic_sums": training.critic_sums,
        "generator_sums": training.generator_sums,
    }
    for prefix, network in _networks(training).items():
        named = {prefix + name: tensor for name, tensor in network.state_dict().items()}
        tensors |= {name: tensor for name, tensor in named.items() if not _is_frozen(name)}
    for prefix, optimiser in (
        ("critic_optimiser.", training.critic_optimiser),
        ("generator_optimiser.", training.generator_optimiser),
    ):
        for index, values in optimiser.state_dict()["state"].items():
            tensors |= {f"{prefix}{index}.{name}": tensor for name, tensor in values.items()}
    return tensors


def _restore_optimiser(
    optimiser: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    saved: dict[str, Tensor],
    prefix: str,
) -> None:
    """Fill the optimiser's own tensors: a captured graph goes on working on them, in their memory format."""
    for index, parameter in enumerate(parameters):
        values = {
            name.removeprefix(f"{prefix}{index}."): tensor
            for name, tensor in saved.items()
            if name.startswith(f"{prefix}{index}.")
        }
        kept = optimiser.state[parameter]
        if not values:  # saved before the first step: zeros are what an optimiser begins with
            for tensor in kept.values():
                tensor.zero_()
        for name, tensor in values.items():
            if name not in kept:
                alike = tensor.shape == parameter.shape
                kept[name] = torch.empty_like(parameter) if alike else _counter(tensor, parameter)
            kept[name].copy_(tensor)


def _counter(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Room for a count of steps, where a fused optimiser keeps it: beside its parameter."""
    return torch.empty_like(tensor, device=parameter.device)
