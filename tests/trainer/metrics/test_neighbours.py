"""Distances, PRDC, one-nearest-neighbour accuracy and memorisation against scikit-learn and cases by hand."""

from dataclasses import astuple

import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import Tensor

from trainer.metrics.distances import distances
from trainer.metrics.memorisation import nearest_pairs, ratios, share_of_copies
from trainer.metrics.nearest import nearest_neighbour_accuracy
from trainer.metrics.prdc import Prdc, prdc


def sample(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return shift + torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def line(*places: float) -> Tensor:
    return torch.tensor(places)[:, None]


def test_distances() -> None:
    a, b = sample(7, 1), sample(9, 2)
    np.testing.assert_allclose(distances(a, b), pairwise_distances(a.double(), b.double()), rtol=1e-9)
    assert distances(a, a).diagonal().max() < 1e-6


class TestPrdc:
    def test_by_hand(self) -> None:
        # With one neighbour every real's ball reaches 1 far, the fakes' 0.5, 0.5 and 9.5.
        reals, fakes = line(0.0, 1.0, 2.0, 3.0), line(0.25, 0.75, 10.25)
        found = prdc(fakes, reals, neighbours=1)
        # 0.25 lies in the balls of 0 and 1, 0.75 likewise, 10.25 in none; 3 lies in the ball of 10.25.
        assert astuple(found) == pytest.approx((2 / 3, 4 / 4, 4 / 3, 2 / 4))

    def test_is_scikit_learns_neighbours(self) -> None:
        reals, fakes = sample(40, 1), sample(30, 2, 0.7)
        k = 3
        reach_of = {}
        for name, points in (("reals", reals), ("fakes", fakes)):
            found, _ = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)
            reach_of[name] = found[:, k]
        between = pairwise_distances(reals, fakes)
        inside = between < reach_of["reals"][:, None]
        recall = (between < reach_of["fakes"]).any(1).mean()
        expected = inside.any(0).mean(), recall, inside.sum() / (k * 30), inside.any(1).mean()
        assert astuple(prdc(fakes, reals, neighbours=k)) == pytest.approx(expected)

    def test_collapse_and_strangers(self) -> None:
        reals = sample(40, 1)
        collapsed = reals[:1] + 1e-4 * sample(40, 2)
        assert prdc(collapsed, reals).precision == 1.0
        assert prdc(collapsed, reals).recall < 0.1
        assert prdc(collapsed, reals).coverage < 0.5
        assert prdc(reals + 100, reals) == Prdc(0.0, 0.0, 0.0, 0.0)

    def test_fewer_than_the_neighbours(self) -> None:
        assert prdc(sample(3, 1), sample(3, 2)).precision <= 1.0


class TestNearest:
    def test_is_scikit_learns_leave_one_out(self) -> None:
        a, b = sample(25, 1), sample(25, 2, 0.8)
        labels = [0] * 25 + [1] * 25
        expected = cross_val_score(
            KNeighborsClassifier(1), torch.cat([a, b]), labels, cv=LeaveOneOut()
        ).mean()
        assert nearest_neighbour_accuracy(a, b) == pytest.approx(expected)

    def test_strangers_and_copies(self) -> None:
        a = sample(20, 1)
        assert nearest_neighbour_accuracy(a, a + 100) == 1.0
        assert nearest_neighbour_accuracy(a, a + 1e-4) == 0.0

    def test_refuses_unequal_sets(self) -> None:
        with pytest.raises(ValueError, match="equal size"):
            nearest_neighbour_accuracy(sample(4, 1), sample(5, 1))


class TestMemorisation:
    def test_by_hand(self) -> None:
        fakes, training, held_out = line(0.0, 10.0), line(1.0, 10.5, 50.0), line(-2.0, 14.0)
        first, second = nearest_pairs([fakes], training, held_out)
        assert (first.training, first.held_out, first.ratio) == (0, 0, 0.5)
        assert (second.training, second.held_out, second.ratio) == (1, 1, 0.125)
        torch.testing.assert_close(
            ratios([fakes], training, held_out), torch.tensor([0.5, 0.125], dtype=torch.float64)
        )

    def test_is_scikit_learns_neighbour(self) -> None:
        fakes, training, held_out = sample(300, 1), sample(80, 2), sample(30, 3)
        pairs = nearest_pairs([fakes], training, held_out)
        far, which = NearestNeighbors(n_neighbors=1).fit(training).kneighbors(fakes)
        assert [pair.fake for pair in pairs] == list(range(300))
        assert [pair.training for pair in pairs] == which[:, 0].tolist()
        np.testing.assert_allclose([pair.training_distance for pair in pairs], far[:, 0], rtol=1e-4)

    def test_any_view_counts(self) -> None:
        fakes, training, held_out = line(0.0, 10.0), line(1.0, 3.0), line(100.0)
        (first, second) = nearest_pairs([fakes, -fakes + 11], training, held_out)
        assert (first.training_distance, second.training_distance) == (1.0, 0.0)
        assert second.training == 0

    def test_copies_show_and_unseen_pictures_do_not(self) -> None:
        training, held_out, unseen = sample(200, 1), sample(40, 2), sample(40, 3)
        reals = ratios([held_out[:20]], training, held_out[20:])
        copies = ratios([training[:40] + 1e-3], training, held_out[20:])
        assert share_of_copies(copies, reals) == 1.0
        assert share_of_copies(ratios([unseen], training, held_out[20:]), reals) < 0.3
        assert share_of_copies(reals, reals) == pytest.approx(0.05)
