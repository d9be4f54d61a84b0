"""Cycles as a CUDA graph, as far as no GPU is needed: what one would go on reading, and what happens where
none can be captured."""

import gc
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.drawings import bowls
from trainer.config import make_config
from trainer.data.dataset import Dataset
from trainer.nets.constants import held
from trainer.pictures import to_device
from trainer.training import graph
from trainer.training.graph import graph_cycles, without_a_trace
from trainer.training.guard import Guard
from trainer.training.runlog import RunLog
from trainer.training.session import Session
from trainer.training.setback import go_back
from trainer.training.state import LoopState, TrainingCopy
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
        try:
            raise RuntimeError("CUDA error: out of graphs\nand much more")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

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


class Recorded(TorchDispatchMode):
    """What a graph would hold of a cycle: memory that it has not itself made, and all that is no tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outside: dict[int, StorageWeakRef] = {}
        self.written: set[int] = set()
        self.calls: list[tuple[object, ...]] = []
        self._made: dict[int, object] = {}
        """Held, so that no address stands for two."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = tree_leaves((args, kwargs or {}))
        self.calls.append((func, *(each for each in inputs if isinstance(each, int | float | torch.dtype))))
        for tensor in inputs:
            if isinstance(tensor, Tensor) and address(tensor) not in self._made:
                self.outside.setdefault(address(tensor), StorageWeakRef(tensor.untyped_storage()))
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and address(tensor) not in self.outside:
                self._made[address(tensor)] = tensor.untyped_storage()
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.written |= set(map(address, tree_leaves(value))) & set(self.outside)
        return result


def address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def addresses(constants: object) -> Iterator[int]:
    """Of what `held` collects: tensors, and lists and objects of them."""
    if isinstance(constants, Tensor):
        yield address(constants)
    elif isinstance(constants, list | tuple):
        for each in constants:
            yield from addresses(each)
    elif is_dataclass(constants):
        yield from addresses(list(vars(constants).values()))


GRAPHS = pytest.mark.parametrize(("critic", "precision"), [("plain", "float32"), ("seeing", "bf16")])


def staged(critic: str, precision: str) -> tuple[Training, Dataset]:
    """As on a GPU, after what is made at the first step."""
    config = make_config(
        Path("bowls"), "modern", "wgan-gp", resolution=32, width=4, batch=3, latent_size=8, critic=critic,
        precision=precision, steps=100, eval_every=1, snap=0, cache_gb=0.01,
    )  # fmt: skip
    pictures = bowls(26, 32)
    names = tuple(map(str, range(26)))
    data = Dataset(pictures[:16], pictures[16:], names[:16], names[16:], (), 0, "drawn", from_cache=False)
    made = Training(config, to_device(data.training, torch.device("cpu")), staged=True)
    made.keep_looks(show=False)
    made.cycle()
    return made, data


@GRAPHS
@pytest.mark.usefixtures("few_fakes")
def test_what_a_graph_reads_and_writes_stays_where_it_is(critic: str, precision: str, tmp_path: Path) -> None:
    """Through an evaluation, a checkpoint, a sheet, a state and a going-back: it knows addresses alone."""
    training, data = staged(critic, precision)
    training.stage()
    with held() as constants, Recorded() as first:
        training.run_staged()
    with RunLog(tmp_path, 100) as log:
        session = Session(training, data, tmp_path, log, LoopState(data.fingerprint, Guard(), 0))
        session.begin()
        session.after_cycle()
        session.snapshot()
        go_back(training, tmp_path / "state", training.step, 1, pytest.fail)
    TrainingCopy(training).restore(training)
    training.cycle()  # works out anew what follows from constants
    gc.collect()
    assert not any(storage.expired() for storage in first.outside.values())
    training.stage()
    with held() as anew, Recorded() as later:
        training.run_staged()
    assert first.written == later.written
    known, now = (
        set(cycle.outside) - set(addresses(each)) for cycle, each in ((first, constants), (later, anew))
    )
    assert known == now
    constants.clear()
    gc.collect()
    # rounded ones were worked out anew meanwhile, and are there for nobody else
    assert any(storage.expired() for storage in first.outside.values()) is (precision == "bf16")


@GRAPHS
def test_nothing_that_changes_with_the_steps_is_fixed_in_a_graph(critic: str, precision: str) -> None:
    """Learning rates, the average's share and the order of photographs come in tensors, whatever the step."""
    training, _ = staged(critic, precision)
    cycles = []
    for step, setbacks, minutes in ((1, 0, 0.0), (70, 2, 0.0), (80, 2, 1.0)):
        training.step, training.seconds = step, 40.0
        training.config = replace(training.config, minutes=minutes)
        training.set_back(setbacks)
        training.stage()
        with Recorded() as cycle:
            training.run_staged()
        cycles.append(cycle.calls)
    assert cycles[0] == cycles[1] == cycles[2]
