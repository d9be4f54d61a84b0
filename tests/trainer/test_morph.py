"""The walk closes, its keys are believed, and the files are what X takes and what they were drawn from."""

import io
import math
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from tests.checkpoints import make_checkpoint
from tests.drawings import bowls
from trainer import checkpoint
from trainer.errors import TrainerError, UsageError
from trainer.morph import (
    CANDIDATES,
    GIF_BYTES,
    Pictures,
    Plan,
    believable_seeds,
    closed_walk,
    delays,
    gif,
    morph,
    mp4,
    slerp,
)
from trainer.nets.generator import latents_from_seeds
from trainer.pictures import to_uint8

SMALL = Plan(seconds=1.2, fps=20, keyframes=3, size=48)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("morph") / "made.safetensors")


def fades(count: int, size: int = 32) -> Pictures:
    """A closed walk between two drawn bowls."""
    first, second = bowls(2, size).astype(float)
    share = (1 - np.cos(2 * math.pi * np.arange(count) / count))[:, None, None, None] / 2
    faded: Pictures = (first * (1 - share) + second * share).round().astype(np.uint8)
    return faded


class TestWalk:
    def test_passes_every_key(self) -> None:
        keys = latents_from_seeds([1, 2, 3, 4], 64)
        walk = closed_walk(keys, 20)
        assert torch.allclose(walk[::5], keys, atol=1e-5)

    @given(keys=st.integers(2, 6), each=st.integers(4, 20), seed=st.integers(0, 2**32))
    def test_closes_without_a_seam(self, keys: int, each: int, seed: int) -> None:
        """No key is special: beginning at the second one gives the same walk, begun later."""
        latents = latents_from_seeds(list(range(seed, seed + keys)), 64)
        walk = closed_walk(latents, keys * each)
        later = closed_walk(latents.roll(-1, 0), keys * each)
        assert torch.allclose(later, walk.roll(-each, 0), atol=1e-5)

    @given(seed=st.integers(0, 2**32), share=st.floats(0, 1))
    def test_stays_near_the_sphere(self, seed: int, share: float) -> None:
        a, b = latents_from_seeds([seed, seed + 1], 64).double().split(1)
        between = slerp(a, b, torch.tensor([[share]], dtype=torch.float64))
        low, high = sorted((a.norm().item(), b.norm().item()))
        assert low - 1e-9 <= between.norm().item() <= high + 1e-9

    def test_from_a_latent_to_itself(self) -> None:
        latent = latents_from_seeds([5], 16).double()
        between = slerp(latent, latent, torch.tensor([[0.3]], dtype=torch.float64))
        assert torch.allclose(between, latent)

    def test_keys_are_the_best_of_the_candidates(self, made: Path) -> None:
        loaded = checkpoint.load(made)
        seeds = believable_seeds(loaded, 3, 100)
        candidates = range(100, 100 + 3 * CANDIDATES)
        scores = dict(zip(candidates, loaded.score(loaded.sample(candidates)).tolist(), strict=True))
        assert list(seeds) == sorted(seeds)
        worst = min(scores[seed] for seed in seeds)
        assert all(score <= worst + 1e-5 for seed, score in scores.items() if seed not in seeds)


class TestGif:
    def test_is_what_was_planned(self, made: Path, tmp_path: Path) -> None:
        result = morph(made, tmp_path / "new" / "walk.gif", SMALL, device="cpu")
        assert (result.frames, result.size) == (24, 48)
        assert result.bytes == result.path.stat().st_size <= GIF_BYTES
        loaded = checkpoint.load(made)
        key = to_uint8(loaded.sample(result.seeds[1:2]))[0]
        with Image.open(result.path) as image:
            assert image.size == (48, 48)
            assert image.info["loop"] == 0
            frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
            assert len(frames) == 24
        wanted = np.asarray(Image.fromarray(key).resize((48, 48), Image.Resampling.LANCZOS), dtype=float)
        assert np.abs(np.asarray(frames[8], dtype=float) - wanted).mean() < 12

    def test_frames_share_their_colours_and_keep_them(self) -> None:
        pictures = fades(30)
        with Image.open(io.BytesIO(gif(pictures, 64, 20))) as image:
            total = 0
            for index, frame in enumerate(ImageSequence.Iterator(image)):
                total += frame.info["duration"]
                shown = np.asarray(frame.convert("RGB").resize((32, 32), Image.Resampling.BOX), dtype=float)
                assert np.abs(shown - pictures[index]).mean() < 8
            assert index == 29
        assert total == 1500

    def test_the_same_again(self, made: Path, tmp_path: Path) -> None:
        once, again = (morph(made, tmp_path / name, SMALL, device="cpu") for name in ("a.gif", "b.gif"))
        assert once.path.read_bytes() == again.path.read_bytes()
        other = morph(made, tmp_path / "c.gif", replace(SMALL, seed=1000), device="cpu")
        assert set(other.seeds).isdisjoint(once.seeds)

    def test_too_large_a_file_is_drawn_smaller(
        self, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("trainer.morph.GIF_BYTES", 60_000)
        said: list[str] = []
        result = morph(made, tmp_path / "walk.gif", replace(SMALL, size=128), device="cpu", say=said.append)
        assert result.bytes <= 60_000
        assert result.size < 128
        assert "128 px a side" in said[0]
        with Image.open(result.path) as image:
            assert image.size == (result.size, result.size)
            assert getattr(image, "n_frames", 1) == 24

    @given(frames=st.integers(1, 350), fps=st.floats(1, 50))
    def test_delays_add_up(self, frames: int, fps: float) -> None:
        ms = delays(frames, fps)
        assert len(ms) == frames
        assert all(delay % 10 == 0 and delay >= 20 for delay in ms)
        assert abs(sum(ms) - 1000 * frames / fps) <= 5.001


class TestVideo:
    def test_is_what_x_plays(self, made: Path, tmp_path: Path) -> None:
        result = morph(made, tmp_path / "walk.MP4", SMALL, device="cpu")
        with av.open(str(result.path), "r") as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            assert (context.name, context.pix_fmt, context.width, context.height) == (
                "h264", "yuv420p", 48, 48,
            )  # fmt: skip
            assert stream.average_rate == 20
            assert sum(1 for _ in container.decode(video=0)) == 24
        data = result.path.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")

    def test_keeps_the_colours(self) -> None:
        pictures = fades(30, 64)
        with av.open(io.BytesIO(mp4(pictures, 64, 29.97)), "r") as container:
            frames = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
        assert len(frames) == 30
        for shown, picture in zip(frames, pictures, strict=True):
            assert np.abs(shown.mean((0, 1)) - picture.mean((0, 1))).max() < 3
            assert np.abs(shown - picture).mean() < 8

    def test_without_pyav(self, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(TrainerError, match=r"meshibot\[video\]"):
            morph(made, tmp_path / "walk.mp4", SMALL, device="cpu")
        morph(made, tmp_path / "walk.gif", SMALL, device="cpu")
        assert [path.name for path in tmp_path.iterdir()] == ["walk.gif"]


@pytest.mark.parametrize(
    ("name", "plan", "words"),
    [
        ("walk.avi", SMALL, r"\.gif or \.mp4"),
        ("walk", SMALL, r"\.gif or \.mp4"),
        ("walk.gif", replace(SMALL, seconds=18), "350 frames"),
        ("walk.gif", replace(SMALL, fps=60), "--fps"),
        ("walk.gif", replace(SMALL, fps=math.nan), "--fps"),
        ("walk.mp4", replace(SMALL, fps=0), "--fps"),
        ("walk.mp4", replace(SMALL, size=49), "even"),
        ("walk.mp4", replace(SMALL, size=2000), "--size"),
        ("walk.gif", replace(SMALL, size=8), "--size"),
        ("walk.gif", replace(SMALL, keyframes=1), "--keyframes"),
        ("walk.gif", replace(SMALL, keyframes=25), "one frame for each"),
        ("walk.mp4", replace(SMALL, seconds=math.inf), "--seconds"),
        ("walk.mp4", replace(SMALL, seconds=1e6), "140"),
    ],
)
def test_refusals(name: str, plan: Plan, words: str, tmp_path: Path) -> None:
    """Before the checkpoint is even looked for."""
    with pytest.raises(UsageError, match=words):
        morph(tmp_path / "none.safetensors", tmp_path / name, plan)
    assert list(tmp_path.iterdir()) == []
