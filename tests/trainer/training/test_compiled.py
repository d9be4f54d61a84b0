"""Compiled gradients are used where they equal autograd's, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainer.config import make_config
from trainer.nets.architecture import NetworkKind
from trainer.training import compiled
from trainer.training.compiled import compile_arithmetic, greatest_difference, worth_it
from trainer.training.step import Arithmetic, eager
from trainer.training.training import Training


def training(kind: NetworkKind = "plain", norm: str = "pixel", lr: float = 6e-4) -> Training:
    config = make_config(
        Path("none"), "modern", "wgan-gp", resolution=32, batch=4, width=4, latent_size=8, kind=kind,
        generator_norm=norm, device="cpu", n_critic=2, critic_lr=lr, generator_lr=lr,
    )  # fmt: skip
    rng = torch.Generator().manual_seed(0)
    return Training(config, torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=rng))


def test_only_long_runs_are_worth_compiling() -> None:
    assert not worth_it(cycle_seconds=0.5, cycles=1_000)
    assert worth_it(cycle_seconds=0.5, cycles=20_000)


def test_an_example_leaves_the_training_as_it_was() -> None:
    one, other = training(), training()
    example = other.example()
    greatest_difference(other.arithmetic, other.arithmetic, example)
    for each in (one, other):
        each.cycle()
    assert torch.equal(one.rng.get_state(), other.rng.get_state())
    for a, b in zip(one.networks.critic.parameters(), other.networks.critic.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_critic_with_batch_norm_is_not_compiled() -> None:
    run = training()
    said: list[str] = []
    apart = replace(run.task, joined=False)
    compile_arithmetic(run.networks, apart, 1, run.example(), said.append)
    assert len(said) == 1
    assert said[0].startswith("Not compiled: the critic's batch norm")


def test_a_wrong_gradient_is_found_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a compiler may give it: without the penalty, and without an error."""
    run = training()

    def without_penalty(networks: object, task: object, example: object) -> Arithmetic:
        return eager(run.networks, replace(run.task, objective=replace(run.objective, penalty_weight=0.0)))

    monkeypatch.setattr(compiled, "compile_gradients", without_penalty)
    said: list[str] = []
    used = compile_arithmetic(run.networks, run.task, 1, run.example(), said.append)
    assert said[0].startswith("Warning: compiled gradients differ from autograd's by")
    assert greatest_difference(used, run.arithmetic, run.example()) == 0


def test_without_a_compiler_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> Arithmetic:
        raise RuntimeError("No working C++ compiler found\nin a long explanation")

    monkeypatch.setattr(compiled, "compile_gradients", fail)
    run = training()
    said: list[str] = []
    used = compile_arithmetic(run.networks, run.task, 1, run.example(), said.append)
    assert said == ["Not compiled (No working C++ compiler found): training goes on without."]
    assert greatest_difference(used, run.arithmetic, run.example()) == 0


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "norm"), [("plain", "pixel"), ("residual", "batch")])
def test_twenty_compiled_cycles_are_those_of_autograd(kind: NetworkKind, norm: str) -> None:
    # At a low rate: Adam's first step is the gradient's sign, and where that is rounding alone the two take
    # opposite ones, from which they part at a high rate as any two runs do.
    plain, fast = training(kind, norm, lr=1e-5), training(kind, norm, lr=1e-5)
    # faster or not on this machine: it is what was compiled that is tried here
    fast.arithmetic = compiled.compile_gradients(fast.networks, fast.task, fast.example())
    assert greatest_difference(fast.arithmetic, plain.arithmetic, plain.example()) < 1e-3
    for _ in range(20):
        losses = []
        for each in (plain, fast):
            each.cycle()
            losses.append(each.take_statistics())
        assert losses[0].critic == pytest.approx(losses[1].critic, abs=1e-4)
        assert losses[0].generator_loss == pytest.approx(losses[1].generator_loss, abs=1e-4)
