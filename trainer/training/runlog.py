"""What a training says: metrics.jsonl, a status line a tick, a progress bar; TensorBoard if it is there."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainer.durations import duration
from trainer.errors import TrainerError
from trainer.memory import memory_mb

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


COLUMNS = 80
"""Of a terminal, as many have it."""


class RunLog:
    """The lines of one run. Use as a context manager. Each line is written at once: a kill loses none."""

    def __init__(
        self, folder: Path, steps: int, *, resume_at: int = 0, length: int = 0, console: Console | None = None
    ) -> None:
        """`resume_at`, `length`: the step that a resumed run starts from, and its metrics.jsonl in bytes."""
        self.folder = folder
        self.steps = steps
        self.console = console or Console(stderr=True, highlight=False)
        self.path = folder / "metrics.jsonl"
        # what was written after the resumed state was saved will be written again
        kept = min(length, self.path.stat().st_size) if self.path.exists() else 0
        # unbuffered: what a full disk refuses must not be tried again when the file is closed
        try:
            self._file = self.path.open("ab", buffering=0)
            self._file.truncate(kept)
            self._file.seek(kept)
        except OSError as error:
            raise TrainerError(f"{self.path} can't be written: {error.strerror}.") from None
        self._board = _open_tensorboard(folder, resume_at)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task("fit", total=steps, completed=resume_at, rate="")
        self._tick_started = time.perf_counter()
        self._tick_step = resume_at
        self._rate = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        self._excepthook, threading.excepthook = threading.excepthook, self._of_a_thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._file.close()
        with self._tensorboard() as board:
            if board is not None:
                board.close()
        threading.excepthook = self._excepthook

    def say(self, text: str) -> None:
        """A line for people, above the progress bar where there is one."""
        self.console.print(text, markup=False, soft_wrap=True)

    def record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl, and the numbers in TensorBoard under `kind/`.

        A number that is not finite is null there, as JSON knows none.
        """
        known = {name: None if _not_finite(value) else value for name, value in values.items()}
        line = json.dumps({"kind": kind, "step": step, **known}).encode() + b"\n"
        try:
            while line:  # a disk that is nearly full takes a part
                line = line[self._file.write(line) :]
        except OSError as error:
            raise TrainerError(
                f"{self.path} can't be written: {error.strerror}. With that mended, go on with: "
                f"trainer fit --resume --out {self.folder}"
            ) from None
        with self._tensorboard() as board:
            for name, value in values.items():
                if board is not None and isinstance(value, int | float):
                    board.add_scalar(f"{kind}/{name}", value, step)

    @property
    def length(self) -> int:
        """Bytes of metrics.jsonl so far: where a resume from this moment goes on."""
        return self._file.tell()

    def advance(self, step: int) -> None:
        self._progress.update(self._task, completed=step)

    def tick(self, step: int, batch: int, values: Mapping[str, float], time_left: float) -> None:
        """The status line: step, images/s, time left, losses, memory; and the tick's record.

        `time_left`: seconds after which it will end though there are steps left.
        """
        now = time.perf_counter()
        seconds = now - self._tick_started
        rate = (step - self._tick_step) * batch / seconds
        # the time left is told from a running mean: single ticks vary with whatever else the machine does
        self._rate = rate if self._rate == 0 else 0.7 * self._rate + 0.3 * rate
        left = min((self.steps - step) * batch / self._rate, time_left)
        self._progress.update(self._task, rate=f"{rate:.0f} images/s")
        self.say(status_line(step, self.steps, rate, left, memory_mb(), values))
        self.record(
            "tick", step, {"images": step * batch, "seconds": seconds, "images_per_s": rate, **values}
        )
        self.restart_clock(step)

    def restart_clock(self, step: int) -> None:
        """Leave out of the next tick's rate what is not training: evaluations and saving."""
        self._tick_started = time.perf_counter()
        self._tick_step = step

    def picture(self, name: str, step: int, picture: Any) -> None:
        """A picture (h, w, 3) in TensorBoard."""
        with self._tensorboard() as board:
            if board is not None:
                board.add_image(name, picture, step, dataformats="HWC")

    def _of_a_thread(self, args: threading.ExceptHookArgs) -> None:
        """What TensorBoard's thread meets is told by `_tensorboard`, without a traceback."""
        if not type(args.thread).__module__.startswith("tensorboard"):
            self._excepthook(args)

    @contextmanager
    def _tensorboard(self) -> Iterator[SummaryWriter | None]:
        """The writer, given up with a word at its first error: a training does not end for a second copy."""
        try:
            yield self._board
        except Exception as error:  # noqa: BLE001  (its thread raises whatever it met)
            self._board = None
            self.say(f"TensorBoard's events can't be written any more: {error}")


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def status_line(
    step: int, steps: int, rate: float, left: float, memory: float, values: Mapping[str, float]
) -> str:
    """Where a training is: images a second, time left, critic loss and its two parts; memory if it fits."""
    loss, distance, penalty = (_three(values[name]) for name in ("critic_loss", "wasserstein", "penalty"))
    line = (
        f"step {step}/{steps}  {_three(rate)} images/s  left {duration(left)}  "
        f"loss {loss}  W {distance}  gp {penalty}"
    )
    told = f"{line}  {memory:.0f} MB"
    return told if len(told) <= COLUMNS else line


def _three(value: float) -> str:
    """Two or three digits that mean something, in six places at most (seven with a minus)."""
    if value == 0 or 0.001 <= abs(value) < 99_999:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{value:.0e}"


def _open_tensorboard(folder: Path, resume_at: int) -> SummaryWriter | None:
    """Nothing is lost without it: metrics.jsonl has every number, and `trainer report` draws them."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    try:
        return SummaryWriter(str(folder / "tensorboard"), purge_step=resume_at + 1 if resume_at else None)
    except UnicodeEncodeError:  # it takes no folder whose name is not Unicode
        return None
