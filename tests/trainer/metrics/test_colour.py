"""The colour distance against closed forms and SciPy's matrix root."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from tests.trainer.metrics.pictures import discs
from trainer.metrics.colour import colour_distance


def test_a_cast_is_its_length() -> None:
    reals = discs(5) // 2
    cast = reals + np.array([3, 0, 4], dtype=np.uint8)
    assert colour_distance(reals, cast) == pytest.approx(5.0, abs=1e-4)
    assert colour_distance(reals, reals) == pytest.approx(0.0, abs=1e-4)


def test_halved_contrast_of_one_channel() -> None:
    wide = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    wide[0, 0, :, 0] = 80
    narrow = np.zeros_like(wide)
    narrow[0, :, :, 0] = 20
    narrow[0, 0, :, 0] = 60
    # Both have mean 40; the deviations are 40 and 20.
    assert colour_distance(wide, narrow) == pytest.approx(20.0, abs=1e-4)


def test_is_the_distance_of_normal_distributions() -> None:
    a, b = discs(6, seed=1), discs(9, seed=2)
    x, y = a.reshape(-1, 3).astype(float), b.reshape(-1, 3).astype(float)
    s, t = np.cov(x.T, bias=True), np.cov(y.T, bias=True)
    squared = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(s + t - 2 * np.real(sqrtm(s @ t)))
    assert colour_distance(a, b) == pytest.approx(np.sqrt(squared), rel=1e-6)
