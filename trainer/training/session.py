"""Between the cycles of a training: what is due after which step, and what follows from it.

Called by `trainer.training.fit`, whose loop knows nothing of what is due when.
"""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import fill

import numpy as np

from trainer.data.dataset import Dataset
from trainer.errors import TrainerError
from trainer.metrics.metric import Metric
from trainer.metrics.quick import SHARPEST
from trainer.training import state
from trainer.training.evaluation import FEWEST_HELD_OUT, Evaluation, Evaluator
from trainer.training.guard import Verdict
from trainer.training.runlog import COLUMNS, RunLog
from trainer.training.setback import give_up, go_back
from trainer.training.snapshots import BEST_CHECKPOINT, LAST_CHECKPOINT, Snapshots
from trainer.training.training import TickStatistics, Training


class Session:
    """Looks after a training: has it evaluated, shown, saved, and taken back where it collapses."""

    def __init__(
        self, training: Training, dataset: Dataset, run: Path, log: RunLog, resumed: state.LoopState
    ) -> None:
        self.training = training
        self.log = log
        self.states = run / "state"
        self.fingerprint = dataset.fingerprint
        self.guard = resumed.guard
        self.best_by, self.lowest = resumed.best_by, resumed.lowest
        self.calm_when_saved = tuple(resumed.guard.calm_steps)
        self.evaluator = Evaluator(training, dataset)
        self.snapshots = Snapshots(training, dataset, run)
        self.latest: Evaluation | None = None
        if training.config.eval_every and not self.evaluator.has_figures:
            log.say(
                f"Fewer than {FEWEST_HELD_OUT} photographs are held out: no figures, and no best; take "
                f"{LAST_CHECKPOINT}."
            )

    def begin(self) -> None:
        """Write what a new run has: its first sheet, and a state to resume from and to go back to."""
        self._show()
        self._keep_calm()
        self._save()

    def after_cycle(self) -> None:
        """Do what is due after this step."""
        config, step = self.training.config, self.training.step
        self.log.advance(step)
        statistics = None
        if step % config.log_every == 0:
            statistics = self.training.take_statistics()
            values = {**statistics.critic, "generator_loss": statistics.generator_loss}
            self.log.tick(step, config.batch, values | _by_head(statistics), self.training.time_left)
        if evaluation_due(self.training, statistics):
            self._evaluate(statistics or self.training.statistics())
            self.log.restart_clock(self.training.step)
        if self.training.step < step:
            return  # the guard went back
        if config.snap and step % config.snap == 0 and not self.training.done:
            self.snapshot()
            self.log.restart_clock(step)

    def snapshot(self) -> None:
        """Write the sheet, the checkpoint, and the state that a resume starts from.

        Raises TrainerError where their weights are no longer finite: nothing of the kind is kept.
        """
        self._refuse_broken()
        self._show()
        self.snapshots.write_numbered(metrics=self._current_figures())
        self._save()

    def _refuse_broken(self) -> None:
        networks = self.training.networks
        averages = (*networks.generator_average.parameters(), *networks.critic_average.parameters())
        if all(bool(tensor.isfinite().all()) for tensor in averages):
            return
        raise TrainerError(
            f"At step {self.training.step} the networks hold weights that are no longer finite, and are "
            "not saved: begin anew in another --out with lower --critic-lr and --generator-lr, and with "
            "--guard and --eval-every no larger than --snap, which see it in time."
        )

    def _evaluate(self, statistics: TickStatistics) -> None:
        """Evaluate, and follow what the guard says: go back, or keep what is worth keeping.

        `statistics` are those of the training batches since the last tick but this step's.
        """
        training = self.training
        self.latest = seen = self.evaluator()
        self._tell(seen)
        verdict = self.guard.look(seen.observation(statistics)) if training.config.guard else None
        setbacks = training.setbacks + (verdict is not None)
        # told before anything is raised: the others wait for it
        training.workers.follow((setbacks, self.guard.trusted_step))
        if verdict is not None:
            self._go_back(verdict, setbacks)
        elif self.guard.calm:
            self._keep_if_best(seen)
            self._keep_calm()

    def _tell(self, seen: Evaluation) -> None:
        train, held = seen.critic.training, seen.critic.held_out
        self.log.record("evaluation", seen.step, seen.critic_record())
        self.log.say(
            f"step {seen.step}: critic loss {train.critic_loss:+.3f} on training, "
            f"{held.critic_loss:+.3f} on held-out photographs"
        )
        if seen.figures:
            self.log.record("figures", seen.step, seen.figures_record())
            self.log.say(fill(f"step {seen.step}: {seen.figures_line()}", COLUMNS, subsequent_indent="  "))

    def _keep_if_best(self, seen: Evaluation) -> None:
        """Of two that lie nearer together than the figure is rough, the later one."""
        best_by = SHARPEST if SHARPEST in seen.figures else "kid"
        if best_by not in seen.figures:
            return
        if best_by != self.best_by:  # another unit
            self.best_by, self.lowest = best_by, math.inf
        figure = seen.figures[best_by]
        if figure.value <= self.lowest + (figure.deviation or 0.0):
            self.snapshots.write_checkpoint(BEST_CHECKPOINT, metrics=seen.figures)
        self.lowest = min(self.lowest, figure.value)

    def _keep_calm(self) -> None:
        """Keep this state to go back to."""
        if self.training.config.guard:
            self.guard.note_calm(self.training.step)
            state.save_calm(self.states, self.training, self._loop_state(), self.calm_when_saved)

    def _go_back(self, verdict: Verdict, setbacks: int) -> None:
        """Go on from a calm state with lower learning rates and new random numbers, or give up."""
        training, step = self.training, self.training.step
        told = {"sign": verdict.sign, "reason": verdict.explanation}
        if setbacks > training.config.setbacks:
            self.log.record("guard", step, {"decision": "stop", **told})
            raise give_up(verdict, step, setbacks - 1, self.snapshots.checkpoints)
        go_back(training, self.states, self.guard.trusted_step, setbacks, self.log.say)
        self.guard.start_over(training.step)
        factor = training.config.setback_lr**setbacks
        told |= {"to_step": training.step, "lr_factor": factor}  # type: ignore[dict-item]
        self.log.record("guard", step, {"decision": "go back", **told})
        self.log.say(
            f"step {step}: {verdict.explanation}; going back to step {training.step} with {factor:g} times "
            f"the learning rates and new random numbers ({setbacks} of {training.config.setbacks})"
        )
        state.save_setback(self.states, training, self._loop_state())
        self.calm_when_saved = tuple(self.guard.calm_steps)

    def _save(self) -> None:
        state.save_state(self.states, self.training, self._loop_state())
        self.calm_when_saved = tuple(self.guard.calm_steps)

    def _loop_state(self) -> state.LoopState:
        return state.LoopState(self.fingerprint, self.guard, self.log.length, self.lowest, self.best_by)

    def _show(self) -> None:
        self.log.picture("samples", self.training.step, np.asarray(self.snapshots.write_sheet()))

    def _current_figures(self) -> dict[str, Metric]:
        """Those of this step: an earlier one's would be a lie."""
        seen = self.latest
        return seen.figures if seen is not None and seen.step == self.training.step else {}


class Follower:
    """Between the cycles of another process than the first: takes part, and follows its decisions."""

    def __init__(self, training: Training, run: Path) -> None:
        self.training = training
        self.states = run / "state"

    def after_cycle(self) -> None:
        """Keep the statistics' intervals, and go back when the first process does."""
        training, config = self.training, self.training.config
        statistics = training.take_statistics() if training.step % config.log_every == 0 else None
        if evaluation_due(training, statistics):
            setbacks, step = training.workers.follow()
            if config.setbacks >= setbacks > training.setbacks:
                go_back(training, self.states, step, setbacks, lambda text: None)

    def begin(self) -> None:
        """The first process's work alone."""

    def snapshot(self) -> None:
        """The first process's work alone."""


def _by_head(statistics: TickStatistics) -> dict[str, float]:
    """Wasserstein distance and penalty of each head, where there are several."""
    return {
        f"{name}.{head}": values[name]
        for head, values in statistics.heads.items()
        for name in ("wasserstein", "penalty")
    }


def evaluation_due(training: Training, statistics: TickStatistics | None) -> bool:
    """Now and then; after the last step whatever it is, so that a run that has ended has a best checkpoint;
    and where a tick's `statistics` are no numbers any more: every step until the guard sees it is lost."""
    every = training.config.eval_every
    broken = training.config.guard and statistics is not None and not statistics.finite
    return bool(every) and (training.step % every == 0 or training.done or broken)
