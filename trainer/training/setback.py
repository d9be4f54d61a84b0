"""Going back to a calm state when a training collapses, and giving up when that has been done enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trainer.errors import TrainerError
from trainer.training import state
from trainer.training.guard import Verdict
from trainer.training.training import Training


def go_back(
    training: Training, folder: Path, step: int | None, setbacks: int, say: Callable[[str], None]
) -> None:
    """Restore the state of a calm evaluation with the learning rates of the n-th setback and new random
    numbers.

    Where that state is damaged or gone, the newest readable one. Raises TrainerError where there is none.
    """
    path = None if step is None else state.calm_state(folder, step)
    if path is None or state.read_document(path) is None:
        if path is not None:
            say(f"{path.name}, to which the guard goes back, is damaged or gone: taking the newest state.")
        path, _ = state.newest_state(folder, say)
    state.restore_state(path, training)
    training.set_back(setbacks)
    training.draw_anew()


def give_up(verdict: Verdict, step: int, times: int, checkpoints: Path) -> TrainerError:
    """What a person is told when a training has collapsed once too often."""
    kept = f"; its checkpoints are kept in {checkpoints}" if checkpoints.exists() else ""
    return TrainerError(
        f"Training collapsed at step {step}: {verdict.explanation}. It has gone back {times} "
        f"times and stops here{kept}. Try lower --critic-lr and --generator-lr, another --seed or "
        "more photographs."
    )
