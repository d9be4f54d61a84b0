"""On a GPU: it computes what the CPU does, compiled and captured too; states move between the two.

Skipped where there is none. `benchmarks/gpu.sh check` runs these first.
"""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainer.config import FitConfig, make_config
from trainer.training import state
from trainer.training.compiled import TOLERANCE, compile_gradients, greatest_difference
from trainer.training.graph import captured, graph_cycles, without_a_trace
from trainer.training.guard import Guard
from trainer.training.setback import go_back
from trainer.training.step import eager, generator_gradients
from trainer.training.training import Training

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here"),
    pytest.mark.filterwarnings("default"),  # what a compiler warns of is nothing of ours
]
CRITICS = ["plain", "seeing"]
CYCLES = 5
ROUNDING = {"float32": 0.1, "bf16": 0.5}
"""How far apart two trainings of a few cycles may come by rounding, as a share of how far they went; of other
random numbers they would be as far apart as they went."""


@pytest.fixture(autouse=True)
def exact_float32() -> Iterator[None]:
    """TF32 rounds to ten bits: no comparison with a CPU bears that."""
    kept = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


def config(critic: str, **options: object) -> FitConfig:
    given = {"resolution": 32, "width": 16, "batch": 8, "precision": "float32", "steps": 100, **options}
    return make_config(Path("none"), "modern", "wgan-gp", critic=critic, **given)


def training(settings: FitConfig, device: str) -> Training:
    rng = torch.Generator().manual_seed(5)
    pictures = torch.randint(0, 256, (32, 32, 32, 3), dtype=torch.uint8, generator=rng)
    return Training(settings, pictures.to(device).permute(0, 3, 1, 2))


def same_on_the_gpu(cpu: Training) -> Training:
    """A training with the same weights and the same vision, on the GPU."""
    gpu = training(cpu.config, "cuda")
    for name, network in vars(gpu.networks).items():
        network.load_state_dict(getattr(cpu.networks, name).state_dict())
    return gpu


def gradients(run: Training, on: Training) -> list[Tensor]:
    """Of both networks, on the example that `on` draws, brought to the CPU."""
    example = on.example()
    device = run.device
    draw = dataclasses.replace(example.draw, **{k: v.to(device) for k, v in vars(example.draw).items()})
    fakes = run.arithmetic.fakes(draw)
    detached = tuple(view.detach() for view in fakes)
    # seen in the arithmetic of the fakes, as `Photographs` sees them
    reals = tuple(view.to(fake) for view, fake in zip(example.reals, detached, strict=True))
    of_critic, rows = run.arithmetic.critic(reals, detached, example.epsilon.to(device))
    of_generator, row = generator_gradients(run.arithmetic, fakes)
    return [tensor.float().cpu() for tensor in (*of_critic, rows, *of_generator, row)]


def apart(one: list[Tensor], other: list[Tensor]) -> float:
    """Norm of the difference as a share of the norm."""
    pairs = list(zip(one, other, strict=True))
    difference = torch.stack([(a - b).norm() for a, b in pairs]).norm()
    return float(difference / torch.stack([b.norm() for b in other]).norm())


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-3), ("bf16", 0.15)])
def test_gradients_are_the_cpus(critic: str, precision: str, bound: float) -> None:
    cpu = training(config(critic), "cpu")
    gpu = same_on_the_gpu(cpu)
    gpu.config = dataclasses.replace(gpu.config, precision=precision)  # type: ignore[arg-type]
    gpu.networks.generator.train()
    cpu.networks.generator.train()
    assert apart(gradients(gpu, cpu), gradients(cpu, cpu)) < bound


@pytest.mark.parametrize("critic", CRITICS)
def test_compiled_gradients_are_autograds(critic: str) -> None:
    run = training(config(critic), "cuda")
    example = run.example()
    fast = compile_gradients(run.networks, run.task, example)
    assert greatest_difference(run.networks, eager(run.networks, run.task), fast, example) < TOLERANCE


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("critic", CRITICS)
def test_a_captured_cycle_trains_as_an_eager_one(critic: str, precision: str) -> None:
    """By how far the weights have come: kernels add up in another order each time, and Adam's first steps are
    of one size however small a gradient is."""
    settings = config(critic, precision=precision)
    one, other = training(settings, "cuda"), training(settings, "cuda")
    other.run = captured(other)
    start = weights(one)
    for _ in range(CYCLES):
        one.cycle()
        other.cycle()
    assert torch.equal(one.rng.get_state(), other.rng.get_state())  # a state has the numbers to come
    assert apart(moved(other, start), moved(one, start)) < ROUNDING[precision]


def weights(run: Training) -> list[Tensor]:
    networks = run.networks
    return [p.detach().clone() for n in (networks.generator, networks.critic) for p in n.parameters()]


def moved(run: Training, start: list[Tensor]) -> list[Tensor]:
    return [after - before for after, before in zip(weights(run), start, strict=True)]


@pytest.mark.parametrize("critic", CRITICS)
def test_a_captured_run_resumes_as_it_would_have_gone_on(critic: str, tmp_path: Path) -> None:
    whole, resumed = training(config(critic), "cuda"), training(config(critic), "cuda")
    whole.run = captured(whole)
    whole.cycle()
    path = tmp_path / "state.safetensors"
    state.write_state(path, whole, state.LoopState("0" * 64, Guard(), 0))
    assert state.restore_state(path, resumed) == ()
    resumed.run = captured(resumed)
    start = weights(resumed)
    for _ in range(CYCLES):
        whole.cycle()
        resumed.cycle()
    assert whole.step == resumed.step
    assert torch.equal(whole.rng.get_state(), resumed.rng.get_state())
    assert apart(moved(resumed, start), moved(whole, start)) < ROUNDING["float32"]


def test_capturing_leaves_no_trace() -> None:
    run = training(config("seeing"), "cuda")
    run.cycle()
    before = state.TrainingCopy(run)
    captured(run)
    after = state.TrainingCopy(run)
    assert run.step == 1
    for name, tensor in before.tensors.items():
        assert torch.equal(tensor, after.tensors[name]), name


def test_nothing_waits_for_the_gpu_within_a_cycle() -> None:
    run = training(config("seeing"), "cuda")
    run.cycle()
    with no_waiting():
        run.cycle()


@contextmanager
def no_waiting() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_state_moves_between_gpu_and_cpu(tmp_path: Path) -> None:
    gpu = training(config("seeing"), "cuda")
    gpu.cycle()
    path = tmp_path / "state.safetensors"
    state.write_state(path, gpu, state.LoopState("0" * 64, Guard(), 0))
    cpu = training(config("seeing"), "cpu")
    (word,) = state.restore_state(path, cpu)
    assert "on cpu, random numbers are drawn anew" in word
    assert cpu.step == 1
    cpu.cycle()
    state.write_state(path, cpu, state.LoopState("0" * 64, Guard(), 0))
    (word,) = state.restore_state(path, gpu)
    assert "on cuda, random numbers are drawn anew" in word
    gpu.cycle()
    assert gpu.step == 3


@pytest.mark.parametrize("critic", CRITICS)
def test_a_graph_outlives_looks_in_another_type(critic: str) -> None:
    """An evaluation computes in float32, and a restored state changes what constants follow from. The rounded
    ones that the graph reads were given away then, and all was NaN from the first evaluation on."""
    settings = config(critic, precision="bf16")
    one, other = training(settings, "cuda"), training(settings, "cuda")
    other.run = captured(other)
    start = weights(one)
    with torch.no_grad():
        pictures = other.networks.generator(torch.randn(8, settings.latent_size, device="cuda"))
        other.networks.critic(other.networks.vision(pictures))
    state.TrainingCopy(other).restore(other)
    other.example()  # looks in bf16, by the constants as they are now
    sizes = [2**power for power in range(8, 22)]
    overwritten = [torch.full((size,), torch.nan, device="cuda") for size in sizes for _ in range(20)]
    for _ in range(CYCLES):
        one.cycle()
        other.cycle()
    del overwritten
    assert apart(moved(other, start), moved(one, start)) < ROUNDING["bf16"]


def test_a_graph_outlives_going_back() -> None:
    """A restored state lies in the tensors that the graph works on: the replay gives what it gave."""
    run = training(config("plain"), "cuda")
    run.run = captured(run)
    run.cycle()
    kept = state.TrainingCopy(run)
    run.cycle()
    once = state.TrainingCopy(run)
    run.cycle()
    kept.restore(run)
    run.cycle()
    again = state.TrainingCopy(run)
    for name, tensor in once.tensors.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(again.tensors[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("critic", CRITICS)
def test_a_graph_goes_on_after_the_guard_went_back(critic: str, tmp_path: Path) -> None:
    """From weights that are no numbers any more: no memory of the graph's own keeps any of them."""
    run = training(config(critic, precision="bf16"), "cuda")
    run.run = captured(run)
    run.cycle()
    loop = state.LoopState("0" * 64, Guard(), 0)
    state.write_state(state.calm_state(tmp_path, run.step), run, loop)
    with torch.no_grad():
        for network in (run.networks.generator, run.networks.critic):
            for parameter in network.parameters():
                parameter.fill_(torch.nan)
    run.cycle()
    assert not run.statistics().finite
    go_back(run, tmp_path, 1, 1, pytest.fail)
    assert run.step == 1
    start = weights(run)
    for _ in range(CYCLES):
        run.cycle()
    assert run.take_statistics().finite
    changes = moved(run, start)
    assert all(bool(change.isfinite().all()) for change in changes)
    assert any(bool(change.any()) for change in changes)


@pytest.mark.usefixtures("few_fakes")
def test_a_run_is_looked_at_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole one, captured, with evaluations, checkpoints and a resume: no tick of it is NaN."""
    from tests.drawings import bowls
    from trainer.data.dataset import Dataset
    from trainer.training.fit import fit

    pictures, run, said = bowls(80, 32), tmp_path / "run", list[str]()
    names = tuple(map(str, range(80)))
    data = Dataset(pictures[:64], pictures[64:], names[:64], names[64:], (), 0, "drawn", from_cache=False)
    # kernels by trial take longer than all the rest
    monkeypatch.setattr("trainer.training.fit.set_arithmetic", lambda device, precision: None)
    for steps in (40, 60):
        settings = config(
            "seeing", precision="bf16", steps=steps, device="cuda", compile="off",
            log_every=5, eval_every=20, snap=20, lr_decay=0.0,
        )  # fmt: skip
        assert fit(settings, data, run, resume=steps > 40, say=said.append).finished
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    ticks = [line for line in lines if line["kind"] == "tick"]
    assert [line["step"] for line in ticks] == list(range(5, 61, 5))
    assert all(math.isfinite(line["critic_loss"]) for line in ticks)
    assert not [line for line in lines if line["kind"] == "guard"]
    assert sum(line.startswith("Captured a cycle") for line in said) == 2, said


def test_without_a_trace_restores_in_place() -> None:
    run = training(config("plain"), "cuda")
    run.cycle()
    first = next(run.networks.generator.parameters())
    address, values = first.data_ptr(), first.detach().clone()
    with without_a_trace(run):
        run.cycle()
    assert first.data_ptr() == address
    assert torch.equal(first, values)


def test_a_training_goes_on_where_a_capture_fails() -> None:
    """In a process of its own: what torch keeps of the failure would be other tests' too."""
    program = f"from {__name__} import go_on_after_a_failed_capture as go_on; go_on()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def go_on_after_a_failed_capture() -> None:
    """It says so, stays on its stream, and goes where it would have gone without; run by the test above."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    one, other = (training(config("plain"), "cuda") for _ in range(2))
    run_staged, stream, said = other.run_staged, torch.cuda.current_stream(), list[str]()

    def run_and_wait() -> None:
        run_staged()
        torch.cuda.current_stream().synchronize()  # not permitted while a stream is captured

    other.run_staged = run_and_wait  # type: ignore[method-assign]
    graph_cycles(other, said.append)
    assert len(said) == 1, said
    assert said[0].startswith("Not captured as a CUDA graph (")
    assert torch.cuda.current_stream() == stream
    start = weights(one)
    for _ in range(CYCLES):
        one.cycle()
        other.cycle()
    assert apart(moved(other, start), moved(one, start)) < ROUNDING["float32"]
