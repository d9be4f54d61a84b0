"""The door to the sampling room: what is asked of the child process, what it answers, and the call.

Needs no torch: the child (`python -m meshibot.stock.sampling`) imports it, and gives its memory back by
ending.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from meshibot.children import child_environment
from meshibot.errors import MeshibotError, NothingToDo, UsageError

CANDIDATES = 4
"""Looked at for each picture that is kept. Of more, more are worth posting, but they are more alike."""
TIMEOUT = 1800.0
"""Seconds, at most, for one child: a slow single-board computer needs minutes, a hanging one must end."""
_LOOK = 0.25
"""Seconds between looks at whether to stop."""


@dataclass(frozen=True)
class SamplingRequest:
    """What the child is to do: `count` pictures, as PNG files, into `folder`.

    For each, `candidates` are looked at, and of all these the best are kept that score at least as high as
    the share `min_quantile` of held-out photographs (0 keeps every picture) and don't look like one another
    or like those in `avoid` (64-bit hashes). At most `max_candidates` are looked at. The same `seed` gives
    the same pictures.
    """

    checkpoint: Path
    folder: Path
    count: int
    min_quantile: float
    seed: int
    avoid: tuple[int, ...] = ()
    candidates: int = CANDIDATES
    max_candidates: int | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "SamplingRequest":
        """The inverse of `to_json`; raises ValueError, KeyError or TypeError."""
        values: dict[str, Any] = json.loads(text)
        paths = {name: Path(values[name]) for name in ("checkpoint", "folder")}
        return cls(**{**values, **paths, "avoid": tuple(values["avoid"])})

    @property
    def limit(self) -> int:
        """How many candidates are looked at before giving up."""
        if self.max_candidates is not None:
            return self.max_candidates
        return self.candidates * (96 + 16 * self.count)


@dataclass(frozen=True)
class SampledPicture:
    """One picture that was kept, at the checkpoint's own resolution."""

    seed: int
    score: float
    quantile: float
    phash: int
    file: Path
    sha256: str


@dataclass(frozen=True)
class SamplingResult:
    """The pictures, best effort up to the count, and how choosy it was."""

    pictures: tuple[SampledPicture, ...]
    checkpoint: str
    """SHA-256 of the checkpoint's file."""
    resolution: int
    candidates: int
    believed: int
    """Candidates that scored high enough."""
    best_quantile: float

    @property
    def acceptance(self) -> float:
        """The share of candidates that scored high enough."""
        return self.believed / self.candidates

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "SamplingResult":
        """The inverse of `to_json`; raises ValueError, KeyError or TypeError."""
        values: dict[str, Any] = json.loads(text)
        pictures = tuple(
            SampledPicture(**{**picture, "file": Path(picture["file"])}) for picture in values["pictures"]
        )
        return cls(**{**values, "pictures": pictures})


def sample_in_child(
    request: SamplingRequest, *, stopping: Callable[[], bool] = lambda: False, timeout: float = TIMEOUT
) -> SamplingResult:
    """Run the child and wait for it; it is killed as soon as `stopping` says so.

    Raises what the child says: NothingToDo where no candidate passed, UsageError for a checkpoint that can't
    be used, MeshibotError where it failed, was killed or stopped.
    """
    stdout = _in_child("meshibot.stock.sampling", request.to_json(), stopping, timeout)
    try:
        return SamplingResult.from_json(stdout)
    except (ValueError, KeyError, TypeError) as error:
        raise MeshibotError(f"The sampling process answered with something else: {error}.") from error


@dataclass(frozen=True)
class Walk:
    """A GIF that is to be drawn: from the picture of the first seed past those of the others, and back."""

    checkpoint: Path
    seeds: tuple[int, ...]
    target: Path
    side: int
    """Pixels at most: fewer where it would have more than `most_bytes`."""
    most_bytes: int
    frames: int = 48
    fps: float = 12.0

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Walk":
        """The inverse of `to_json`; raises ValueError, KeyError or TypeError."""
        values: dict[str, Any] = json.loads(text)
        paths = {name: Path(values[name]) for name in ("checkpoint", "target")}
        return cls(**{**values, **paths, "seeds": tuple(values["seeds"])})


def draw_in_child(
    checkpoint: Path,
    seed: int,
    side: int,
    target: Path,
    *,
    refuse_copies: bool = False,
    timeout: float = TIMEOUT,
) -> None:
    """Have a child draw the picture of one seed at `side` pixels into `target`, a PNG; raises as above.

    NothingToDo where it is to `refuse_copies` of training photographs, and this is one.
    """
    request = {
        "checkpoint": str(checkpoint),
        "seed": seed,
        "side": side,
        "target": str(target),
        "refuse_copies": refuse_copies,
    }
    _in_child("meshibot.stock.drawing", json.dumps(request), lambda: False, timeout)


def walk_in_child(walk: Walk, *, timeout: float = TIMEOUT) -> None:
    """Have a child draw a walk into its target; raises as above, NothingToDo where it can't be shown."""
    _in_child("meshibot.stock.walking", walk.to_json(), lambda: False, timeout)


def _in_child(module: str, request: str, stopping: Callable[[], bool], timeout: float) -> str:
    """What a module says to a request, run as a process of its own."""
    command, environment = [sys.executable, "-P", "-m", module], child_environment()
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8", errors="replace", env=environment
    ) as child:
        try:
            stdout, stderr = _answer(child, request, stopping, timeout)
        finally:
            child.kill()
    if child.returncode != 0:
        raise _failure(child.returncode, stderr)
    return stdout


def _answer(
    child: "subprocess.Popen[str]", request: str, stopping: Callable[[], bool], timeout: float
) -> tuple[str, str]:
    """What the child wrote to its two outputs; raises MeshibotError where it may not go on."""
    until = time.monotonic() + timeout
    given: str | None = request
    while True:
        try:
            return child.communicate(given, timeout=_LOOK)
        except subprocess.TimeoutExpired:
            given = None
        if stopping():
            raise MeshibotError("Sampling was stopped.")
        if time.monotonic() > until:
            raise MeshibotError(
                f"Sampling took longer than {timeout:g} seconds and was ended: try a smaller checkpoint."
            )


def _failure(status: int, stderr: str) -> MeshibotError:
    if status < 0:
        name = signal.Signals(-status).name
        return MeshibotError(
            f"The sampling process was ended by {name}: if memory ran out, close other programs or use a "
            "smaller checkpoint."
        )
    lines = [line for line in stderr.splitlines() if line.strip()]
    sentence = lines[-1] if lines else f"The sampling process ended with status {status} and said nothing."
    kinds: dict[int, type[MeshibotError]] = {2: UsageError, 3: NothingToDo}
    return kinds.get(status, MeshibotError)(sentence)
