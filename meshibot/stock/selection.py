"""Which of the candidates are kept: those that score best and are no look-alikes.

Pure rules, on scores and 64-bit perceptual hashes. Two pictures whose hashes differ in few bits look alike;
of unrelated ones about half of the bits differ. Among 900 ramen photographs the nearest neighbour was at 10
bits or more for all but four, and those are near duplicates: what the distances below refuse lies under that.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from meshibot.thresholds import LOOK_ALIKE

COPY_DISTANCE = 8
"""Bits of 64. A picture nearer than this to a photograph of the training set is taken for a copy of it."""


class Refusal(Enum):
    """Why a candidate is not kept."""

    SCORE = "score"
    LOOK_ALIKE = "look-alike"
    COPY = "copy"


@dataclass(frozen=True)
class Verdict:
    """The indexes of those that are kept, the best first, and how many candidates were refused for what."""

    kept: tuple[int, ...]
    refused: dict[Refusal, int]


@dataclass(frozen=True)
class Rules:
    """What a picture has to be: scored at least `min_score`, unlike `recent`, and no copy of `training`."""

    min_score: float
    recent: Collection[int] = ()
    training: Collection[int] = ()
    look_alike_distance: int = LOOK_ALIKE
    copy_distance: int = COPY_DISTANCE


def distance(one: int, other: int) -> int:
    """How many bits differ (Hamming distance)."""
    return (one ^ other).bit_count()


def nearest(phash: int, others: Collection[int]) -> int:
    """The distance to the most similar one; 65, more than any, where there is none."""
    return min((distance(phash, other) for other in others), default=65)


def refusal(phash: int, rules: Rules) -> Refusal | None:
    """Why the looks of a picture rule it out, or None."""
    if nearest(phash, rules.training) < rules.copy_distance:
        return Refusal.COPY
    if nearest(phash, rules.recent) < rules.look_alike_distance:
        return Refusal.LOOK_ALIKE
    return None


def choose(
    scores: Sequence[float],
    hash_of: Callable[[int], int],
    rules: Rules,
    count: int = 1,
    is_copy: Callable[[int], bool] = lambda index: False,
) -> Verdict:
    """The `count` best-scored candidates that pass, and don't look like one another; best first, so that
    hashes and whether the trainer takes one for a copy are asked for only as far as needed."""
    kept: dict[int, int] = {}
    refused = dict.fromkeys(Refusal, 0)
    passing = [index for index, score in enumerate(scores) if score >= rules.min_score]
    refused[Refusal.SCORE] = len(scores) - len(passing)
    for index in sorted(passing, key=lambda index: scores[index], reverse=True):
        if len(kept) == count:
            break
        phash = hash_of(index)
        reason = refusal(phash, replace(rules, recent=[*rules.recent, *kept.values()]))
        if reason is None and is_copy(index):
            reason = Refusal.COPY
        if reason is None:
            kept[index] = phash
        else:
            refused[reason] += 1
    return Verdict(tuple(kept), refused)
