"""metrics.jsonl read back: curves over steps, what was abandoned when the guard went back, and why it did.

For the report and the bot's page. Imports no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.errors import TrainerError

Points = list[tuple[int, float]]


@dataclass
class Curve:
    """One number over steps. Steps ascend; numbers that are not finite are left out."""

    points: Points = field(default_factory=list)
    abandoned: list[Points] = field(default_factory=list)
    """What came before a step back, each from the last point that was kept."""

    def add(self, step: int, value: float) -> None:
        if self.points and step <= self.points[-1][0]:
            self.cut(step - 1)
        self.points.append((step, value))

    def cut(self, step: int) -> None:
        """Abandon what lies after `step`."""
        kept = [point for point in self.points if point[0] <= step]
        gone = self.points[len(kept) :]
        if gone:
            self.abandoned.append(kept[-1:] + gone)
            self.points = kept

    @property
    def last(self) -> float | None:
        return self.points[-1][1] if self.points else None


@dataclass(frozen=True)
class GuardDecision:
    """What the guard did at a step, and why."""

    step: int
    decision: str
    reason: str
    to_step: int | None


@dataclass
class History:
    """All that a run has recorded so far. Curves are found by `kind/name`, such as `tick/penalty`."""

    curves: dict[str, Curve] = field(default_factory=dict)
    decisions: list[GuardDecision] = field(default_factory=list)
    seconds: float = 0.0
    """Spent training, evaluations and saving left out."""
    step: int = 0

    def curve(self, name: str) -> Curve:
        """Of a name that was never recorded: one without points."""
        return self.curves.get(name, Curve())

    def names(self, kind: str) -> list[str]:
        """In the order in which they were recorded first."""
        return [name.removeprefix(f"{kind}/") for name in self.curves if name.startswith(f"{kind}/")]

    def add(self, record: dict[str, Any]) -> None:
        """Take in one line. Raises KeyError, TypeError or ValueError where it is no record."""
        kind, step = str(record["kind"]), int(record["step"])
        self.step = step
        if kind == "guard":
            self._decide(step, record)
            return
        for name, value in record.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                self.curves.setdefault(f"{kind}/{name}", Curve()).add(step, float(value))
        if kind == "tick":
            self.seconds += float(record.get("seconds", 0.0))

    def _decide(self, step: int, record: dict[str, Any]) -> None:
        to_step = record.get("to_step")
        if to_step is not None:
            self.step = to_step = int(to_step)
            for curve in self.curves.values():
                curve.cut(to_step)
        reason = str(record.get("reason", ""))
        self.decisions.append(GuardDecision(step, str(record.get("decision", "")), reason, to_step))


def read_history(path: Path) -> History:
    """Read metrics.jsonl, also while it is being written: a line that is cut short is passed over.

    A file that is not there yet is an empty history. Raises TrainerError where it can't be read.
    """
    history = History()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return history
    except OSError as error:
        raise TrainerError(f"{path} can't be read: {error.strerror}.") from None
    for record in _records(text.splitlines()):
        try:
            history.add(record)
        except (KeyError, TypeError, ValueError):
            continue
    return history


def _records(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
