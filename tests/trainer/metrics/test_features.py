"""The random net: the recorded hash, any resolution, chunk by chunk the same, and what it tells apart."""

import numpy as np
import pytest
import torch

from tests.trainer.metrics.pictures import blurred, discs
from trainer.metrics.features import FEATURES, LIMIT, WEIGHTS_SHA256, FeatureNet, weights, weights_sha256
from trainer.metrics.kid import mmd2


def test_weights_are_the_recorded_ones() -> None:
    assert weights_sha256() == WEIGHTS_SHA256


def test_weights_have_the_promised_spread() -> None:
    for kernel in weights():
        fan_in = kernel[0].size
        assert np.abs(kernel).max() < np.sqrt(3 / fan_in) * 1.3
        assert kernel.var() * fan_in == pytest.approx(1, abs=0.25)
    first = weights()[0]
    assert np.abs(first[:8].mean((1, 2, 3))).max() < 1e-7


@pytest.mark.parametrize("side", [32, 64, 128, 256])
def test_any_resolution(side: int) -> None:
    features = FeatureNet()(discs(2, side))
    assert features.shape == (2, FEATURES)
    assert features.dtype == torch.float32
    assert bool(torch.isfinite(features).all())


def test_a_picture_does_not_depend_on_its_company() -> None:
    pictures = discs(70)
    net = FeatureNet()
    torch.testing.assert_close(net(pictures)[68:], net(pictures[68:]))


def test_standardised_on_training() -> None:
    training = discs(60)
    net = FeatureNet()
    features = net.standardised(training)
    assert torch.equal(net(training), features)
    assert torch.equal(FeatureNet().standardise(training)(training), features)
    assert features.mean(0).abs().max() < 0.3  # not 0: what is beyond the limit is cut off
    assert features.std(0).max() < 1.1
    assert features.abs().max() <= LIMIT


def test_tells_blur_casts_and_double_exposures_from_chance() -> None:
    training, reals, others = discs(100, seed=1), discs(100, seed=2), discs(100, seed=3)
    net = FeatureNet().standardise(training)
    seen = net(reals)
    chance = max(abs(mmd2(net(discs(100, seed=seed)), seen)) for seed in range(4, 9))
    double = ((others.astype(int) + others[::-1]) // 2).astype(np.uint8)
    cast = np.clip(others + np.array([30, 0, -30]), 0, 255).astype(np.uint8)
    for changed in (blurred(others), double, cast):
        assert mmd2(net(changed), seen) > 2 * chance


def test_features_are_computed_by_cudnn_without_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `cudnn.flags` is not told it switches off, cuDNN itself included."""
    seen = []
    forward = FeatureNet._forward

    def watched(self: FeatureNet, images: torch.Tensor) -> torch.Tensor:
        backend = torch.backends.cudnn
        seen.append((backend.enabled, backend.benchmark, backend.deterministic, backend.allow_tf32))
        return forward(self, images)

    monkeypatch.setattr(FeatureNet, "_forward", watched)
    FeatureNet()(discs(2, 32))
    assert seen == [(True, False, True, False)]
