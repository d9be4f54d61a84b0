"""What each figure is called and which way is good: for tables, reports and the guard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher", "floor", "0", "0.5", "1"]
"""`floor`: near its floor, as too much is as wrong as too little; a number: near that number."""


@dataclass(frozen=True)
class About:
    """A figure's direction and its meaning in a line."""

    better: Better
    meaning: str

    @property
    def word(self) -> str:
        """For a person: 'lower', 'higher', 'near its floor', 'near 0.5'."""
        if self.better in ("lower", "higher"):
            return self.better
        return "near its floor" if self.better == "floor" else f"near {self.better}"


_ABOUT = {
    "swd": About("lower", "sliced Wasserstein distance of patches × 10³, mean of the levels"),
    "colour": About("lower", "2-Wasserstein distance of pixel colours, in levels of 255"),
    "kid": About("lower", "unbiased MMD² on features of a fixed random net"),
    "precision": About("higher", "share of fakes among the reals"),
    "recall": About("higher", "share of reals among the fakes"),
    "density": About("higher", "how deep among the reals the fakes lie"),
    "coverage": About("higher", "share of reals with a fake next to them"),
    "diversity": About("1", "mean distance between two fakes over that between two reals"),
    "variety": About("1", "the same of pictures at 4 × 4 pixels: colours and places alone"),
    "ms_ssim": About("floor", "mean similarity of two fakes"),
    "nearest_neighbour": About("0.5", "accuracy of telling fakes from reals by the nearest neighbour"),
    "memorisation": About("floor", "distance to the nearest training over that to a held-out photograph"),
    "copies": About("lower", "share of fakes nearer to training than 95 % of held-out reals are"),
    "critic_gap": About("0", "critic's mean score of training less held-out reals"),
    "r_v": About("0", "that gap over the critic's distance between training reals and fakes"),
    "fid": About("lower", "Fréchet distance on Inception features"),
    "inception_kid": About("lower", "unbiased MMD² on Inception features"),
}


PRETRAINED = "_pretrained"
"""How the names of figures end that are taken on a pretrained network's features."""
_ON_PRETRAINED = {
    "kid": About("lower", "unbiased MMD² on features of the pretrained net"),
    "frechet": About("lower", "Fréchet distance on features of the pretrained net"),
    "precision": About("higher", "share of fakes among the reals, in the pretrained net's features"),
    "recall": About("higher", "share of reals among the fakes, in the pretrained net's features"),
    "memorisation": About("floor", "distance to training over held-out, in the pretrained net's features"),
    "copies": About("lower", "share nearer to training than 95 % of held-out reals are, in those features"),
}


def about(name: str) -> About:
    """Of any figure of `trainer.metrics`. Raises KeyError for another."""
    if name.startswith("swd_"):
        return About("lower", f"the same at the pyramid's level of {name.removeprefix('swd_')} px")
    if name.endswith(PRETRAINED):
        return _ON_PRETRAINED[name.removesuffix(PRETRAINED)]
    if name.endswith("_deviation"):
        return About("lower", f"how much other pictures of the same generator would change {name[:-10]}")
    return _ABOUT[name]
