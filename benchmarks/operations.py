"""Device operations of a training cycle, and which lines they come from; nothing is computed.

    python -m benchmarks.operations [--critic plain seeing] [--resolution 64] [--precision bf16] [--lines 25]

The cycle runs on fake tensors, that have shapes and no values. An operation is what reaches a device as a
kernel or more: views, metadata and allocations don't count, and a fused operation over a list counts once.
What a derivative does is put down to the line whose derivative it is. Prints tables in Markdown.
"""

import argparse
import collections
import traceback
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.step import GENERATORS
from trainer.config import FitConfig, make_config
from trainer.training.training import Training

PICTURES = 64
NO_KERNEL = frozenset(
    {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "_unsafe_view"}
)
"""What only reserves memory, or describes it in another way."""
PASSED_ON = frozenset({"apply", "widened"})
"""Helpers whose caller says more."""
ROOM = Path(__file__).parents[1] / "trainer"


class Operations(TorchDispatchMode):
    """Counts what reaches the device, by name and by line of the trainer."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: collections.Counter[str] = collections.Counter()
        self.lines: collections.Counter[tuple[str, str]] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        if func.namespace == "aten" and name not in NO_KERNEL and _writes(func, args, result):
            number = _kernels(name, args)
            self.names[name] += number
            self.lines[name, _line()] += number
        return result

    @property
    def total(self) -> int:
        return self.names.total()


def _kernels(name: str, args: Any) -> int:
    """One for each operation; over lists that do not lie alike in memory, one for each tensor."""
    lists = [
        each for each in args if isinstance(each, list | tuple) and each and isinstance(each[0], torch.Tensor)
    ]
    if not name.startswith("_foreach_") or len(lists) < 2:
        return 1
    layouts = [[(tensor.shape, tensor.stride()) for tensor in tensors] for tensors in lists]
    return 1 if all(layout == layouts[0] for layout in layouts) else len(lists[0])


def _writes(func: Any, args: Any, result: Any) -> bool:
    """Whether there is a new tensor, or a new value in one."""
    if func._schema.is_mutable:
        return True
    returns = func._schema.returns
    if not returns or "Tensor" not in str(returns[0].type) or returns[0].alias_info is not None:
        return False
    # a copy to what a tensor is already gives the tensor itself
    return not any(result is argument for argument in args)


def _line() -> str:
    """The innermost line of the trainer, or of what is being differentiated."""
    node: Any = torch._C._current_autograd_node()
    entries = node.metadata.get("traceback_", ()) if node is not None else ()
    for entry in reversed(entries):
        _, path, middle = entry.split('"', 2)
        line, function = middle.removeprefix(", line ").split(", in ", 1)
        if (place := _place(path, line, function.split()[0])) is not None:
            return f"∂ {place}"
    for frame in reversed(traceback.extract_stack()):
        if (place := _place(frame.filename, str(frame.lineno), frame.name)) is not None:
            return place
    return "elsewhere"


def _place(path: str, line: str, function: str) -> str | None:
    if not path.startswith(str(ROOM)) or function in PASSED_ON:
        return None
    return f"{Path(path).relative_to(ROOM)}:{line}"


def count(config: FitConfig) -> Operations:
    """The operations of one cycle, after one that made what is made once."""
    size = config.resolution
    pictures = torch.zeros(PICTURES, size, size, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    training = Training(config, pictures, staged=True)
    training.keep_looks(show=False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        training.cycle()
        operations = Operations()
        with torch.autograd.set_detect_anomaly(True, check_nan=False), operations:
            training.cycle()
    return operations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--critic", nargs="+", choices=GENERATORS, default=list(GENERATORS))
    parser.add_argument("--resolution", nargs="+", type=int, default=[64])
    parser.add_argument("--precision", nargs="+", default=["float32", "bf16"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lines", type=int, default=25)
    options = parser.parse_args()
    print(f"torch {torch.__version__}")
    for critic in options.critic:
        for resolution in options.resolution:
            for precision in options.precision:
                config = make_config(
                    Path("none"), "modern", "wgan-gp", critic=critic, generator=GENERATORS[critic],
                    resolution=resolution, batch=options.batch, precision=precision, device="cpu",
                )  # fmt: skip
                report(config, count(config), options.lines)


def report(config: FitConfig, operations: Operations, lines: int) -> None:
    names = operations.names
    convolutions = names["convolution"] + names["convolution_backward"]
    print(
        f"\n**{config.critic} critic, {config.resolution} px, {config.precision}: {operations.total} "
        f"operations a cycle, {convolutions} of them convolutions**\n"
    )
    print(", ".join(f"{name} {count}" for name, count in names.most_common()))
    by_line: dict[str, list[str]] = collections.defaultdict(list)
    totals: collections.Counter[str] = collections.Counter()
    for (name, line), number in operations.lines.most_common():
        by_line[line].append(f"{name} {number}")
        totals[line] += number
    print("\n| line | operations | which |\n|---|---|---|")
    for line, number in totals.most_common(lines):
        print(f"| {line} | {number} | {', '.join(by_line[line])} |")


if __name__ == "__main__":
    main()
