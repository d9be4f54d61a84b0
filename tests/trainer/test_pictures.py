"""Batches: every picture once an epoch, and an order that is a function of seed and position only."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.pictures import BatchOrder, mirror, to_device, to_float

CPU = torch.device("cpu")


@given(st.integers(1, 40), st.integers(1, 17), st.integers(0, 5))
def test_every_picture_once_an_epoch(count: int, batch: int, seed: int) -> None:
    order = BatchOrder(count, seed, CPU)
    shown: list[int] = []
    while len(shown) < 3 * count:
        shown += order.indices(len(shown), batch).tolist()
    for epoch in range(3):
        assert sorted(shown[epoch * count : (epoch + 1) * count]) == list(range(count))


@given(st.integers(1, 40), st.integers(1, 17), st.integers(0, 200))
def test_any_position_can_be_reached_directly(count: int, batch: int, position: int) -> None:
    """What an exact resume relies on: no history is needed."""
    one, other = BatchOrder(count, 3, CPU), BatchOrder(count, 3, CPU)
    for shown in range(0, position, batch):
        one.indices(shown, batch)
    assert torch.equal(one.indices(position, batch), other.indices(position, batch))


def test_epochs_and_seeds_differ() -> None:
    order = BatchOrder(50, 0, CPU)
    assert not torch.equal(order.indices(0, 50), order.indices(50, 50))
    assert not torch.equal(order.indices(0, 50), BatchOrder(50, 1, CPU).indices(0, 50))


def test_pictures_keep_their_values() -> None:
    array = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    tensor = to_device(array, CPU)
    assert tensor.shape == (2, 3, 4, 4)
    assert tensor.dtype == torch.uint8
    assert np.array_equal(tensor.permute(0, 2, 3, 1).numpy(), array)
    scaled = to_float(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    torch.testing.assert_close(scaled.flatten(), torch.tensor([-1.0, 1.0]))


def test_mirror_flips_only_what_is_flagged() -> None:
    images = torch.arange(8.0).reshape(2, 1, 1, 4)
    result = mirror(images, torch.tensor([True, False]))
    assert result[0].flatten().tolist() == [3, 2, 1, 0]
    assert result[1].flatten().tolist() == [4, 5, 6, 7]
