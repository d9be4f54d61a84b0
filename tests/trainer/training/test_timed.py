"""A training whose time is limited: rates fall towards its end, it ends there, and a resume knows it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.drawings import bowls, write_bowls
from trainer.config import FitConfig, make_config
from trainer.data.dataset import load_dataset
from trainer.errors import UsageError
from trainer.pictures import to_device
from trainer.training.fit import fit
from trainer.training.session import evaluation_due
from trainer.training.training import Training, decay

CONFIG = make_config(
    Path("bowls"), "modern", "wgan-gp", resolution=32, width=4, batch=3, latent_size=8, steps=1_000,
    generator="plain", critic="plain", minutes=2.0, compile="off", eval_every=7,
)  # fmt: skip


def start(config: FitConfig = CONFIG) -> Training:
    return Training(config, to_device(bowls(10, 32), torch.device("cpu")))


def test_learning_rates_fall_by_whichever_ends_sooner() -> None:
    assert [decay(0, 100, 0.5, used) for used in (0.0, 0.5, 0.75, 1.0, 1.5)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert decay(75, 100, 0.5, 0.6) == 0.5
    assert decay(75, 100, 0.5, 0.9) == pytest.approx(0.2)
    assert decay(0, 100, 0.0, 0.9) == 1.0
    training = start()
    training.seconds = 90.0
    training.cycle()
    assert training.critic_optimiser.param_groups[0]["lr"] == pytest.approx(CONFIG.critic_lr / 2)


def test_it_is_done_when_the_time_is_up_and_looked_at_then() -> None:
    training = start()
    training.cycle()
    found = []
    for seconds in (0.0, 119.0, 120.0):
        training.seconds = seconds
        found.append((training.done, evaluation_due(training, None), training.time_left))
    assert found == [(False, False, 120.0), (False, False, 1.0), (True, True, 0.0)]


def test_without_a_limit_no_time_is_used() -> None:
    training = start(replace(CONFIG, minutes=0.0))
    training.seconds = 1e9
    assert training.time_used == 0.0
    assert not training.done


def test_it_ends_within_its_steps_and_can_be_given_more_time(tmp_path: Path) -> None:
    dataset = load_dataset(write_bowls(tmp_path / "bowls", 12), 32, progress=False)
    run, said = tmp_path / "run", list[str]()
    config = replace(CONFIG, data=str(tmp_path / "bowls"), minutes=1e-9)
    result = fit(config, dataset, run, resume=False, say=said.append)
    assert (result.step, result.finished, result.stopped_by) == (1, True, None)
    kinds = [json.loads(line)["kind"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert kinds == ["evaluation"]
    assert any("Training on cpu" in line for line in said)
    again = fit(config, dataset, run, resume=True, say=said.append)
    assert (again.step, again.finished) == (1, True), "its time was used up before"
    more = fit(replace(config, minutes=100.0, steps=3), dataset, run, resume=True, say=said.append)
    assert more.step == 3


@pytest.mark.parametrize("minutes", [-1.0, float("inf"), float("nan")])
def test_what_is_no_time_is_refused(minutes: float) -> None:
    with pytest.raises(UsageError, match="--minutes"):
        make_config(Path("bowls"), "modern", "wgan-gp", minutes=minutes)
