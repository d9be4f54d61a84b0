"""Figures on features of the pretrained network: theirs against known values, and what they tell."""

import importlib.util
from importlib.machinery import ModuleSpec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.metrics.pictures import discs
from trainer.metrics.catalogue import PRETRAINED
from trainer.metrics.frechet import frechet
from trainer.metrics.pretrained import PRETRAINED_FEATURES, PretrainedNet, pretrained_net
from trainer.metrics.suite import evaluate_pictures
from trainer.nets.efficientnet import PACKAGE


def test_frechet_of_gaussians_with_a_known_distance() -> None:
    """Diagonal covariances: Σ (μ₁ - μ₂)² + (σ₁ - σ₂)²."""
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 20_000, 3, generator=rng, dtype=torch.float64)
    deviations, shift = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.0, 1.0, -2.0])
    expected = float(shift.square().sum() + (deviations - 1).square().sum())
    assert frechet(noise[0], noise[1] * deviations + shift) == pytest.approx(expected, rel=0.03)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 20), st.integers(0, 9))
def test_frechet_is_symmetric_and_nothing_from_itself(n: int, m: int, size: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    a, b = torch.randn(n, size, generator=rng), torch.randn(m, size, generator=rng)
    assert frechet(a, b) == pytest.approx(frechet(b, a), abs=1e-9)
    assert frechet(a, b) >= -1e-9
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_takes_two_samples_a_side() -> None:
    with pytest.raises(ValueError, match="two samples"):
        frechet(torch.zeros(1, 3), torch.zeros(5, 3))


def test_features_are_standardised_over_training() -> None:
    pictures = discs(40)
    features = PretrainedNet().standardise(pictures)(pictures)
    assert features.shape == (40, PRETRAINED_FEATURES)
    deviation, mean = torch.std_mean(features, 0, correction=0)
    assert torch.allclose(mean, torch.zeros_like(mean), atol=1e-3)
    assert torch.allclose(deviation[deviation > 0.5], torch.tensor(1.0), atol=1e-3)


def test_a_machine_without_the_weights_goes_on_without_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == PACKAGE else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    assert pretrained_net() is None
    figures = evaluate_pictures(discs(8, seed=2), discs(8), discs(8, seed=1)).metrics
    assert "kid" in figures
    assert not [name for name in figures if name.endswith(PRETRAINED)]
