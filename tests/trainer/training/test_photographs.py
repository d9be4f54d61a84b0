"""Photographs as views: in their order, mirrored by chance, kept where memory allows, and the same then."""

import pytest
import torch

from tests.drawings import bowls
from trainer.errors import UsageError
from trainer.nets.efficientnet import load_pretrained
from trainer.nets.vision import PretrainedVision, Vision
from trainer.pictures import to_device, to_float
from trainer.training.distributed import Workers
from trainer.training.photographs import OFFSETS, Photographs

COUNT, BATCH = 6, 4
PICTURES = to_device(bowls(COUNT, 32), torch.device("cpu"))
CHOSEN = torch.tensor([5, 0, 3, 3])


@pytest.fixture(scope="module")
def seeing() -> PretrainedVision:
    vision = PretrainedVision(load_pretrained())
    vision.draw(0)
    vision.calibrate(to_float(PICTURES))
    return vision


def photographs(vision: Vision, *, mirrored: bool = True, workers: Workers | None = None) -> Photographs:
    return Photographs(PICTURES, vision, batch=BATCH, seed=0, mirrored=mirrored, workers=workers or Workers())


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unchanged(images: torch.Tensor) -> torch.Tensor:
    return images


def test_those_that_are_asked_for_in_their_order() -> None:
    (view,) = photographs(Vision(), mirrored=False).views(CHOSEN, rng(), unchanged)
    assert torch.equal(view, to_float(PICTURES[CHOSEN]))
    assert view.is_contiguous(memory_format=torch.channels_last)


def test_each_is_mirrored_half_of_the_time() -> None:
    """By its own chance: neither all, nor none, nor a batch at a time."""
    given, upright = photographs(Vision()), to_float(PICTURES[CHOSEN])
    turned = []
    stream = rng()
    for _ in range(50):
        (view,) = given.views(CHOSEN, stream, unchanged)
        flags = (view != upright).flatten(1).any(1)
        assert torch.equal(view[flags], upright.flip(3)[flags])
        turned.append(flags)
    flags = torch.stack(turned)
    assert 70 < flags.sum() < 130
    assert any(0 < row.sum() < BATCH for row in flags)
    assert not torch.equal(turned[0], turned[1])


def test_augmentation_is_applied_to_the_photographs() -> None:
    (view,) = photographs(Vision(), mirrored=False).views(CHOSEN, rng(), lambda images: images * 0.5)
    assert torch.equal(view, to_float(PICTURES[CHOSEN]) * 0.5)


def test_a_plain_critics_photographs_are_not_kept() -> None:
    assert photographs(Vision()).keep_looks(1.0, most=100) == 0


@pytest.mark.parametrize("mirrored", [True, False])
def test_kept_looks_are_what_is_seen(seeing: PretrainedVision, mirrored: bool) -> None:
    """To half precision, at one of the offsets, and mirrored as the picture beside it is."""
    kept = photographs(seeing, mirrored=mirrored)
    assert kept.keep_looks(1.0, most=100, show=False) == len(OFFSETS) * (2 if mirrored else 1)
    stream = rng(1)
    for _ in range(2):
        picture, *maps = kept.views(CHOSEN, stream, unchanged)
        candidates = []
        for offset in OFFSETS:
            with torch.no_grad():
                candidates.append(seeing(picture, torch.tensor(offset))[1:])
        for row in range(BATCH):
            differences = [
                max(
                    (ours[row] - theirs[row]).abs().max().item()
                    for ours, theirs in zip(maps, each, strict=True)
                )
                for each in candidates
            ]
            assert min(differences) < 0.01
            assert sorted(differences)[1] > 0.01


def test_as_many_are_kept_as_fit_and_are_used(seeing: PretrainedVision) -> None:
    one_side = 2 * COUNT * sum(view[0].numel() for view in seeing(to_float(PICTURES[:1]))[1:])
    for sides, most, wanted in ((1.9, 100, 0), (2.1, 100, 2), (5, 100, 4), (5, 3, 2), (5, 1, 0)):
        given = photographs(seeing)
        assert given.keep_looks(sides * one_side / 1e9, most=most, show=False) == wanted


def test_all_looks_are_of_one_shape(seeing: PretrainedVision) -> None:
    """For each other one a GPU would try all its kernels; the last photographs are kept all the same."""
    pictures = to_device(bowls(19, 32), torch.device("cpu"))
    given = Photographs(pictures, seeing, batch=BATCH, seed=0, mirrored=False)
    shapes = set[tuple[int, ...]]()
    with seeing.register_forward_pre_hook(lambda module, inputs: shapes.add(tuple(inputs[0].shape))):
        assert given.keep_looks(1.0, most=1, show=False) == 1
    assert shapes == {(16, 3, 32, 32)}
    chosen = torch.tensor([0, 3, 15, 18])
    picture, *maps = given.views(chosen, rng(), unchanged)
    with torch.no_grad():
        wanted = seeing(picture, torch.tensor(OFFSETS[0]))[1:]
    for ours, theirs in zip(maps, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.01, atol=0.01)


def test_a_worker_gets_its_share_of_the_same_batch(seeing: PretrainedVision) -> None:
    whole = photographs(seeing).views(CHOSEN, rng(), unchanged)
    for rank in range(2):
        part = photographs(seeing, workers=Workers(rank, 2)).views(CHOSEN, rng(), unchanged)
        rows = slice(2 * rank, 2 * rank + 2)
        for ours, theirs in zip(part, whole, strict=True):
            torch.testing.assert_close(ours, theirs[rows], rtol=1e-3, atol=1e-3)


def test_a_batch_that_can_not_be_shared_is_refused() -> None:
    with pytest.raises(UsageError, match="--batch 4 can't be shared by 3"):
        photographs(Vision(), workers=Workers(0, 3))
