"""Compiled gradients are used where they equal autograd's, and nowhere else."""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.config import make_config
from trainer.data.cache import default_cache
from trainer.nets.architecture import CriticKind, GeneratorKind
from trainer.training import compiled
from trainer.training.compiled import compile_arithmetic, greatest_difference, worth_it
from trainer.training.fit import _choose_arithmetic
from trainer.training.state import TrainingCopy
from trainer.training.step import Arithmetic, eager
from trainer.training.training import Training


def training(critic: CriticKind = "plain", lr: float = 6e-4, **changes: object) -> Training:
    options = {
        "resolution": 32, "batch": 4, "width": 4, "latent_size": 8, "generator": "plain", "critic": critic,
        "device": "cpu", "precision": "float32", "n_critic": 2, "critic_lr": lr, "generator_lr": lr,
        **changes,
    }  # fmt: skip
    config = make_config(Path("none"), "modern", "wgan-gp", **options)
    rng = torch.Generator().manual_seed(0)
    return Training(config, torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=rng))


def difference(one: Training, arithmetic: Arithmetic) -> float:
    return greatest_difference(one.networks, one.arithmetic, arithmetic, one.example())


def test_only_long_runs_are_worth_compiling() -> None:
    assert not worth_it(cycle_seconds=0.5, cycles=1_000)
    assert worth_it(cycle_seconds=0.5, cycles=20_000)


def test_an_example_leaves_the_training_as_it_was() -> None:
    one, other = training(), training()
    difference(other, other.arithmetic)
    for each in (one, other):
        each.cycle()
    assert torch.equal(one.rng.get_state(), other.rng.get_state())
    for a, b in zip(one.networks.critic.parameters(), other.networks.critic.parameters(), strict=True):
        assert torch.equal(a, b)


def test_timing_leaves_batch_norms_statistics_as_they_were() -> None:
    """Those of DCGAN's critic as well, and of a generator whose compiling fails."""
    config = make_config(Path("none"), "modern", "dcgan", resolution=32, batch=4, width=4, latent_size=8,
                         generator="plain", critic="plain")  # fmt: skip
    rng = torch.Generator().manual_seed(0)
    run = Training(config, torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=rng))
    before = TrainingCopy(run).tensors
    assert any(name.startswith("critic.") and name.endswith("running_mean") for name in before)
    compiled.cycle_seconds(run.networks, [run.arithmetic], 1, run.example())

    def fail(*batch: object) -> Any:
        raise RuntimeError("No working C++ compiler found")

    with pytest.raises(RuntimeError, match="compiler"):
        compiled.cycle_seconds(run.networks, [replace(run.arithmetic, critic=fail)], 1, run.example())
    after = TrainingCopy(run).tensors
    assert [name for name, tensor in before.items() if not torch.equal(tensor, after[name])] == []


def test_a_critic_with_batch_norm_is_not_compiled() -> None:
    run = training()
    said: list[str] = []
    apart = replace(run.task, joined=False)
    assert compile_arithmetic(run.networks, apart, 1, run.example(), said.append) is None
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
    assert used is None


def test_without_a_compiler_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> Arithmetic:
        raise RuntimeError("No working C++ compiler found\nin a long explanation")

    monkeypatch.setattr(compiled, "compile_gradients", fail)
    run = training()
    said: list[str] = []
    used = compile_arithmetic(run.networks, run.task, 1, run.example(), said.append)
    assert said == ["Not compiled (No working C++ compiler found): training goes on without."]
    assert used is None


def scaled(arithmetic: Arithmetic, factor: float, *, critic: bool = False) -> Arithmetic:
    """The same with all gradients of one kind times a factor."""

    def of_critic(*batch: Any) -> Any:
        gradients, rows = arithmetic.critic(*batch)
        return tuple(factor * gradient for gradient in gradients), rows

    def of_views(fakes: Any) -> Any:
        gradients, loss = arithmetic.views(fakes)
        return tuple(factor * gradient for gradient in gradients), loss

    if critic:
        return replace(arithmetic, critic=of_critic)
    return replace(arithmetic, views=of_views)


@pytest.mark.parametrize("critic", [True, False])
def test_gradients_are_compared_by_the_norm_of_all(critic: bool) -> None:
    run = training()
    assert difference(run, scaled(run.arithmetic, 1.01, critic=critic)) == pytest.approx(0.01, rel=0.2)
    assert math.isnan(difference(run, scaled(run.arithmetic, math.nan, critic=critic)))


def test_rounding_in_a_bias_that_has_no_gradient_is_none() -> None:
    """Before a batch norm a bias has none but rounding: by its own size two ways differ by their whole."""
    run = training(generator_norm="batch")

    def noisy(draw: Any) -> Any:
        views = run.arithmetic.fakes(draw)
        bias = run.networks.generator.get_parameter("project.bias")
        return tuple(view + 1e-7 * bias.sum() for view in views)

    assert 0 < difference(run, replace(run.arithmetic, fakes=noisy)) < compiled.TOLERANCE


def test_bf16_may_differ_by_its_own_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer bits, in another order of operations: what float32 would be refused for is none there."""
    for precision, used in (("bf16", True), ("float32", False)):
        run = training(precision=precision)
        other = scaled(run.arithmetic, 1.02)
        monkeypatch.setattr(compiled, "compile_gradients", lambda *arguments, other=other: other)
        monkeypatch.setattr(compiled, "cycle_seconds", lambda *arguments: [2.0, 1.0])
        said: list[str] = []
        chosen = compile_arithmetic(run.networks, run.task, 1, run.example(), said.append)
        assert chosen is (other if used else None), said


def test_what_is_compiled_is_kept_where_the_trainer_keeps_things(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an optimiser, whose making sets torch's own temporary folder; but not over the user's."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    variable = "TORCHINDUCTOR_CACHE_DIR"
    monkeypatch.setenv(variable, "")
    monkeypatch.delenv(variable)
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], fused=True)
    compiled._keep_what_is_compiled()
    assert cache_dir() == str(default_cache().with_name("compiled"))
    monkeypatch.setenv(variable, "/users/own")
    compiled._keep_what_is_compiled()
    assert os.environ[variable] == "/users/own"


def test_what_was_refused_is_not_recorded_as_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume would try again, and might compute otherwise than the run did before."""
    for refused, wanted in ((True, "off"), (False, "on")):
        run = training(compile="on")
        found = None if refused else eager(run.networks, run.task)
        monkeypatch.setattr(compiled, "compile_arithmetic", lambda *arguments, found=found: found)
        _choose_arithmetic(run, lambda text: None)
        assert run.config.compile == wanted
        assert (run.arithmetic is found) is not refused


def test_what_is_captured_is_compiled_only_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cycle without its graph is five times as long on a GPU: compiling would seem to pay."""
    monkeypatch.setattr(compiled, "cycle_seconds", lambda *arguments: [1.0])
    monkeypatch.setattr(compiled, "compile_arithmetic", lambda networks, task, *rest: eager(networks, task))
    for device, graph, setting, wanted in (
        ("cuda", True, "auto", "off"),
        ("cuda", True, "on", "on"),
        ("cuda", False, "auto", "on"),
        ("cpu", True, "auto", "on"),
    ):
        run = training(compile=setting, graph=graph, steps=10_000, precision="float32")
        monkeypatch.setattr(run, "example", lambda: None)
        monkeypatch.setattr(run, "device", torch.device(device))
        _choose_arithmetic(run, lambda text: None)
        assert run.config.compile == wanted, (device, graph, setting)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("critic", "generator", "norm"),
    [("plain", "plain", "pixel"), ("plain", "plain", "batch"), ("seeing", "gated", "batch")],
)
def test_twenty_compiled_cycles_are_those_of_autograd(
    critic: CriticKind, generator: GeneratorKind, norm: str
) -> None:
    # At a low rate: Adam's first step is the gradient's sign, and where that is rounding alone the two take
    # opposite ones, from which they part at a high rate as any two runs do.
    plain, fast = (
        training(critic, lr=1e-5, generator=generator, generator_norm=norm, batch=4) for _ in range(2)
    )
    # faster or not on this machine: it is what was compiled that is tried here
    arithmetic = compiled.compile_gradients(fast.networks, fast.task, fast.example())
    assert difference(fast, arithmetic) < 1e-3
    fast.arithmetic = arithmetic
    for _ in range(20):
        losses = []
        for each in (plain, fast):
            each.cycle()
            losses.append(each.take_statistics())
        assert losses[0].critic == pytest.approx(losses[1].critic, rel=1e-4, abs=1e-4)
        assert losses[0].generator_loss == pytest.approx(losses[1].generator_loss, rel=1e-4, abs=1e-4)
