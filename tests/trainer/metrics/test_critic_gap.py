"""The critic's gap and r_v by hand."""

import math

import numpy as np
import pytest

from trainer.metrics.critic_gap import CriticScores, critic_gap, overfitting_ratio


def scores(training: list[float], held_out: list[float], fakes: list[float]) -> CriticScores:
    return CriticScores(*(np.array(each, np.float32) for each in (training, held_out, fakes)))


def test_by_hand() -> None:
    found = scores([4.0, 6.0], [3.0, 3.0, 3.0], [-3.0])
    assert critic_gap(found) == pytest.approx(2.0)
    assert overfitting_ratio(found) == pytest.approx(2.0 / 8.0)


def test_the_ends() -> None:
    assert overfitting_ratio(scores([5.0], [5.0], [1.0])) == 0.0
    assert overfitting_ratio(scores([5.0], [1.0], [1.0])) == 1.0
    assert math.isnan(overfitting_ratio(scores([5.0], [4.0], [5.0])))
