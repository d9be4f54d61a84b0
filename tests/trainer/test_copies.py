"""Copies of training photographs are found by what a pretrained network sees, and innocent pictures are not;
held against a generator that was made to learn its photographs by heart."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA

from meshibot.errors import NothingToDo
from meshibot.stock.sampler import SamplingRequest
from meshibot.stock.sampling import sample
from tests.shapes import critic_shape, generator_shape
from tests.trainer.photographs import bowl
from trainer import checkpoint
from trainer.copies import COMPONENTS, FALSE_ALARMS, FEWEST, CopyTest
from trainer.metadata import CheckpointError, Metadata
from trainer.nets.architecture import Architecture
from trainer.nets.critic import Critic
from trainer.nets.generator import Generator, make_generator
from trainer.nets.vision import PretrainedVision, describe_all, make_vision
from trainer.pictures import to_device, to_float

CPU = torch.device("cpu")
ARCH = Architecture(generator_shape("plain", 32, width=32), critic_shape("seeing", 32))


def bowls(*seeds: int) -> NDArray[np.uint8]:
    """uint8 (n, 32, 32, 3), of seeds from the first to before the last."""
    return np.stack([np.asarray(bowl(seed, (64, 64)).resize((32, 32))) for seed in range(*seeds)])


TRAINING, HELD_OUT, UNSEEN = bowls(70), bowls(100, 140), bowls(200, 250)


@pytest.fixture(scope="module")
def vision() -> PretrainedVision:
    made = make_vision("seeing", 0)
    assert isinstance(made, PretrainedVision)
    made.calibrate(to_float(to_device(HELD_OUT[:16], CPU)))
    return made


@pytest.fixture(scope="module")
def copies(vision: PretrainedVision) -> CopyTest:
    parts = (TRAINING, HELD_OUT, HELD_OUT[:, :, ::-1])
    return measured(*(describe_all(vision, part, CPU).content for part in parts))


def measured(*parts: torch.Tensor) -> CopyTest:
    test = CopyTest.measured(*parts)
    assert test is not None
    return test


def test_copies_are_found_mirrored_and_paler_too(vision: PretrainedVision, copies: CopyTest) -> None:
    paler = np.stack([np.asarray(Image.fromarray(x).point(lambda v: int(0.9 * v))) for x in TRAINING[:15]])
    for changed in (TRAINING[:15], TRAINING[:15, :, ::-1], paler):
        assert copies.finds(vision, changed).mean() > 0.9
    assert copies.ratios(vision, TRAINING[:5]).tolist() == pytest.approx([0] * 5, abs=1e-2)


def test_innocent_pictures_pass(vision: PretrainedVision, copies: CopyTest) -> None:
    """Of 40 held-out ones the limit is rough; copies lie far below it."""
    assert copies.finds(vision, UNSEEN).mean() <= FALSE_ALARMS + 0.15


def test_nearness_is_the_mean_distance_to_the_ten_nearest_photographs() -> None:
    rng = torch.Generator().manual_seed(0)
    parts = [torch.randn(count, 12, generator=rng) for count in (200, 20, 20)]
    test, pictures = measured(*parts), torch.randn(6, 12, generator=rng)
    apart = (test.components(pictures)[:, None] - test.training[None]).norm(dim=2)
    expected = -apart.sort(1).values[:, :10].mean(1)
    torch.testing.assert_close(test.nearness(pictures).float(), expected, rtol=1e-4, atol=1e-4)
    few = measured(parts[0][:3], *parts[1:])
    assert few.nearness(pictures).shape == (6,)
    assert few.nearness(parts[0][:3]).max() < 0, "the others count too"


def test_few_held_out_photographs_are_no_measure() -> None:
    training, held_out = torch.randn(2, 9, 12, generator=torch.Generator().manual_seed(0))
    few, enough = held_out[: FEWEST - 1], held_out[:FEWEST]
    assert CopyTest.measured(training, few, few) is None
    assert CopyTest.measured(training, enough, enough) is not None


def test_units_of_the_features_do_not_count() -> None:
    rng = torch.Generator().manual_seed(0)
    parts = [torch.randn(count, 12, generator=rng) for count in (30, 9, 9)]
    scale, shift = 10 ** torch.linspace(-3, 3, 12), torch.linspace(-5, 5, 12)
    one, other = (measured(*each) for each in (parts, [part * scale + shift for part in parts]))
    assert other.limit.item() == pytest.approx(one.limit.item(), rel=1e-2)


def test_components_are_the_directions_in_which_training_photographs_vary_most() -> None:
    """Against scikit-learn's, wherever the features lie."""
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(100, 90, generator=rng).cumsum(1) + torch.linspace(0, 50, 90)
    test = measured(features, features[:9] + 1, features[:9] - 1)
    units = (features - features.mean(0)) / features.std(0, correction=0)
    expected = torch.from_numpy(PCA(COMPONENTS, svd_solver="full").fit_transform(units))
    for found in (test.training, test.components(features)):
        assert found.shape == (100, COMPONENTS)
        torch.testing.assert_close(torch.pdist(found), torch.pdist(expected).float(), rtol=1e-3, atol=1e-2)


def test_the_limit_is_a_low_quantile_of_held_out_photographs_own_ratios() -> None:
    """Each by the nearer of itself and its mirror image, and held against the others."""
    rng = torch.Generator().manual_seed(0)
    training, held_out, mirrored = (torch.randn(count, 3, generator=rng).double() for count in (30, 9, 9))
    test = measured(training, held_out, mirrored)
    units = (training - training.mean(0)) / training.std(0, correction=0)
    views = [(part - training.mean(0)) / training.std(0, correction=0) for part in (held_out, mirrored)]
    ratios = []
    for row in range(9):
        others = torch.cat([views[0][:row], views[0][row + 1 :]])
        near, far = (min(float((v[row] - p).norm()) for v in views for p in ps) for ps in (units, others))
        ratios.append(near / far)
    assert test.limit.item() == pytest.approx(np.quantile(ratios, FALSE_ALARMS), rel=1e-2)


def write(
    path: Path, vision: PretrainedVision, generator: Generator, copies: CopyTest | None, *, half: bool = False
) -> Path:
    critic = Critic(ARCH.critic).eval()
    metadata = Metadata(
        architecture=asdict(ARCH), objective="wgan-gp", preset="modern", step=1, images_seen=1,
        data_fingerprint="0" * 64, training_pictures=70, held_out_pictures=40, score_quantiles=(0.0, 1.0),
    )  # fmt: skip
    checkpoint.save(path, generator, critic, vision, None, metadata, copies, half=half)
    return path


@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_carries_it(
    tmp_path: Path, vision: PretrainedVision, copies: CopyTest, half: bool
) -> None:
    path = write(tmp_path / "x.safetensors", vision, make_generator(ARCH.generator), copies, half=half)
    loaded = checkpoint.load(path)
    assert loaded.copies is not None
    assert loaded.copies.training.equal(copies.training), "kept in half precision from the beginning"
    before, after = (test.ratios(vision, UNSEEN[:5]) for test in (copies, loaded.copies))
    assert after.tolist() == pytest.approx(before.tolist(), rel=1e-2)
    assert loaded.find_copies(TRAINING[:5]).all()
    assert replace(loaded, rounded=True).find_copies(TRAINING[:5]).all()
    without = checkpoint.load(write(path, vision, make_generator(ARCH.generator), None))
    assert not without.find_copies(TRAINING[:5]).any()


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("limit", torch.zeros(2)),
        ("basis", torch.zeros(432)),
        ("training", torch.zeros(0, 64)),
        ("held_out", torch.zeros(3, 5)),
        ("mean", torch.full((432,), torch.nan)),
    ],
)
def test_a_damaged_one_is_a_sentence(
    tmp_path: Path, vision: PretrainedVision, copies: CopyTest, name: str, tensor: torch.Tensor
) -> None:
    damaged = CopyTest(**{**copies.to_tensors(), name: tensor})
    path = write(tmp_path / "x.safetensors", vision, make_generator(ARCH.generator), damaged)
    with pytest.raises(CheckpointError, match=r"x\.safetensors (is damaged|holds values)"):
        checkpoint.load(path)


@pytest.fixture(scope="module")
def by_heart() -> Generator:
    """A network that has learned one photograph by heart and makes nothing else."""
    torch.manual_seed(0)
    generator = make_generator(ARCH.generator)
    photograph = to_float(to_device(TRAINING[:1], CPU))
    optimiser = torch.optim.Adam(generator.parameters(), 1e-2, betas=(0.5, 0.9))
    for step in range(300):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * min(1.0, 2 - step / 150)
        optimiser.zero_grad()
        (generator(torch.randn(8, ARCH.latent_size)) - photograph).square().mean().backward()
        optimiser.step()
    return generator.eval()


def test_nothing_is_posted_of_a_model_that_learned_by_heart(
    tmp_path: Path, vision: PretrainedVision, copies: CopyTest, by_heart: Generator
) -> None:
    paths = [
        write(tmp_path / name, vision, by_heart, test)
        for name, test in (("guarded.safetensors", copies), ("unguarded.safetensors", None))
    ]
    guarded, unguarded = (
        SamplingRequest(path, tmp_path / "out", 2, min_quantile=0.0, seed=1, max_candidates=16)
        for path in paths
    )
    with pytest.raises(NothingToDo, match="16 like training photographs"):
        sample(guarded)
    assert sample(unguarded).pictures, "without the test it would be posted"
