"""A closed walk between pictures of a high critic score, as a GIF or an MP4 that loops without a seam."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trainer import checkpoint
from trainer.checkpoint import Checkpoint
from trainer.device import choose_device
from trainer.errors import TrainerError, UsageError
from trainer.files import atomic_write
from trainer.nets.generator import latents_from_seeds
from trainer.pictures import draw

Pictures = NDArray[np.uint8]

# What X takes: 15 MB, 1280 × 1080 and 350 frames for a GIF, 512 MB and 140 s for a video.
GIF_BYTES = 15_000_000
GIF_FRAMES = 350
VIDEO_BYTES = 512_000_000
VIDEO_SECONDS = 140
LARGEST = 1080
SMALLEST = 32
FASTEST = {".gif": 50, ".mp4": 60}
"""Frames a second. Browsers take a GIF's delays below 2/100 s for 1/10 s."""
CANDIDATES = 16
"""Latents that are scored for each one that is taken."""
_CHUNK = 64
_COLOURS = 256
_PALETTE_FRAMES = 24
_DITHER = 10.0
"""Levels of 255: about the distance between neighbouring colours of the palette."""


@dataclass(frozen=True)
class Plan:
    """How long the walk takes, and how it is shown."""

    seconds: float = 12.0
    fps: float = 25.0
    keyframes: int = 8
    size: int = 512
    """Pixels a side of the picture."""
    seed: int = 0

    @property
    def frames(self) -> int:
        return round(self.seconds * self.fps)

    def check(self, suffix: str) -> None:
        """Raises UsageError, naming the option, for what `suffix` or X does not take."""
        if suffix not in FASTEST:
            raise UsageError(
                f"A morph is written as .gif or .mp4: --out has the suffix {suffix or 'of none'}."
            )
        if self.keyframes < 2:
            raise UsageError("--keyframes has to be at least 2.")
        if not 0 < self.fps <= FASTEST[suffix]:
            raise UsageError(f"--fps has to lie between 0 and {FASTEST[suffix]} for a {suffix}.")
        if not SMALLEST <= self.size <= LARGEST:
            raise UsageError(f"--size has to lie between {SMALLEST} and {LARGEST} pixels.")
        if suffix == ".mp4" and self.size % 2:
            raise UsageError(f"--size has to be even for an MP4: {self.size} is not.")
        if not 0 < self.seconds <= VIDEO_SECONDS:
            raise UsageError(f"--seconds has to lie between 0 and {VIDEO_SECONDS}.")
        if self.frames < self.keyframes:
            raise UsageError("--seconds × --fps has to give at least one frame for each of the --keyframes.")
        if suffix == ".gif" and self.frames > GIF_FRAMES:
            raise UsageError(
                f"X takes GIFs of {GIF_FRAMES} frames at most, and --seconds {self.seconds:g} at --fps "
                f"{self.fps:g} makes {self.frames}: take fewer --seconds or --fps, or write an .mp4."
            )


@dataclass(frozen=True)
class Morph:
    """What was written."""

    path: Path
    frames: int
    size: int
    """Pixels a side: less than asked for where a GIF would have been too large."""
    bytes: int
    seeds: tuple[int, ...]
    """Of the keyframes, in the order in which they are passed."""

    def describe(self) -> str:
        return (
            f"{self.path}: {self.frames} frames of {self.size} × {self.size} px, {self.bytes / 1e6:.1f} MB, "
            f"past the seeds {', '.join(map(str, self.seeds))}."
        )


def morph(
    path: Path, out: Path, plan: Plan, *, device: str = "auto", say: Callable[[str], None] = lambda _: None
) -> Morph:
    """Walk past the candidates with the best critic score and back to the first; write `out`.

    The format follows from the suffix of `out`. A GIF beyond X's size is drawn smaller, and `say` is told.
    Raises UsageError for a plan that can't be drawn, CheckpointError for what is no checkpoint, TrainerError
    where PyAV is missing or nothing can be written.
    """
    suffix = out.suffix.lower()
    plan.check(suffix)
    if suffix == ".mp4":
        require_av()
    loaded = checkpoint.load(path, str(choose_device(device)))
    seeds = believable_seeds(loaded, plan.keyframes, plan.seed)
    pictures = walk(loaded, seeds, plan.frames)
    if suffix == ".gif":
        data, size = gif_within(pictures, plan.size, plan.fps, GIF_BYTES, say)
    else:
        data, size = mp4(pictures, plan.size, plan.fps), plan.size
        if len(data) > VIDEO_BYTES:
            raise TrainerError(
                f"The video has {len(data) / 1e6:.0f} MB, and X takes 512: take fewer --seconds."
            )
    atomic_write(out, data)
    return Morph(out, plan.frames, size, len(data), seeds)


# --- the walk ---


def believable_seeds(loaded: Checkpoint, count: int, first_seed: int) -> tuple[int, ...]:
    """The `count` best scored of CANDIDATES times as many seeds from `first_seed` on, in their own order."""
    candidates = range(first_seed, first_seed + count * CANDIDATES)
    scores = torch.cat(
        [
            loaded.score(loaded.sample(candidates[start : start + _CHUNK]))
            for start in range(0, len(candidates), _CHUNK)
        ]
    )
    best = scores.topk(count).indices.tolist()
    return tuple(first_seed + index for index in sorted(best))


def walk(loaded: Checkpoint, seeds: Sequence[int], frames: int) -> Pictures:
    """Pictures (frames, r, r, 3) past those of all seeds and back to the first."""
    keys = latents_from_seeds(list(seeds), loaded.metadata.latent_size)
    return draw(loaded.generator, closed_walk(keys, frames), loaded.device)


def closed_walk(keys: Tensor, frames: int) -> Tensor:
    """Latents (frames, z) past all `keys` (k, z) and back: the last is one step before the first.

    Spherical interpolation (Shoemake, 'Animating rotation with quaternion curves', 1985), as Gaussian latents
    lie near a sphere and a straight line would cut through its empty inside (White, 'Sampling generative
    networks', 2016). It rests at each key for a moment: a raised cosine eases it in and out.
    """
    position = torch.arange(frames, dtype=torch.float64) * len(keys) / frames
    index = position.long()
    eased = (1 - torch.cos(math.pi * (position - index))) / 2
    start = keys[index].double()
    end = keys[(index + 1) % len(keys)].double()
    return slerp(start, end, eased[:, None]).to(keys.dtype)


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Between `start` and `end` (n, z) along the great circle, the lengths interpolated; `share` (n, 1)."""
    lengths = start.norm(dim=1, keepdim=True), end.norm(dim=1, keepdim=True)
    a, b = start / lengths[0], end / lengths[1]
    # atan2 stays exact where the arc cosine of a number near 1 does not
    angle = 2 * torch.atan2((a - b).norm(dim=1, keepdim=True), (a + b).norm(dim=1, keepdim=True))
    sine = torch.sin(angle)
    straight = sine < 1e-6
    sine = torch.where(straight, torch.ones_like(sine), sine)
    first = torch.where(straight, 1 - share, torch.sin((1 - share) * angle) / sine)
    second = torch.where(straight, share, torch.sin(share * angle) / sine)
    direction: Tensor = first * a + second * b
    length: Tensor = (1 - share) * lengths[0] + share * lengths[1]
    return direction * length


def _scaled(pictures: Pictures, size: int) -> Iterator[Image.Image]:
    """One at a time: 350 of 1,080 px would take more than a gigabyte."""
    for picture in pictures:
        yield Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS)


# --- GIF ---


def gif_within(
    pictures: Pictures, size: int, fps: float, most: int, say: Callable[[str], None] = lambda _: None
) -> tuple[bytes, int]:
    """The GIF, and its pixels a side: as large as asked for, or as `most` bytes allow; `say` is told.

    Raises TrainerError where even a small one has more.
    """
    while True:
        data = gif(pictures, size, fps)
        if len(data) <= most:
            return data, size
        smaller = int(size * min(0.95, math.sqrt(0.93 * most / len(data))))
        limit = f"{most / 1e6:g} MB are allowed"
        if smaller < SMALLEST:
            raise TrainerError(f"Even a small GIF would have more bytes, and {limit}: take fewer frames.")
        say(f"{size} px a side give {len(data) / 1e6:.1f} MB, and {limit}: drawing {smaller} px instead.")
        size = smaller


def gif(pictures: Pictures, size: int, fps: float) -> bytes:
    """Pictures (n, r, r, 3) as a GIF that repeats for ever, every frame with the same 256 colours."""
    palette = shared_palette(pictures)
    frames = (
        frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in _dithered(pictures, size)
    )
    buffer = io.BytesIO()
    next(frames).save(
        buffer,
        "GIF",
        save_all=True,
        append_images=frames,
        duration=delays(len(pictures), fps),
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def shared_palette(pictures: Pictures) -> Image.Image:
    """256 colours for all of the walk, so that none flickers: median cut, then k-means."""
    chosen = np.unique(np.linspace(0, len(pictures) - 1, _PALETTE_FRAMES).astype(int))
    strip = Image.fromarray(np.concatenate(pictures[chosen]))
    return strip.quantize(_COLOURS, Image.Quantize.MEDIANCUT, kmeans=2)


def _dithered(pictures: Pictures, size: int) -> Iterator[Image.Image]:
    """With an ordered pattern (Bayer 1973) that stays where it is from frame to frame.

    Diffused errors would crawl, and double the file.
    """
    pattern = (_bayer(3) - 0.5) * _DITHER
    tiles = -(-size // len(pattern))
    offset = np.tile(pattern, (tiles, tiles))[:size, :size, None]
    for frame in _scaled(pictures, size):
        yield Image.fromarray((np.asarray(frame) + offset).round().clip(0, 255).astype(np.uint8))


def _bayer(order: int) -> NDArray[np.float64]:
    """Thresholds in (0, 1), 2^order a side."""
    matrix = np.zeros((1, 1))
    for _ in range(order):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return (matrix + 0.5) / matrix.size


def delays(frames: int, fps: float) -> list[int]:
    """How long each frame stays, in ms: whole hundredths of a second that add up to the right length."""
    ends = [round(100 * (index + 1) / fps) for index in range(frames)]
    return [10 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]


# --- MP4 ---


def require_av() -> None:
    """Raises TrainerError that says how to install PyAV where it is missing."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise TrainerError(
            "An MP4 needs PyAV: pip install 'meshibot[video]', or write a .gif instead."
        ) from None


def mp4(pictures: Pictures, size: int, fps: float) -> bytes:
    """Pictures (n, r, r, 3) as H.264, yuv420p, which X and every browser play. Needs PyAV."""
    import av
    from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "morph.mp4"
        # The index comes first, so that a browser begins before it has everything.
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "17", "preset": "medium"}
            # Said and done in BT.709: what is not said, players guess from the size, each its own way.
            stream.color_primaries = ColorPrimaries.BT709
            stream.color_trc = ColorTrc.BT709
            stream.colorspace = Colorspace.ITU709
            stream.color_range = ColorRange.MPEG
            for picture in _scaled(pictures, size):
                frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
                container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
            container.mux(stream.encode())
        return path.read_bytes()
