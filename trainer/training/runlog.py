"""What a training says: metrics.jsonl, a status line a tick, a progress bar; TensorBoard if it is there."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainer.device import memory_mb
from trainer.errors import TrainerError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Writes the lines of one run. Use as a context manager; each line is flushed, so a kill loses none."""

    def __init__(
        self, folder: Path, steps: int, *, resume_at: int = 0, length: int = 0, console: Console | None = None
    ) -> None:
        """`resume_at`, `length`: the step that a resumed run starts from, and its metrics.jsonl in bytes."""
        self.folder = folder
        self.steps = steps
        self.console = console or Console(stderr=True, highlight=False)
        self.path = folder / "metrics.jsonl"
        if not length:
            self.path.write_bytes(b"")
        elif self.path.exists():
            # what was written after the resumed state was saved will be written again
            os.truncate(self.path, min(length, self.path.stat().st_size))
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _tensorboard(folder, resume_at)
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
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def say(self, text: str) -> None:
        """A line for people, above the progress bar where there is one."""
        self.console.print(text, markup=False, soft_wrap=True)

    def record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl, and the numbers in TensorBoard under `kind/`.

        A number that is not finite is null there, as JSON knows none.
        """
        known = {name: None if _not_finite(value) else value for name, value in values.items()}
        try:
            self._file.write(json.dumps({"kind": kind, "step": step, **known}) + "\n")
            self._file.flush()
        except OSError as error:
            raise TrainerError(f"{self.path} can't be written: {error.strerror}.") from None
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{kind}/{name}", value, step)

    @property
    def length(self) -> int:
        """Bytes of metrics.jsonl so far: where a resume from this moment goes on."""
        return self._file.tell()

    def advance(self, step: int) -> None:
        self._progress.update(self._task, completed=step)

    def tick(self, step: int, batch: int, values: Mapping[str, float]) -> None:
        """The status line: step, images, sec/tick, images/s, time left, memory; and the tick's record."""
        now = time.perf_counter()
        seconds = now - self._tick_started
        rate = (step - self._tick_step) * batch / seconds
        # the time left is told from a running mean: single ticks vary with whatever else the machine does
        self._rate = rate if self._rate == 0 else 0.7 * self._rate + 0.3 * rate
        left = (self.steps - step) * batch / self._rate
        self._progress.update(self._task, rate=f"{rate:.0f} images/s")
        self.say(
            f"step {step}/{self.steps}  images {step * batch}  sec/tick {seconds:.1f}  "
            f"images/s {rate:.1f}  left {duration(left)}  memory {memory_mb():.0f} MB  "
            f"critic {values['critic_loss']:+.3f}  wasserstein {values['wasserstein']:.3f}  "
            f"penalty {values['penalty']:.4f}"
        )
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
        if self._board is not None:
            self._board.add_image(name, picture, step, dataformats="HWC")


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def duration(seconds: float) -> str:
    """As people say it: 4s, 12m 30s, 3h 05m."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {whole % 60:02d}s" if minutes else f"{whole}s"


def _tensorboard(folder: Path, resume_at: int) -> SummaryWriter | None:
    """Nothing is lost without it: metrics.jsonl has every number, and `trainer report` draws them."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=resume_at + 1 if resume_at else None)
