"""Sees a training collapse in its evaluations, and says why. How to go back is the loop's business.

Six signs, each with the experience behind it (benchmarks/README.md has the trials): non-finite values; an
exploding loss or penalty; a critic that is overtaken by the generator again and again; a dead critic, whose
scores no longer tell photographs from fakes; fakes that resemble one another, or far less than photographs
do; and figures far worse than the best so far. A seventh, the critic's gap between training and held-out
photographs, tells memorising. Signs that can pass by themselves have to last for several evaluations, and
wait until a training has warmed up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import fmean, median
from typing import Any

WARM_UP = 3
"""Evaluations before which only non-finite and exploding values count: at first all fakes look alike."""
PATIENCE = 3
"""Evaluations in a row for which a sign has to show that might pass."""
CALM_KEPT = 4
"""Calm evaluations whose states are kept; the oldest of them has been followed by three."""

EXPLODED_PENALTY = 5.0
"""Mean (‖∇‖ - 1)², where it costs the critic more than telling apart gives, so that its loss is positive.
Alone it would not do: for fakes at a distance D a one-centred penalty of weight λ balances at
‖∇‖ = 1 + D / 2λ, and at 256 px D is large while fakes are young: 17 was seen in a healthy run, with a loss
of -228."""
GROWN = 2.0
"""Over the head's least penalty so far: a critic may be drawn steep and takes its time to come down."""
STEEPEST = 30.0
"""The gradient's norm where no penalty holds it: clipped weights keep it near 1 or far below."""
EXPLODED_LOSS = 10_000.0
WINDOW = 10
"""Evaluations over which the critic's separation is judged: with one critic step it swings about, and a
healthy run was seen to pass through four in a row near zero."""
DEAD_SEPARATION = 0.05
"""The median of E[f(real)] - E[f(fake)] in units of the scores' spread: below it the critic does not put
photographs above fakes. In a mean one wide swing would hide the rest."""
OVERTAKEN = -0.25
"""Below it the critic puts fakes well above photographs: healthy runs stayed above -0.1."""
OVERTAKEN_TIMES = 3
DEAD_SPREAD = 1e-7
DEAD_WASSERSTEIN = 0.01
"""The same in the training batches before the evaluation, a mean of many steps that swings less: in a healthy
run it seldom lies below 0.1. Batch norm can take it away there, where the generator learns, and not here."""
LEAST_DIVERSITY = 0.2
"""Mean distance between the features of fakes over that between photographs'."""
MOST_DIVERSITY = 1.5
"""Fakes of a training that goes well, and those before it has begun, have about 1 at most."""
LEAST_VARIETY = 0.1
"""The same as LEAST_DIVERSITY of their colours alone. A healthy WGAN, whose first pictures are all grey, had
0.18."""
WORST_DISTANCE = 1.5
"""Sliced Wasserstein distance over its best so far."""
WIDEST_GAP = 0.85
"""r_v: how far held-out photographs have moved from training ones towards fakes, in the critic's eyes."""

CLEAR_SEPARATION = 0.5
"""Below it the gap is a ratio of two small numbers, and says nothing."""


@dataclass(frozen=True)
class Head:
    """What one evaluation saw of one of the critic's heads: it has one a view."""

    name: str
    critic_loss: float
    penalty: float
    separation: float
    """E[f(real)] - E[f(fake)] in units of the scores' spread: the same bound fits every head."""
    gap: float
    """r_v, a share: so does this one."""


@dataclass(frozen=True)
class Observation:
    """What one evaluation saw. Figures are None where too few photographs are held out to have any."""

    heads: tuple[Head, ...]
    generator_loss: float
    """Mean of the last training steps."""
    wasserstein: float
    """E[f(real)] - E[f(fake)] in the batches of the last training steps, mean over the heads."""
    spread: float
    """Standard deviation of the scores, mean over the heads."""
    slope: float
    """Of a Wasserstein critic that no penalty holds; else 0."""
    distance: float | None = None
    diversity: float | None = None
    variety: float | None = None

    @property
    def separation(self) -> float:
        """Mean over the heads: it is together that they teach the generator."""
        return fmean(head.separation for head in self.heads)


@dataclass(frozen=True)
class Verdict:
    """One sign of collapse, in words for a person."""

    sign: str
    explanation: str


@dataclass
class Guard:
    """Collects observations; `look` returns a verdict where one of the signs shows."""

    evaluations: int = 0
    best_distance: float = math.inf
    counts: dict[str, int] = field(default_factory=dict)
    """For how many evaluations in a row each passing sign has shown."""
    separations: list[float] = field(default_factory=list)
    """Of the last evaluations after the warm-up."""
    penalties: dict[str, float] = field(default_factory=dict)
    """The least that each head's penalty has been."""
    calm_steps: list[int] = field(default_factory=list)
    """Of the last calm evaluations: the first one's state is gone back to."""

    def look(self, seen: Observation) -> Verdict | None:
        """Judge one evaluation. The signs are tried from the plainest to the subtlest."""
        self.evaluations += 1
        at_once = _not_finite(seen) or _exploded(seen, self.penalties)
        for head in seen.heads:
            self.penalties[head.name] = min(head.penalty, self.penalties.get(head.name, math.inf))
        if at_once is not None:
            return at_once
        if self.evaluations <= WARM_UP:
            self._note_distance(seen)
            return None
        dead = self._dead(seen)
        if dead is not None:
            return dead
        for verdict, name in (
            (_diversity(seen), "diversity"),
            (self._far(seen), "distance"),
            (_memorising(seen), "overfitting"),
        ):
            self.counts[name] = self.counts.get(name, 0) + 1 if verdict is not None else 0
            if verdict is not None and self.counts[name] >= PATIENCE:
                return verdict
        self._note_distance(seen)
        return None

    @property
    def calm(self) -> bool:
        """Whether no sign is showing: only then is a state worth going back to."""
        return not any(self.counts.values())

    def note_calm(self, step: int) -> None:
        """Remember that this step's state may be gone back to, once some calm ones have followed."""
        self.calm_steps = [*self.calm_steps, step][-CALM_KEPT:]

    @property
    def trusted_step(self) -> int | None:
        """Whose state to go back to: the newest that a few calm evaluations followed, or the oldest there is.

        Not the one with the best figure: of many evaluations that is the luckiest, on the average half the
        run ago. Nor the last calm one: what shows now had begun before.
        """
        return self.calm_steps[0] if self.calm_steps else None

    def start_over(self, step: int) -> None:
        """After going back to `step`: signs are counted anew, the best figure stays."""
        if step == 0:  # to a critic as it was drawn
            self.penalties.clear()
        self.counts.clear()
        self.separations.clear()
        self.calm_steps = [calm for calm in self.calm_steps if calm <= step]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Guard:
        return cls(**document)

    def _note_distance(self, seen: Observation) -> None:
        if seen.distance is not None:
            self.best_distance = min(self.best_distance, seen.distance)

    def _dead(self, seen: Observation) -> Verdict | None:
        alive = seen.spread > DEAD_SPREAD and seen.wasserstein > DEAD_WASSERSTEIN * seen.spread
        separation = seen.separation if alive else min(seen.separation, 0.0)
        self.separations = [*self.separations, separation][-WINDOW:]
        overtaken = sum(value <= OVERTAKEN for value in self.separations)
        if overtaken >= OVERTAKEN_TIMES and 2 * len(self.separations) >= WINDOW:
            return Verdict(
                "overtaken critic",
                f"in {overtaken} of the last {len(self.separations)} evaluations the critic put fakes well "
                "above photographs: the two chase one another instead of learning",
            )
        if len(self.separations) < WINDOW or median(self.separations) > DEAD_SEPARATION:
            return None
        return Verdict(
            "dead critic",
            f"in most of the last {WINDOW} evaluations the critic did not put photographs above fakes (mean "
            f"scores lie {median(self.separations):+.2g} of their spread apart): it has nothing to teach",
        )

    def _far(self, seen: Observation) -> Verdict | None:
        if seen.distance is None or seen.distance <= WORST_DISTANCE * self.best_distance:
            return None
        return Verdict(
            "distance",
            f"the sliced Wasserstein distance is {seen.distance:.3g}, "
            f"more than {WORST_DISTANCE} times its best of {self.best_distance:.3g}",
        )


def _not_finite(seen: Observation) -> Verdict | None:
    values = [(name, value) for name, value in vars(seen).items() if isinstance(value, float)]
    for head in seen.heads:
        values += [(name, value) for name, value in vars(head).items() if isinstance(value, float)]
    bad = dict.fromkeys(name for name, value in values if not math.isfinite(value))
    return Verdict("not finite", f"{', '.join(bad)} is not a number any more") if bad else None


def _exploded(seen: Observation, least: Mapping[str, float]) -> Verdict | None:
    """Of any head: the others' would hide it in a mean. A critic as it was drawn may be steep."""
    for head in seen.heads:
        where = f" (in the head {head.name})" if len(seen.heads) > 1 else ""
        bound = max(EXPLODED_PENALTY, GROWN * least.get(head.name, 0.0)) if least else math.inf
        if head.penalty > bound and head.critic_loss > 0:
            return Verdict(
                "exploding",
                f"the gradient penalty has grown to {head.penalty:.3g} and outweighs what is told apart"
                + where,
            )
        if abs(head.critic_loss) > EXPLODED_LOSS:
            return Verdict("exploding", f"the critic's loss has grown to {head.critic_loss:.3g}{where}")
    if seen.slope > STEEPEST:
        return Verdict("exploding", f"the critic's slope has grown to {seen.slope:.3g}, and nothing holds it")
    return None


def _diversity(seen: Observation) -> Verdict | None:
    if seen.diversity is not None and seen.diversity > MOST_DIVERSITY:
        return Verdict(
            "diversity",
            f"the fakes lie {seen.diversity:.2g} times as far apart as photographs: they are noise",
        )
    for value, least, what in (
        (seen.diversity, LEAST_DIVERSITY, "they are"),
        (seen.variety, LEAST_VARIETY, "their colours are"),
    ):
        if value is not None and value < least:
            return Verdict(
                "diversity",
                f"the fakes resemble one another: {what} {value:.0%} as far apart as photographs'",
            )
    return None


def _memorising(seen: Observation) -> Verdict | None:
    """Where more than half of the heads have: single ones may, while the others still teach."""
    known = [head for head in seen.heads if head.gap > WIDEST_GAP and head.separation >= CLEAR_SEPARATION]
    if 2 * len(known) <= len(seen.heads):
        return None
    return Verdict(
        "overfitting",
        "the critic has memorised its photographs: held-out ones have moved "
        f"{fmean(head.gap for head in known):.0%} of the way from the training ones to the fakes",
    )
