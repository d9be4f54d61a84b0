"""The guard at work on trainings that really fail, and on one that does not."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.drawings import bowls
from trainer.checkpoint import load
from trainer.config import FitConfig, make_config
from trainer.data.dataset import Dataset
from trainer.errors import TrainerError
from trainer.nets.critic import Critic
from trainer.nets.generator import Generator
from trainer.training.fit import fit
from trainer.training.heldout import CriticComparison, CriticWatch

pytestmark = pytest.mark.usefixtures("few_fakes")


def dataset() -> Dataset:
    pictures = bowls(80, 32)
    names = tuple(map(str, range(80)))
    return Dataset(pictures[16:], pictures[:16], names[16:], names[:16], (), 0, "drawn", from_cache=False)


def config(**changes: object) -> FitConfig:
    options = {
        "resolution": 32, "width": 4, "batch": 8, "latent_size": 8, "steps": 32, "eval_every": 4, "snap": 16,
        "log_every": 10, "device": "cpu", "generator": "plain", "critic": "plain",
        "critic_lr": 2e-3, "generator_lr": 2e-4,
    }  # fmt: skip
    return make_config(Path("bowls"), "modern", "wgan-gp", **{**options, **changes})


def decisions(run: Path) -> list[dict[str, object]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == "guard"]


def test_a_critic_that_blows_up_is_taken_back_and_then_given_up(tmp_path: Path) -> None:
    """A learning rate that no halving mends: each setback is told, then one sentence and the best is kept."""
    said: list[str] = []
    wild = config(critic_lr=3.0, generator_lr=3.0, setbacks=2)
    with pytest.raises(TrainerError, match=r"Training collapsed at step \d+: .* gone back 2 times") as caught:
        fit(wild, dataset(), tmp_path, resume=False, say=said.append)
    assert caught.value.exit_status == 1
    told = decisions(tmp_path)
    assert [line["decision"] for line in told] == ["go back", "go back", "stop"]
    assert [line["lr_factor"] for line in told[:2]] == [0.5, 0.25]
    assert all(isinstance(line["reason"], str) for line in told)
    assert "kept in" not in str(caught.value)
    assert (tmp_path / "state" / "calm-00000000.safetensors").exists()


def test_without_the_guard_the_same_run_goes_on_blindly(tmp_path: Path) -> None:
    wild = config(critic_lr=3.0, generator_lr=3.0, guard=False, steps=12)
    assert fit(wild, dataset(), tmp_path, resume=False, say=print).finished
    assert decisions(tmp_path) == []


@contextmanager
def spoiled_looks(*, killed_at: int = 0) -> Iterator[None]:
    """The fifth evaluation finds weights that a bad batch has ruined; at another the process may die."""
    seen = 0
    look = CriticWatch.__call__

    def spoiled(self: CriticWatch, critic: Critic, generator: Generator) -> CriticComparison:
        nonlocal seen
        seen += 1
        if seen == 5:
            for parameter in critic.parameters():
                parameter.data.mul_(1e4)
        if seen == killed_at:
            raise KeyboardInterrupt
        return look(self, critic, generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CriticWatch, "__call__", spoiled)
        yield


def test_going_back_restores_a_calm_state_and_draws_anew(tmp_path: Path) -> None:
    """A spike in the middle of a healthy run: it goes back to a calm step, and finishes from there.

    So does a run that dies right after: it resumes from the step gone back to, not from a later one.
    """
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with spoiled_looks():
        result = fit(config(snap=8), dataset(), whole, resume=False, say=print)
    (told,) = decisions(whole)
    assert told["sign"] == "exploding"
    assert told["step"] == 20
    assert told["to_step"] == 4, "the fourth calm evaluation before it"
    assert result.finished
    assert load(result.checkpoint).metadata.step == 32
    lines = map(json.loads, (whole / "metrics.jsonl").read_text().splitlines())
    assert all(line["images_per_s"] > 0 for line in lines if line["kind"] == "tick")

    with spoiled_looks(killed_at=6), pytest.raises(KeyboardInterrupt):
        fit(config(snap=8), dataset(), parts, resume=False, say=print)
    states = sorted((parts / "state").glob("state-*"))
    assert states[-1].stem == f"state-{told['to_step']:08d}"
    fit(config(snap=8), dataset(), parts, resume=True, say=print)
    assert decisions(parts) == [told]
    ends = [run / "state" / "state-00000032.safetensors" for run in (whole, parts)]
    first, second = map(load_file, ends)
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)


@pytest.mark.long
def test_a_healthy_run_is_left_alone(tmp_path: Path) -> None:
    fit(config(steps=72, eval_every=8), dataset(), tmp_path, resume=False, say=print)
    assert decisions(tmp_path) == []
