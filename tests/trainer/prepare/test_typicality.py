"""Which photographs of a set are the least typical of it."""

import numpy as np
import pytest
import torch

from trainer.prepare.typicality import among_themselves
from trainer.typicality import Layout


def test_a_few_that_lie_apart_together_are_not_typical_for_one_another() -> None:
    features = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    features[17:20] += 6
    typical = among_themselves(features)
    assert set(typical.argsort()[:3]) == {17, 18, 19}
    layout = Layout.measured(features)
    assert layout is not None
    np.testing.assert_allclose(typical, layout.typicality(features).numpy())


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_photographs_that_are_all_alike_are_alike_typical(count: int) -> None:
    assert np.ptp(among_themselves(torch.ones(count, 30))) == 0
