"""How typical a picture is, and that a checkpoint scores by it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.decomposition import PCA

from tests.checkpoints import make_checkpoint
from trainer import checkpoint
from trainer.layout import COMPONENTS, FEWEST, Layout
from trainer.metadata import CheckpointError
from trainer.nets.vision import PretrainedVision
from trainer.scale import Scale


def maps(count: int, size: int = 60, seed: int = 0) -> torch.Tensor:
    """Rows (count, size) that vary in some directions much more than in others."""
    rng = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=torch.Generator().manual_seed(99))
    widths = torch.linspace(2, -1, size).exp()
    return (torch.randn(count, size, generator=rng) * widths) @ mixing + 5


def layout_of(photographs: torch.Tensor) -> Layout:
    layout = Layout.measured(photographs)
    assert layout is not None
    return layout


def test_typicality_is_the_likelihood_of_probabilistic_principal_components() -> None:
    """Against scikit-learn's: of two pictures the likelihoods lie half the difference of squares apart."""
    photographs, pictures = maps(100).double(), maps(20, seed=1).double()
    deviation, mean = torch.std_mean(photographs, dim=0)
    reference = PCA(COMPONENTS, svd_solver="full").fit((photographs - mean) / deviation)
    likelihood = torch.from_numpy(reference.score_samples((pictures - mean) / deviation))
    squares = layout_of(photographs).typicality(pictures).square()
    spread = -2 * (likelihood - likelihood.mean())
    torch.testing.assert_close(squares - squares.mean(), spread, rtol=1e-6, atol=1e-6)


def test_units_of_the_maps_do_not_count() -> None:
    scale, shift = 10 ** torch.linspace(-2, 2, 60), torch.linspace(-5, 5, 60)
    photographs, pictures = maps(50).double(), maps(9, seed=1).double()
    plain = layout_of(photographs).typicality(pictures)
    moved = layout_of(photographs * scale + shift).typicality(pictures * scale + shift)
    torch.testing.assert_close(moved, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("count", "size", "kept"), [(FEWEST, 60, 2), (21, 60, 10), (90, 60, COMPONENTS), (90, 12, 11)]
)
def test_a_layout_keeps_half_as_many_directions_as_photographs_and_leaves_one(
    count: int, size: int, kept: int
) -> None:
    layout = layout_of(maps(count, size))
    assert layout.directions.shape == (size, kept)
    assert layout.typicality(maps(3, size, seed=1)).isfinite().all()


def test_what_lies_among_photographs_is_more_typical_than_what_lies_apart_in_any_direction() -> None:
    photographs = maps(200)
    layout = layout_of(photographs)
    among = layout.typicality(maps(50, seed=1)).min()
    beside = photographs.mean(0) + 100 * torch.linalg.svd(photographs - photographs.mean(0))[2][-3:]
    assert layout.typicality(beside).max() < among
    assert layout.typicality(3 * photographs[:5]).max() < among
    assert layout.typicality(photographs.mean(0)[None]).item() == pytest.approx(0, abs=1e-3)


def test_few_photographs_will_do_and_fewer_tell_nothing() -> None:
    pictures = torch.cat([maps(30, seed=1), maps(30, seed=2).roll(7, 1)])
    typical = layout_of(maps(20)).typicality(pictures)
    assert typical[:30].mean() > typical[30:].mean()
    assert Layout.measured(maps(FEWEST)) is not None
    assert Layout.measured(maps(FEWEST - 1)) is None


def test_photographs_that_are_all_alike_leave_numbers() -> None:
    assert layout_of(torch.ones(9, 12)).typicality(torch.ones(2, 12)).isfinite().all()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("layout") / "seeing.safetensors", critic="seeing")


def rewrite(path: Path, to: Path, layout: Layout | None) -> Path:
    """The same checkpoint with another layout, and a scale by which both parts of the score count."""
    loaded = checkpoint.load(path)
    document = replace(loaded.metadata, score_scale=Scale(0.0, 1.0, -50.0, 10.0))
    parts = (loaded.generator, loaded.critic, loaded.vision, loaded.photographs, document)
    checkpoint.save(to, *parts, layout=layout)
    return to


def test_a_checkpoint_scores_by_it(path: Path, tmp_path: Path) -> None:
    plain = checkpoint.load(path)
    assert isinstance(plain.vision, PretrainedVision)
    pictures = plain.sample(range(12))
    with torch.inference_mode():
        described = plain.vision.describe(pictures).layout
    layout = layout_of(described[:8])
    loaded = checkpoint.load(rewrite(path, tmp_path / "with.safetensors", layout))
    expected = (plain.score(pictures) + (layout.typicality(described) + 50) / 10) / 2
    torch.testing.assert_close(loaded.score(pictures), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": torch.zeros(5)},
        {"directions": torch.zeros(1792)},
        {"variances": torch.zeros(4)},
        {"rest": torch.zeros(1)},
        {"rest": torch.tensor(0.0)},
        {"deviation": torch.full((1792,), torch.nan)},
    ],
)
def test_a_damaged_one_is_a_sentence(path: Path, tmp_path: Path, changes: dict[str, torch.Tensor]) -> None:
    layout = replace(layout_of(torch.randn(8, 1792)), **changes)
    with pytest.raises(CheckpointError, match=r"x\.safetensors (is damaged|holds values)"):
        checkpoint.load(rewrite(path, tmp_path / "x.safetensors", layout))


def test_one_that_lacks_a_part_is_none() -> None:
    parts = layout_of(maps(8)).to_tensors()
    del parts["rest"]
    with pytest.raises(ValueError, match="lacks a part"):
        Layout.from_tensors(parts)
