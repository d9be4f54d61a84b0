"""The whole: floors for all, the same again for a seed, quick as a part, and failures that have to show."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainer.metrics.pictures import blurred, discs
from trainer.errors import TrainerError
from trainer.metrics.catalogue import about
from trainer.metrics.critic_gap import CriticScores
from trainer.metrics.features import FeatureNet
from trainer.metrics.inception import inception_figures, require_torch_fidelity
from trainer.metrics.kid import mmd2
from trainer.metrics.pretrained import PretrainedNet
from trainer.metrics.quick import SHARPEST, QuickFigures
from trainer.metrics.suite import PictureFigures, PictureSuite, evaluate_pictures

TRAINING, HELD_OUT, UNSEEN = discs(60, seed=1), discs(40, seed=2), discs(40, seed=3)


def scores() -> CriticScores:
    rng = np.random.default_rng(0)
    return CriticScores(*(rng.normal(m, 1, 40).astype(np.float32) for m in (3.0, 2.0, -1.0)))


@pytest.fixture(scope="module")
def suite() -> PictureSuite:
    return PictureSuite(TRAINING, HELD_OUT)


@pytest.fixture(scope="module")
def healthy(suite: PictureSuite) -> PictureFigures:
    return suite(UNSEEN, scores())


def test_every_figure_has_a_floor_and_a_meaning(healthy: PictureFigures) -> None:
    assert healthy.group_size == 20
    assert {"swd", "swd_32", "swd_16", "colour", "kid", "diversity", "variety", "ms_ssim",
            "nearest_neighbour", "r_v", "precision", "recall", "density", "coverage", "memorisation",
            "copies", "critic_gap", "kid_pretrained", "frechet_pretrained", "precision_pretrained",
            "recall_pretrained", "memorisation_pretrained",
            "copies_pretrained"} == set(healthy.metrics)  # fmt: skip
    for name, metric in healthy.metrics.items():
        assert math.isfinite(metric.value)
        assert metric.floor is not None
        assert about(name).meaning
    assert healthy.metrics["r_v"].value == pytest.approx(0.25, abs=0.15)


def test_unseen_reals_are_near_their_floor(healthy: PictureFigures) -> None:
    figures = healthy.metrics
    assert figures["swd"].value < 1.5 * (figures["swd"].floor or 0)
    assert figures["nearest_neighbour"].value == pytest.approx(0.5, abs=0.2)
    assert figures["diversity"].value == pytest.approx(1.0, abs=0.1)
    assert figures["copies"].value < 0.3


def test_the_same_again(healthy: PictureFigures) -> None:
    assert evaluate_pictures(UNSEEN, TRAINING, HELD_OUT, scores()) == healthy


def test_copies_are_found_mirrored_too(suite: PictureSuite) -> None:
    fakes = UNSEEN[:12].copy()
    fakes[5] = TRAINING[17]
    fakes[9] = TRAINING[31][:, ::-1]
    found = suite(fakes)
    assert {(pair.fake, pair.training) for pair in found.closest[:2]} == {(5, 17), (9, 31)}
    assert found.closest[1].ratio < 1e-3
    whole = suite(TRAINING[:12])
    assert whole.metrics["memorisation"].value < 1e-3
    assert whole.metrics["copies"].value == 1.0


def test_what_goes_wrong_shows_where_it_should() -> None:
    quick = QuickFigures(TRAINING, HELD_OUT, fakes=40, pretrained=PretrainedNet())
    assert quick.fakes == 4 * len(HELD_OUT)
    healthy = quick(UNSEEN)
    blur = quick(blurred(UNSEEN))
    cast = quick(np.clip(UNSEEN + np.array([25, 0, -25]), 0, 255).astype(np.uint8))
    collapsed = quick(np.repeat(UNSEEN[:1], 40, axis=0))
    assert blur["swd_32"].value > 1.5 * healthy["swd_32"].value
    assert cast["colour"].value > healthy["colour"].value + 10
    assert cast["swd"].value < 1.2 * healthy["swd"].value
    assert collapsed["diversity"].value < 0.01
    assert collapsed["kid"].value > 10 * abs(healthy["kid"].value)
    assert collapsed["kid_pretrained"].value > 10 * abs(healthy["kid_pretrained"].value)
    again = QuickFigures(TRAINING, HELD_OUT, fakes=40)(UNSEEN)
    assert again == {name: figure for name, figure in healthy.items() if name != SHARPEST}


def test_kid_is_told_with_how_rough_it_is() -> None:
    """Of all fakes against all held-out photographs; other fakes differ by about its deviation."""
    quick = QuickFigures(TRAINING, HELD_OUT, fakes=40)
    kid = quick(UNSEEN)["kid"]
    net = FeatureNet().standardise(TRAINING)
    assert kid.value == mmd2(net(UNSEEN), net(HELD_OUT))
    assert kid.deviation is not None
    assert 0 < kid.deviation < 1


def test_photographs_features_are_taken_once(suite: PictureSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    raw = FeatureNet._raw

    def watched(net: FeatureNet, pictures: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
        looked.append(len(pictures))
        return raw(net, pictures)

    monkeypatch.setattr(FeatureNet, "_raw", watched)
    first, second = suite(UNSEEN[:8]), suite(UNSEEN[8:16])
    assert looked == [8] * 4, "the fakes, and the same mirrored"
    assert first.metrics != second.metrics
    assert suite(UNSEEN[:8]) == first, "whatever else was judged in between"


def test_too_few_held_out() -> None:
    with pytest.raises(TrainerError, match="at least 4 held-out photographs, and here are 3"):
        QuickFigures(TRAINING, HELD_OUT[:3])


def test_inception_is_refused_in_a_sentence_where_it_is_missing() -> None:
    try:
        import torch_fidelity  # noqa: F401
    except (ImportError, RuntimeError):
        with pytest.raises(TrainerError, match=r"pip install 'meshibot\[fid\]'"):
            inception_figures(UNSEEN, HELD_OUT)
    else:
        require_torch_fidelity()
