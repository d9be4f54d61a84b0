"""The file of a post, of each kind."""

import re
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from meshibot.clock import SystemClock
from meshibot.database import Picture
from meshibot.errors import MeshibotError, NothingToDo, UsageError
from meshibot.kinds import Kind
from meshibot.media import Studio
from meshibot.pictures import TRAINED_ALGORITHMIC_MEDIA
from meshibot.publishers.base import Limits, Moving, RetryLater
from meshibot.stock import sampler
from meshibot.stock.sampler import Walk, sample_in_child, walk_in_child
from meshibot.stock.stock import picture_of, sampling_request
from testbed.fakes import gif
from testbed.labels import digital_source_type
from tests.checkpoints import make_checkpoint
from trainer.checkpoint import load
from trainer.hashes import perceptual_hash

LIMITS = Limits(
    caption=None, alt_text=1000, media=4, image_bytes=5_000_000, image_side=4096,
    media_types=("image/jpeg",), moving=Moving(15_000_000, 1080),
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last of a run that kept four more."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    folder.mkdir()
    for number, step in enumerate((10, 20, 100, 500)):
        make_checkpoint(folder / f"step-{step:08d}.safetensors", seed=number + 1, step=step)
    return make_checkpoint(folder / "last.safetensors", step=1000)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def pictures(checkpoint: Path, home: Path) -> Sequence[Picture]:
    """Two that were sampled."""
    request = replace(sampling_request(checkpoint, 0.0, 2, home, []), seed=1)
    result = sample_in_child(request)
    return [
        picture_of(each, result.checkpoint, each.file.name, SystemClock().now()) for each in result.pictures
    ]


@pytest.fixture
def studio(checkpoint: Path, home: Path) -> Studio:
    return Studio(home, lambda: checkpoint, checkpoint.parents[1])


def scaled(file: Path, side: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS))


def test_a_morph_begins_with_one_picture_and_passes_the_other(
    studio: Studio, pictures: Sequence[Picture], home: Path, tmp_path: Path
) -> None:
    file = studio.make(Kind.MORPH, pictures, "Generated.", tmp_path / "main-0001", LIMITS)
    assert file == tmp_path / "main-0001.gif"
    assert gif.shape_of(file.read_bytes()) == (480, 480, 48)
    with Image.open(file) as image:
        assert image.info["loop"] == 0
        shown = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
        total = sum(frame.info["duration"] for frame in ImageSequence.Iterator(image))
    assert total == 4000
    for frame, picture in ((shown[0], pictures[0]), (shown[24], pictures[1])):
        off = np.abs(frame.astype(float) - scaled(home / picture.file, 480))
        assert off.mean() < 12, "256 colours, dithered"
    assert np.abs(shown[0].astype(float) - shown[24]).mean() > 2
    assert digital_source_type(file) == TRAINED_ALGORITHMIC_MEDIA
    assert b"Generated." in file.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_a_morph_is_drawn_smaller_where_the_network_takes_less(
    studio: Studio, pictures: Sequence[Picture], tmp_path: Path
) -> None:
    small = replace(LIMITS, moving=Moving(300_000, 200))
    file = studio.make(Kind.MORPH, pictures, "Generated.", tmp_path / "main-0001", small)
    width, height, frames = gif.shape_of(file.read_bytes())
    assert width == height <= 200
    assert frames == 48
    assert file.stat().st_size <= 300_000
    with pytest.raises(UsageError, match="no GIF"):
        studio.make(Kind.MORPH, pictures, "", tmp_path / "main-0002", replace(LIMITS, moving=None))


def test_frames_that_are_copies_are_left_out_and_a_walk_of_them_is_none(
    checkpoint: Path, pictures: Sequence[Picture], tmp_path: Path
) -> None:
    networks = load(checkpoint)
    seeds = tuple(picture.seed for picture in pictures)
    hashes = [perceptual_hash(Image.fromarray(each)) for each in networks.draw(seeds)]
    one = make_checkpoint(tmp_path / "one.safetensors", training_hashes=(f"{hashes[1]:016x}",))
    walk = Walk(one, seeds, tmp_path / "walk.gif", 32, 1_000_000)
    both = make_checkpoint(
        tmp_path / "both.safetensors", training_hashes=tuple(f"{each:016x}" for each in hashes)
    )
    with pytest.raises(NothingToDo, match="too near to training photographs"):
        walk_in_child(replace(walk, checkpoint=both))
    assert not walk.target.exists()
    walk_in_child(replace(walk, seeds=(seeds[0], seeds[0] + 1, seeds[1]), frames=120))
    assert 90 <= gif.shape_of(walk.target.read_bytes())[2] < 120


def test_pictures_of_another_checkpoint_are_not_drawn_anew(
    studio: Studio, pictures: Sequence[Picture], tmp_path: Path
) -> None:
    changed = replace(studio, checkpoint=lambda: make_checkpoint(tmp_path / "new.safetensors", seed=9))
    for kind, some in ((Kind.MORPH, pictures), (Kind.BEFORE_AND_AFTER, pictures[:1])):
        with pytest.raises(NothingToDo, match="checkpoint was changed"):
            changed.make(kind, some, "", tmp_path / "main-0001", LIMITS)


def test_what_only_the_machine_is_short_of_is_tried_later(
    studio: Studio, pictures: Sequence[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(child: "subprocess.Popen[str]", *_: object) -> tuple[str, str]:
        child.send_signal(signal.SIGKILL)
        child.wait()
        return "", ""

    monkeypatch.setattr(sampler, "_answer", killed)
    with pytest.raises(RetryLater, match="ended by SIGKILL"):
        studio.make(Kind.MORPH, pictures, "", tmp_path / "main-0001", LIMITS)
    away = replace(studio, run=tmp_path / "unmounted")
    with pytest.raises(RetryLater, match="mount its disk"):
        away.make(Kind.BEFORE_AND_AFTER, pictures[:1], "", tmp_path / "main-0001", LIMITS)


def test_before_and_after_is_the_same_seed_at_three_earlier_steps(
    studio: Studio, pictures: Sequence[Picture], checkpoint: Path, tmp_path: Path
) -> None:
    picture = pictures[0]
    file = studio.make(Kind.BEFORE_AND_AFTER, [picture], "Four stages.", tmp_path / "main-0001", LIMITS)
    assert file == tmp_path / "main-0001.jpg"
    with Image.open(file) as image:
        assert image.size == (1024, 1024)
        whole = np.asarray(image).astype(float)
    earlier = [checkpoint.parent / f"step-{step:08d}.safetensors" for step in (10, 100, 500)]
    for place, source in enumerate([*earlier, checkpoint]):
        row, column = divmod(place, 2)
        tile = whole[row * 516 : row * 516 + 508, column * 516 : column * 516 + 508]
        drawn = Image.fromarray(load(source).draw([picture.seed])[0]).resize((508, 508))
        assert np.abs(tile - np.asarray(drawn)).mean() < 12, source.name


def test_what_a_run_can_not_show_is_a_sentence(studio: Studio, checkpoint: Path, tmp_path: Path) -> None:
    studio.require_stages()
    other = make_checkpoint(tmp_path / "other.safetensors", seed=9, step=1000)
    first = checkpoint.parent / "step-00000100.safetensors"
    wrong = {
        "set MESHIBOT_RUN": replace(studio, run=None),
        "is no checkpoint of the run": replace(studio, checkpoint=lambda: other),
        "kept 2 checkpoints from before step 100": replace(studio, checkpoint=lambda: first),
        "mount its disk": replace(studio, run=tmp_path),
        "There is no checkpoint": replace(studio, checkpoint=lambda: tmp_path / "none.safetensors"),
    }
    for says, broken in wrong.items():
        with pytest.raises(MeshibotError, match=re.escape(says)):
            broken.require_stages()
