"""Files of earlier formats: the checkpoint that shipped with format 2 draws and scores the same.

The wanted values were taken with the last version that wrote this format.
"""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from trainer.checkpoint import load
from trainer.nets.earlier import architecture_2, channels_2, names_2

QUARTERS = [
    [0.536, 0.342, 0.247, 0.137, 0.398, 0.132, 0.114, -0.014, 0.089, -0.098, -0.078, -0.212],
    [0.307, 0.114, 0.071, -0.097, 0.077, -0.035, -0.126, -0.278, -0.174, -0.236, -0.403, -0.491],
    [0.196, -0.041, 0.299, 0.225, 0.158, 0.102, 0.122, 0.141, -0.171, -0.360, -0.179, -0.153],
]
"""Means over the quarters of the pictures of seeds 1, 2 and 3, channel by channel."""
PIXEL = [[0.89669, 0.85501, 0.83752], [0.40058, -0.19721, -0.74918], [0.74581, 0.63100, 0.22318]]
"""At (20, 20)."""
SCORES = [0.954635, 1.085002, 0.880310]


def test_a_checkpoint_of_format_2_draws_and_scores_the_same() -> None:
    loaded = load(Path(__file__).parents[2] / "data" / "checkpoint-format-2.safetensors")
    pictures = loaded.sample([1, 2, 3])
    torch.testing.assert_close(
        F.avg_pool2d(pictures, 32).flatten(1), torch.tensor(QUARTERS), rtol=0, atol=1e-3
    )
    torch.testing.assert_close(pictures[:, :, 20, 20], torch.tensor(PIXEL), rtol=0, atol=1e-3)
    assert loaded.score(pictures).tolist() == pytest.approx(SCORES, abs=1e-3)


def test_channels_were_counted_from_the_pictures_own_size() -> None:
    assert channels_2(64, 32) == [256, 128, 64, 32, 16]
    assert channels_2(32, 1) == [4, 2, 1, 1]


def test_an_architecture_in_todays_words() -> None:
    old = {"resolution": 32, "width": 4, "latent_size": 8, "generator_norm": "batch"}
    assert architecture_2(old) == {
        "generator": {"kind": "plain", "latent_size": 8, "channels": [16, 8, 4, 2], "norm": "batch"},
        "critic": {"kind": "plain", "channels": [16, 8, 4, 2], "norm": "none"},
    }


@pytest.mark.parametrize("changes", [{"kind": "residual"}, {"resolution": 48}, {"width": 0}])
def test_networks_that_are_no_more(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="its "):
        architecture_2({"resolution": 32, "width": 4, "latent_size": 8, **changes})


def test_names_tell_the_size() -> None:
    old = (
        "critic.blocks.0.conv.weight",
        "judge.score.bias",
        "ema.blocks.2.norm.bias",
        "generator.project.bias",
        "rng",
    )
    assert list(names_2(dict.fromkeys(old, 0), 32)) == [
        "critic.heads.picture.blocks.32.conv.weight",
        "critic_average.heads.picture.score.bias",
        "generator_average.blocks.32.norm.bias",
        "generator.project.bias",
        "rng",
    ]  # fmt: skip


def test_todays_names_are_left_alone() -> None:
    names = {"critic.heads.picture.score.bias": 1, "generator.blocks.8.conv.bias": 2}
    assert names_2(names, 32) == names
