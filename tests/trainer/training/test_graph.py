"""Cycles as a CUDA graph, as far as no GPU is needed: what happens where none can be captured."""

from pathlib import Path

import pytest
import torch

from tests.drawings import bowls
from trainer.config import make_config
from trainer.pictures import to_device
from trainer.training import graph
from trainer.training.graph import graph_cycles, without_a_trace
from trainer.training.state import TrainingCopy
from trainer.training.training import Training

CONFIG = make_config(
    Path("bowls"), "modern", "wgan-gp", resolution=32, width=4, batch=3, latent_size=8,
    generator="plain", critic="plain",
)  # fmt: skip


@pytest.fixture
def training() -> Training:
    made = Training(CONFIG, to_device(bowls(10, 32), torch.device("cpu")))
    made.cycle()
    return made


def test_what_fails_within_leaves_no_trace_either(training: Training) -> None:
    before, step = TrainingCopy(training).tensors, training.step

    def fail() -> None:
        training.cycle()
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="stream"), without_a_trace(training):
        fail()
    after = TrainingCopy(training).tensors
    assert training.step == step
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_without_a_gpu_cycles_run_as_they_are(training: Training) -> None:
    run = training.run
    graph_cycles(training, pytest.fail)
    assert training.run == run


def test_what_can_not_be_captured_is_said_and_goes_on_without(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(training: Training) -> None:
        raise RuntimeError("CUDA error: out of graphs\nand much more")

    run, rng, said = training.run, training.rng, list[str]()
    numbers = rng.get_state()
    monkeypatch.setattr(graph, "captured", refused)
    monkeypatch.setattr(training, "device", torch.device("cuda"))
    graph_cycles(training, said.append)
    assert said == ["Not captured as a CUDA graph (CUDA error: out of graphs): training goes on without."]
    assert training.run == run
    # torch refuses to draw from a generator that a capture failed with
    assert training.rng is not rng
    assert torch.equal(training.rng.get_state(), numbers)
