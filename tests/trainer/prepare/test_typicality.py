"""Density by nearest neighbours, against scikit-learn's search for them."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from trainer.prepare.typicality import NEIGHBOURS, density


@pytest.mark.parametrize(("count", "size"), [(700, 5), (30, 60)])
def test_density_is_the_mean_distance_of_the_nearest(count: int, size: int) -> None:
    features = np.random.default_rng(0).normal(size=(count, size)) * np.arange(1, size + 1)
    standardised = (features - features.mean(0)) / features.std(0)
    found, _ = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(standardised).kneighbors(standardised)
    expected = -found[:, 1:].mean(1)
    np.testing.assert_allclose(density(torch.from_numpy(features)), expected, rtol=1e-6)


def test_a_few_that_lie_apart_together_are_not_typical_for_one_another() -> None:
    features = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    features[17:20] += 6
    assert set(density(features).argsort()[:3]) == {17, 18, 19}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_photographs_that_are_all_alike_are_alike_typical(count: int) -> None:
    assert np.ptp(density(torch.ones(count, 3))) == 0
