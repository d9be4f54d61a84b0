"""What sees: views of the right shapes, equally far apart, moved at random, and never trained."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.drawings import bowls
from trainer.nets.architecture import SEEN_AT
from trainer.nets.efficientnet import load_pretrained
from trainer.nets.vision import (
    MAP_CHANNELS,
    SHIFT,
    SPREAD,
    PretrainedVision,
    Vision,
    describe_all,
    make_vision,
    map_shapes,
    mirrored,
)
from trainer.pictures import to_device, to_float


def photographs(count: int, size: int = 32) -> torch.Tensor:
    return to_float(to_device(bowls(count, size), torch.device("cpu")))


@pytest.fixture(scope="module")
def vision() -> PretrainedVision:
    made = PretrainedVision(load_pretrained())
    made.draw(seed=3)
    made.calibrate(photographs(24))
    return made


def test_a_plain_critic_sees_the_picture_itself() -> None:
    pictures = photographs(2)
    (seen,) = make_vision("plain", 0)(pictures)
    assert seen is pictures
    assert Vision.head_weights == Vision().lengths(64) == (1.0,)


def test_heads_weigh_in_a_score_as_in_the_generators_loss() -> None:
    vision = Vision()
    vision.head_weights = (1.0, 3.0)
    assert vision.weighed(torch.tensor([[2.0, 6.0], [0.0, 1.0]])).tolist() == [5.0, 0.75]


def test_maps_have_the_shapes_of_the_networks_that_were_trained() -> None:
    """Heads of checkpoints fit no others."""
    wanted = {"stride2": (16, 64), "stride4": (32, 32), "stride8": (64, 16), "stride16": (64, 8)}
    assert map_shapes(32) == map_shapes(128) == wanted | {"stride32": (64, 4)}
    assert map_shapes(256)["stride32"] == (64, 8)


@pytest.mark.parametrize("size", [32, 128, 256])
def test_views_have_the_shapes_that_heads_are_made_for(vision: PretrainedVision, size: int) -> None:
    pictures = photographs(1, size)
    with torch.no_grad():
        picture, *maps = vision(pictures)
    assert torch.equal(picture, pictures)
    assert [tuple(view.shape[1:]) for view in maps] == [
        (channels, side, side) for channels, side in map_shapes(size).values()
    ]
    assert len(vision.head_weights) == 1 + len(maps)
    assert [part.shape for part in vision.describe(pictures)] == [(1, 432), (1, 1792)]


def test_two_photographs_lie_equally_far_apart_in_each_map(vision: PretrainedVision) -> None:
    """Slopes then mean the same at each stride: one weight and one target of the penalty fit all."""
    with torch.no_grad():
        maps = vision(photographs(24))[1:]
    for view, length in zip(maps, vision.lengths(32)[1:], strict=True):
        apart = torch.pdist(view.flatten(1)).square().mean().sqrt().item()
        assert apart / length == pytest.approx(SPREAD, rel=1e-3)
        # of unit size, as the heads' initialisation wants
        assert view.var(0).mean().item() == pytest.approx(1, rel=1e-3)
        assert view.mean((0, 2, 3)).abs().max() < 1e-3


def test_views_are_the_maps_standardised_mixed_from_coarse_to_fine_centred_and_scaled(
    vision: PretrainedVision,
) -> None:
    """Step by step, where they are computed as one linear map: m = √½ (across x + up(down M))."""
    seeing, pictures = PretrainedVision(load_pretrained()), photographs(2).double()
    seeing.load_state_dict(vision.state_dict())
    seeing.double()
    get = seeing.get_buffer
    for stride in MAP_CHANNELS:
        get(f"centre{stride}").copy_(torch.linspace(-1, 1, MAP_CHANNELS[stride]))
    shown = F.interpolate(pictures, size=(SEEN_AT, SEEN_AT), mode="bilinear", align_corners=False)
    coarser: torch.Tensor | None = None
    with torch.no_grad():
        picture, *views = seeing(pictures)
        maps = seeing.net(shown)
    lengths = vision.lengths(32)
    assert lengths[0] == 1.0
    assert torch.equal(picture, pictures)
    for seen, view, length, stride in reversed(
        list(zip(maps, views, lengths[1:], MAP_CHANNELS, strict=True))
    ):
        mean, deviation = get(f"mean{stride}"), get(f"deviation{stride}")
        standardised = (seen - mean[:, None, None]) / deviation[:, None, None]
        mixed = F.conv2d(standardised, get(f"across{stride}"))
        if coarser is not None:
            below = F.conv2d(coarser, get(f"down{stride}"))
            up = F.interpolate(below, scale_factor=2, mode="bilinear", align_corners=False)
            mixed = math.sqrt(0.5) * (mixed + up)
        expected = length * get(f"scale{stride}") * (mixed - get(f"centre{stride}")[:, None, None])
        torch.testing.assert_close(view, expected, rtol=1e-6, atol=1e-6)
        coarser = mixed


def test_calibrating_standardises_the_networks_channels_whatever_was_there(vision: PretrainedVision) -> None:
    again = PretrainedVision(vision.net)
    again.load_state_dict(vision.state_dict())
    again.calibrate(photographs(24))
    for name, tensor in again.state_dict().items():
        torch.testing.assert_close(tensor, vision.state_dict()[name])
    maps = vision.net(F.interpolate(photographs(24), size=(SEEN_AT, SEEN_AT), mode="bilinear"))
    for seen, stride in zip(maps, MAP_CHANNELS, strict=True):
        deviation, mean = torch.std_mean(seen, dim=(0, 2, 3))
        torch.testing.assert_close(vision.get_buffer(f"mean{stride}"), mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(vision.get_buffer(f"deviation{stride}"), deviation, rtol=1e-3, atol=1e-4)


def test_pictures_are_described_some_at_a_time(vision: PretrainedVision) -> None:
    """As they are one by one, first and last ones too."""
    pictures = bowls(33, 32)
    together = describe_all(vision, pictures, torch.device("cpu"))
    for row in (0, 31, 32):
        with torch.no_grad():
            alone = vision.describe(to_float(to_device(pictures[row : row + 1], torch.device("cpu"))))
        for one, of_all in zip(alone, together, strict=True):
            assert len(of_all) == 33
            torch.testing.assert_close(one[0], of_all[row], rtol=1e-3, atol=1e-3)


def test_the_projection_is_a_function_of_the_seed(vision: PretrainedVision) -> None:
    """Of variance 1, where its inputs have it."""
    one, same, other = PretrainedVision(vision.net), make_vision("seeing", 1), PretrainedVision(vision.net)
    for made, seed in ((one, 1), (other, 2)):
        made.draw(seed)
    for name, tensor in one.named_buffers(recurse=False):
        if name.startswith(("across", "down")):
            assert tensor.square().sum(1).mean().item() == pytest.approx(1, abs=0.2), name
    assert torch.equal(one.get_buffer("across8"), same.get_buffer("across8"))
    assert not torch.equal(one.get_buffer("across8"), other.get_buffer("across8"))


def test_coarse_maps_are_mixed_into_fine_ones(vision: PretrainedVision) -> None:
    before, after = PretrainedVision(vision.net), PretrainedVision(vision.net)
    after.load_state_dict(vision.state_dict())
    before.load_state_dict(vision.state_dict())
    after.get_buffer("across32").mul_(2)
    pictures = photographs(1)
    with torch.no_grad():
        pairs = zip(before(pictures)[1:], after(pictures)[1:], strict=True)
        assert all(not torch.equal(one, two) for one, two in pairs)


@pytest.mark.parametrize(("share", "step"), [(0.0, -SHIFT), (0.5, 0), (0.999, SHIFT)])
def test_the_networks_input_is_moved(vision: PretrainedVision, share: float, step: int) -> None:
    """As if the picture itself lay elsewhere; what comes in at the edge is mirrored."""
    pictures = photographs(1, SEEN_AT)
    rolled = pictures[:, :, mirrored(torch.arange(SEEN_AT) + step, SEEN_AT)]
    with torch.no_grad():
        moved = vision(pictures, torch.tensor([share, 0.5]))
        still = vision(rolled)
    assert torch.equal(moved[0], pictures)
    for one, two in zip(moved[1:], still[1:], strict=True):
        torch.testing.assert_close(one, two)


def test_indices_outside_are_reflected() -> None:
    assert mirrored(torch.tensor([-2, -1, 0, 4, 5, 6]), 5).tolist() == [2, 1, 0, 4, 3, 2]


def test_there_is_nothing_to_train(vision: PretrainedVision) -> None:
    """Whatever is done to networks that are trained leaves it as it is."""
    before = {name: tensor.clone() for name, tensor in vision.state_dict().items()}
    pictures = photographs(1)
    with torch.no_grad():
        seen = vision(pictures)
    vision.requires_grad_(True).train()
    leaf = pictures.clone().requires_grad_()
    after = vision(leaf)
    torch.stack([view.square().mean() for view in after]).sum().backward()
    vision.eval()
    assert list(vision.parameters()) == []
    assert leaf.grad is not None
    assert all(torch.equal(tensor, before[name]) for name, tensor in vision.state_dict().items())
    for one, two in zip(seen, after, strict=True):
        torch.testing.assert_close(one, two)


def test_maps_are_finer_first() -> None:
    assert list(MAP_CHANNELS) == sorted(MAP_CHANNELS)


class _WithoutFloat64(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            assert not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float64, func
        return result


def test_where_there_is_no_float64_all_is_seen_without(
    vision: PretrainedVision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Apple's GPUs, which raise TypeError at the first one."""
    exact = vision(photographs(4))
    other = PretrainedVision(vision.net)
    other.draw(seed=3)
    monkeypatch.setattr("trainer.nets.vision.widest", lambda device: torch.float32)
    with _WithoutFloat64():  # type: ignore[no-untyped-call]
        other.calibrate(photographs(24))
        views = other(photographs(4))
        other.describe(photographs(4))
    for view, wanted in zip(views, exact, strict=True):
        torch.testing.assert_close(view, wanted, rtol=1e-3, atol=1e-3)
