"""Augmentation: shapes, what each kind does, gradients, and that every picture has its own numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.training.augment import NUMBERS, Augmentation, draw_numbers

KINDS = [Augmentation(colour=1.0), Augmentation(translation=0.25)]
FULL = Augmentation(1.0, 0.25)


def numbers(count: int, seed: int = 0) -> torch.Tensor:
    return draw_numbers(count, torch.Generator().manual_seed(seed), torch.device("cpu"))


def test_off_is_the_identity() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(Augmentation()(images, numbers(2)), images)


@pytest.mark.parametrize("augmentation", [*KINDS, FULL])
def test_changes_pictures_and_keeps_their_shape(augmentation: Augmentation) -> None:
    images = torch.rand(4, 3, 16, 16)
    result = augmentation(images, numbers(4))
    assert result.shape == images.shape
    assert not torch.equal(result, images)


@pytest.mark.parametrize("augmentation", [*KINDS, FULL])
def test_each_picture_by_its_own_numbers(augmentation: Augmentation) -> None:
    """Half a batch with half the numbers gives half the result: what several processes rely on."""
    images, drawn = torch.rand(6, 3, 16, 16), numbers(6)
    whole = augmentation(images, drawn)
    halves = torch.cat([augmentation(images[:3], drawn[:3]), augmentation(images[3:], drawn[3:])])
    torch.testing.assert_close(whole, halves)


def test_gradient_reaches_the_picture() -> None:
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    drawn = numbers(2).double()
    assert torch.autograd.gradcheck(lambda x: FULL(x, drawn), (images,))


@given(st.integers(0, 4), st.integers(0, 4))
def test_translation_moves_whole_pixels(down: int, right: int) -> None:
    """Numbers choose the offset into the mirrored surroundings; the middle one leaves it where it was."""
    images = torch.rand(1, 3, 8, 8)
    drawn = torch.zeros(1, NUMBERS)
    drawn[0, 3], drawn[0, 4] = (down + 0.5) / 5, (right + 0.5) / 5
    result = Augmentation(translation=0.25)(images, drawn)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
    assert torch.equal(result, padded[:, :, down : down + 8, right : right + 8])


def test_colour_at_the_middle_is_the_identity() -> None:
    images = torch.rand(2, 3, 8, 8)
    result = Augmentation(colour=1.0)(images, torch.full((2, NUMBERS), 0.5))
    torch.testing.assert_close(result, images)


@pytest.mark.parametrize(("number", "times"), [(0.0, 0.0), (0.25, 0.5), (1.0, 2.0)])
def test_saturation_is_the_distance_from_grey(number: float, times: float) -> None:
    images, drawn = torch.rand(2, 3, 4, 4), torch.full((2, NUMBERS), 0.5)
    drawn[:, 1] = number
    grey = images.mean(1, keepdim=True)
    result = Augmentation(colour=1.0)(images, drawn)
    torch.testing.assert_close(result, grey + times * (images - grey))


@pytest.mark.parametrize(("number", "times"), [(0.0, 0.5), (1.0, 1.5)])
def test_contrast_is_the_distance_from_the_pictures_own_mean(number: float, times: float) -> None:
    images, drawn = torch.rand(2, 3, 4, 4), torch.full((2, NUMBERS), 0.5)
    drawn[:, 2] = number
    mean = images.mean((1, 2, 3), keepdim=True)
    result = Augmentation(colour=1.0)(images, drawn)
    torch.testing.assert_close(result, mean + times * (images - mean))


@pytest.mark.parametrize(("share", "reach"), [(0.01, 1), (0.25, 2), (1.0, 7)])
def test_translation_reaches_a_pixel_at_least_and_never_the_whole_side(share: float, reach: int) -> None:
    images, drawn = torch.rand(2, 3, 8, 8), torch.full((2, NUMBERS), 0.5)
    drawn[0, 3], drawn[1, 3] = 0.0, 0.999
    up, down = Augmentation(translation=share)(images, drawn)
    assert torch.equal(up[:, reach:], images[0, :, : 8 - reach])
    assert torch.equal(down[:, : 8 - reach], images[1, :, reach:])


def test_either_kind_alone_makes_it_active() -> None:
    assert [kind.active for kind in (*KINDS, Augmentation())] == [True, True, False]


def test_brightness_moves_the_mean_within_its_range() -> None:
    drawn = torch.full((2, NUMBERS), 0.5)
    drawn[0, 0], drawn[1, 0] = 0.0, 1.0
    result = Augmentation(colour=1.0)(torch.zeros(2, 3, 4, 4), drawn)
    assert result.mean((1, 2, 3)).tolist() == pytest.approx([-0.5, 0.5])
