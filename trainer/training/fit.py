"""The training loop, to be read from top to bottom: resume or start, then cycle, look, show and save."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from torch import Tensor

from trainer.config import FitConfig
from trainer.data.dataset import Dataset, write_report
from trainer.device import choose_device, device_name, set_arithmetic, told_faults
from trainer.errors import UsageError
from trainer.memory import keep_freed_memory
from trainer.nets.vision import make_vision
from trainer.pictures import to_device
from trainer.training import state
from trainer.training.distributed import ALONE, Workers
from trainer.training.graph import captures, graph_cycles
from trainer.training.guard import Guard
from trainer.training.initial import begin_as, initial_vision, load_initial
from trainer.training.runfolder import held, refuse_differences, refuse_taken, write_run_config
from trainer.training.runlog import RunLog
from trainer.training.session import Follower, Session
from trainer.training.snapshots import LAST_CHECKPOINT
from trainer.training.training import Training, computes_in_bf16

# Windows has no SIGHUP
_STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
LESS_MEMORY = (
    "take a smaller --cache-gb (a run that has saved a state goes on with --resume), or begin with a smaller "
    "--batch or --width"
)
"""What helps where memory runs out."""
LEAST_STEPS_TO_COMPILE = 1_000
"""Of shorter runs it isn't even asked whether compiling pays."""


@dataclass(frozen=True)
class FitResult:
    """Where a fit stopped, and the checkpoint it left."""

    step: int
    finished: bool
    checkpoint: Path
    stopped_by: int | None = None
    """The signal that asked this process for an end."""


def fit(
    config: FitConfig,
    dataset: Dataset,
    run: Path,
    *,
    resume: bool,
    say: Callable[[str], None],
    workers: Workers = ALONE,
) -> FitResult:
    """Train until the last step, the end of the time or Ctrl-C; the run folder can be resumed exactly.

    Raises UsageError where a run is in the way or differs, TrainerError where nothing can be resumed or
    written.
    """
    if not resume and workers.lead:  # another process may come here when the first has begun to write
        refuse_taken(run)
    device = choose_device(config.device)
    keep_freed_memory()
    set_arithmetic(device, config.precision)
    with (
        told_faults(LESS_MEMORY),
        held(run) if workers.lead else nullcontext(),
    ):
        # Whoever stops it before the first step stops it at once: there is nothing yet to be saved.
        rounded = ", in bf16" if computes_in_bf16(config, device) else ""
        say(f"Training on {device_name(device)}{rounded}.")
        training = _begin(config, to_device(dataset.training, device), workers, resume, say)
        loop = state.LoopState(dataset.fingerprint, Guard(), 0)
        if resume:
            loop = _restore(training, dataset, run, say)
        clock = _clock(training)
        if not training.done:
            _keep_looks(training, say)
            _choose_arithmetic(training, say)
            graph_cycles(training, say)
        with stop_on_interrupt() as stopped, _companion(training, dataset, run, loop) as companion:
            if training.step == 0:
                companion.begin()
            while not training.done and not workers.asked(bool(stopped()), training.step):
                training.cycle()
                clock()
                companion.after_cycle()
            companion.snapshot()
    last = run / "checkpoints" / LAST_CHECKPOINT
    return FitResult(training.step, training.done, last, stopped())


def _begin(
    config: FitConfig, pictures: Tensor, workers: Workers, resume: bool, say: Callable[[str], None]
) -> Training:
    """A training of fresh networks, or of those that it begins as."""
    if resume:  # the state brings what the vision was calibrated to
        return Training(config, pictures, workers, vision=make_vision(config.critic, config.seed))
    initial = load_initial(config)
    if initial is None:
        return Training(config, pictures, workers)
    training = Training(config, pictures, workers, vision=initial_vision(config, initial))
    taken, fresh = begin_as(training.networks, initial)
    say(f"Began as {config.init}: {taken} tensors taken over, {fresh} new ones.")
    return training


def _keep_looks(training: Training, say: Callable[[str], None]) -> None:
    """Look at the photographs ahead where that pays, and say what it takes of the memory."""
    looks = training.keep_looks(show=training.workers.lead)
    if looks:
        size = training.photographs.kept_bytes / 1e9
        say(f"Keeps what the critic sees in the photographs, {looks} looks at each: {size:.2g} GB.")


def _clock(training: Training) -> Callable[[], None]:
    """What notes the time spent since now, where time is limited: the first process's, in every process."""
    before, started = training.seconds, time.monotonic()

    def note() -> None:
        if training.config.minutes and training.workers.at_times(training.step):
            training.seconds = training.workers.follow(before + time.monotonic() - started)

    return note


def _choose_arithmetic(training: Training, say: Callable[[str], None]) -> None:
    """Compile the gradients where that is wanted, and keep in the settings what was decided.

    By itself not where cycles are captured: as they are timed here, without their graph, most of their time
    is Python's, and that is gone then anyway. A resume then computes as the run did before: compiled
    gradients equal autograd's to rounding only.
    """
    config = training.config
    left = config.steps - training.step
    may_pay = left >= LEAST_STEPS_TO_COMPILE and not captures(training)
    wanted = config.compile == "on" or (config.compile == "auto" and may_pay)
    if wanted:
        from trainer.training import compiled  # imports torch's compiler: two seconds

        example = training.example()
        if config.compile == "auto":
            (seconds,) = compiled.cycle_seconds(
                training.networks, [training.arithmetic], config.n_critic, example
            )
            if training.config.minutes:
                left = min(left, int(training.time_left / seconds))
            wanted = training.workers.follow(compiled.worth_it(seconds, left))
        if wanted:
            say("Compiling the gradients; this takes up to a few minutes the first time.")
            fast = compiled.compile_arithmetic(
                training.networks, training.task, config.n_critic, example, say
            )
            # each process compiles for itself; where one had better not, none does
            wanted = not training.workers.any(fast is None)
            if wanted and fast is not None:
                training.arithmetic = fast
    training.config = replace(config, compile="on" if wanted else "off")


@contextmanager
def _companion(
    training: Training, dataset: Dataset, run: Path, loop: state.LoopState
) -> Iterator[Session | Follower]:
    """Who looks after the training between its cycles: the first process, or one that follows it."""
    if not training.workers.lead:
        yield Follower(training, run)
        return
    write_run_config(run, training.config)
    write_report(dataset, run / "data_report.json")
    with RunLog(run, training.config.steps, resume_at=training.step, length=loop.log_length) as log:
        yield Session(training, dataset, run, log, loop)


def _restore(training: Training, dataset: Dataset, run: Path, say: Callable[[str], None]) -> state.LoopState:
    path, document = state.newest_state(run / "state", say)
    refuse_differences(run, state.saved_config(document), training.config)
    training.seconds = float(document.get("seconds", 0.0))
    loop = state.loop_state_of(document)
    if loop.data_fingerprint != dataset.fingerprint:
        raise UsageError(f"{run} was trained on other photographs: give the folder it began with as --data.")
    for word in state.restore_state(path, training):
        say(word)
    if training.step > training.config.steps:
        raise UsageError(f"{run} has made {training.step} steps already: give --steps no less than that.")
    say(f"Resumed at step {training.step} from {path.name}.")
    return loop


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], int | None]]:
    """Ctrl-C, SIGTERM and a terminal that goes away ask the loop to end after the step in hand.

    Gives what tells the signal, once there was one. A second Ctrl-C does not wait. Under `nohup`, which has
    the process ignore that its terminal goes away, it goes on.
    """
    asked: int | None = None

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = number

    before = {
        number: signal.signal(number, ask)
        for number in _STOPPING
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
