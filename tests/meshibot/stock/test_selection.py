"""Which candidate is kept: thresholds, look-alikes, copies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.stock.selection import (
    COPY_DISTANCE,
    Refusal,
    Rules,
    choose,
    distance,
    nearest,
    refusal,
)
from meshibot.thresholds import LOOK_ALIKE

HASHES = st.integers(0, 2**64 - 1)
ONES = 2**64 - 1


def never(_: int) -> int:
    raise AssertionError("no hash was needed")


def bits(count: int) -> int:
    """A hash with so many bits set: so far from 0."""
    return (1 << count) - 1


def test_the_best_of_the_batch_is_kept() -> None:
    verdict = choose([0.1, 0.9, 0.5], lambda index: ONES, Rules(min_score=0.4))
    assert verdict.kept == (1,)
    assert verdict.refused[Refusal.SCORE] == 1


def test_a_score_at_the_threshold_passes() -> None:
    assert choose([0.4], lambda index: 0, Rules(min_score=0.4)).kept == (0,)


def test_nothing_passes_below_the_threshold_and_no_hash_is_made() -> None:
    verdict = choose([0.1, 0.2], never, Rules(min_score=0.4))
    assert verdict.kept == ()
    assert verdict.refused == {Refusal.SCORE: 2, Refusal.LOOK_ALIKE: 0, Refusal.COPY: 0}


def test_where_the_best_is_a_look_alike_the_next_best_is_kept() -> None:
    hashes = [0, bits(3), ONES]
    verdict = choose([0.7, 0.9, 0.6], lambda index: hashes[index], Rules(0.5, recent=[0]))
    assert verdict.kept == (2,)
    assert verdict.refused[Refusal.LOOK_ALIKE] == 2


def test_a_copy_of_a_photograph_is_refused_and_counted_as_one() -> None:
    verdict = choose([0.9], lambda index: bits(2), Rules(0.5, recent=[0], training=[0]))
    assert verdict.kept == ()
    assert verdict.refused[Refusal.COPY] == 1


@pytest.mark.parametrize(("far", "why"), [(LOOK_ALIKE - 1, Refusal.LOOK_ALIKE), (LOOK_ALIKE, None)])
def test_how_near_a_look_alike_is(far: int, why: Refusal | None) -> None:
    assert refusal(bits(far), Rules(0, recent=[ONES, 0])) is why


@pytest.mark.parametrize(("far", "why"), [(COPY_DISTANCE - 1, Refusal.COPY), (COPY_DISTANCE, None)])
def test_how_near_a_copy_is(far: int, why: Refusal | None) -> None:
    assert refusal(bits(far), Rules(0, training={0})) is why


@given(HASHES, HASHES, HASHES)
def test_distance_is_a_metric(a: int, b: int, c: int) -> None:
    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a) == bin(a ^ b).count("1")
    assert distance(a, c) <= distance(a, b) + distance(b, c)


def test_without_others_everything_is_far() -> None:
    assert nearest(0, []) > 64


def test_no_two_that_are_kept_look_alike() -> None:
    hashes = [0, bits(3), ONES]
    verdict = choose([0.9, 0.8, 0.7], lambda index: hashes[index], Rules(0.5), count=3)
    assert verdict.kept == (0, 2)
    assert verdict.refused[Refusal.LOOK_ALIKE] == 1


def test_what_the_trainer_takes_for_a_copy_makes_room_for_the_next_best() -> None:
    hashes = [0, ONES, bits(32)]
    verdict = choose(
        [0.9, 0.8, 0.7], lambda index: hashes[index], Rules(0.5), count=2, is_copy=lambda index: index == 0
    )
    assert verdict.kept == (1, 2)
    assert verdict.refused[Refusal.COPY] == 1


@given(
    st.lists(st.tuples(st.floats(-10, 10), HASHES), max_size=12),
    st.lists(HASHES, max_size=6),
    st.integers(1, 4),
)
def test_what_is_kept_keeps_every_rule(
    candidates: list[tuple[float, int]], recent: list[int], count: int
) -> None:
    verdict = choose(
        [score for score, _ in candidates], lambda index: candidates[index][1], Rules(0.0, recent), count
    )
    kept: list[int] = []
    for index in sorted(range(len(candidates)), key=lambda index: candidates[index][0], reverse=True):
        score, phash = candidates[index]
        before = [*recent, *(candidates[other][1] for other in kept)]
        if len(kept) < count and score >= 0 and nearest(phash, before) >= LOOK_ALIKE:
            kept.append(index)
    assert list(verdict.kept) == kept
