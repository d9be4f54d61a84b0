"""What the critic knows of the photographs it was trained on that it does not know of others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CriticScores:
    """The critic's scores of training reals (t,), held-out reals (h,) and fakes (n,)."""

    training: NDArray[np.float32]
    held_out: NDArray[np.float32]
    fakes: NDArray[np.float32]


def critic_gap(scores: CriticScores) -> float:
    """Mean score of training reals less that of held-out reals: 0 without overfitting, in the critic's units.

    It is the difference of the two estimates of the Wasserstein distance, as the fakes are the same.
    """
    return _mean(scores.training) - _mean(scores.held_out)


def overfitting_ratio(scores: CriticScores) -> float:
    """r_v = (E[D_train] - E[D_val]) / (E[D_train] - E[D_gen]): 0 without overfitting, 1 where held-out reals
    look like fakes. Karras et al., 'Training Generative Adversarial Networks with Limited Data' (NeurIPS
    2020), equation 1. Not a number where training reals and fakes score the same.
    """
    span = _mean(scores.training) - _mean(scores.fakes)
    return critic_gap(scores) / span if span else float("nan")


def _mean(scores: NDArray[np.float32]) -> float:
    return float(scores.mean(dtype=np.float64))
