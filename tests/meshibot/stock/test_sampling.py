"""The sampling room, in this process and as the child that it is in life."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from meshibot.errors import MeshibotError, NothingToDo, UsageError
from meshibot.stock import sampler
from meshibot.stock.sampler import SamplingRequest, SamplingResult, sample_in_child
from meshibot.stock.sampling import sample
from meshibot.stock.selection import distance
from meshibot.thresholds import LOOK_ALIKE
from testbed.command import ROOT
from tests.checkpoints import make_checkpoint
from trainer.checkpoint import Checkpoint, load
from trainer.hashes import perceptual_hash
from trainer.metadata import read_metadata


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors")


@pytest.fixture
def request_(checkpoint: Path, tmp_path: Path) -> SamplingRequest:
    return SamplingRequest(checkpoint, tmp_path / "out", count=3, min_quantile=0.5, seed=7)


def test_the_pictures_are_the_best_of_all_that_were_looked_at(request_: SamplingRequest) -> None:
    result = sample(request_)
    assert len(result.pictures) == 3
    assert result.candidates == 3 * request_.candidates
    every = sample(replace(request_, count=12, candidates=1, min_quantile=0.0)).pictures
    assert [p.seed for p in result.pictures] == [p.seed for p in every][:3]
    networks = load(request_.checkpoint)
    for picture in result.pictures:
        (score,) = networks.score(networks.sample([picture.seed])).tolist()
        assert score == pytest.approx(picture.score, abs=1e-4)
        assert picture.quantile == networks.metadata.quantile_of(picture.score) >= 0.5
    assert result.best_quantile == pytest.approx(max(picture.quantile for picture in result.pictures))
    assert result.checkpoint == hashlib.sha256(request_.checkpoint.read_bytes()).hexdigest()


def test_one_picture_is_the_best_of_several_all_the_same(request_: SamplingRequest) -> None:
    assert sample(replace(request_, count=1)).candidates == 8


def test_files_are_what_the_answer_says(request_: SamplingRequest) -> None:
    for picture in sample(request_).pictures:
        assert hashlib.sha256(picture.file.read_bytes()).hexdigest() == picture.sha256
        with Image.open(picture.file) as image:
            assert (image.size, image.mode) == ((32, 32), "RGB")
            assert perceptual_hash(image) == picture.phash


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others(request_: SamplingRequest) -> None:
    first, again = sample(request_), sample(request_)
    other = sample(replace(request_, seed=8))
    assert [p.sha256 for p in first.pictures] == [p.sha256 for p in again.pictures]
    assert not {p.sha256 for p in first.pictures} & {p.sha256 for p in other.pictures}


def test_on_any_number_of_cores_the_pictures_are_the_same_and_the_layers_take_one_each(
    request_: SamplingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(request_, count=12, min_quantile=0.0)
    threads, draw = set(), Checkpoint.sample

    def noted(checkpoint: Checkpoint, seeds: Sequence[int]) -> torch.Tensor:
        threads.add((threading.get_ident(), torch.get_num_threads()))
        time.sleep(0.05)  # so that no thread takes all chunks before the others have begun
        return draw(checkpoint, seeds)

    monkeypatch.setattr(Checkpoint, "sample", noted)
    seen = []
    before = torch.get_num_threads()
    try:
        for cores in (1, 3):
            torch.set_num_threads(cores)
            threads.clear()
            seen.append(sample(asked).pictures)
            assert torch.get_num_threads() == cores
            assert len(threads) == cores
            assert {of_layers for _, of_layers in threads} == {1}
    finally:
        torch.set_num_threads(before)
    assert seen[0] == seen[1]


def test_what_looks_like_a_recent_post_is_avoided(request_: SamplingRequest) -> None:
    first = sample(request_).pictures
    hashes = [picture.phash for picture in first]
    second = sample(replace(request_, avoid=tuple(hashes))).pictures
    assert all(distance(p.phash, phash) >= LOOK_ALIKE for p in second for phash in hashes)
    pairs = [(a, b) for a in hashes for b in hashes if a < b]
    assert all(distance(a, b) >= LOOK_ALIKE for a, b in pairs)


def test_a_copy_of_a_training_photograph_is_refused(request_: SamplingRequest, tmp_path: Path) -> None:
    (first, *_) = sample(request_).pictures
    copied = make_checkpoint(tmp_path / "copied.safetensors", training_hashes=(f"{first.phash:016x}",))
    assert first.seed not in [p.seed for p in sample(replace(request_, checkpoint=copied)).pictures]
    only = replace(request_, checkpoint=copied, candidates=1, max_candidates=40, min_quantile=0.0, count=40)
    result = sample(only)
    assert len(result.pictures) <= 40 == result.candidates


def test_the_share_that_was_believed_is_counted(request_: SamplingRequest) -> None:
    result = sample(replace(request_, count=12))
    assert result.acceptance == result.believed / result.candidates == pytest.approx(0.5, abs=0.15)


def test_with_quantile_zero_every_picture_passes(request_: SamplingRequest, tmp_path: Path) -> None:
    far = make_checkpoint(tmp_path / "far.safetensors", out_of_reach=1000.0)
    result = sample(replace(request_, checkpoint=far, min_quantile=0.0))
    assert result.acceptance == 1.0
    assert [picture.quantile for picture in result.pictures] == [0.0, 0.0, 0.0]


def test_when_nothing_passes_the_sentence_says_what_to_change(
    request_: SamplingRequest, tmp_path: Path
) -> None:
    choosy = replace(request_, checkpoint=make_checkpoint(tmp_path / "choosy.safetensors", out_of_reach=0.3))
    best = sample(replace(choosy, min_quantile=0.0, count=2)).best_quantile
    assert 0 < best < 1
    with pytest.raises(NothingToDo) as caught:
        sample(replace(choosy, min_quantile=1.0, count=2, max_candidates=8))
    sentence = str(caught.value)
    assert "None of 8 candidates" in sentence
    assert "acceptance rate 0 %" in sentence
    assert f"lower MESHIBOT_MIN_QUANTILE to at most {int(best * 100) / 100:.2f}" in sentence
    assert not list((tmp_path / "out").glob("*/*"))


def test_when_everything_looks_like_what_was_posted_the_sentence_says_so(
    request_: SamplingRequest, tmp_path: Path
) -> None:
    collapsed = make_checkpoint(tmp_path / "collapsed.safetensors", collapsed=True)
    again = replace(request_, checkpoint=collapsed, min_quantile=0.0, max_candidates=8)
    (picture,) = sample(again).pictures
    with pytest.raises(NothingToDo, match=r"is new \(of 8 .* 8 look like recent .*: use another checkpoint"):
        sample(replace(again, avoid=(picture.phash,)))


def test_the_child_answers_as_the_room_does(request_: SamplingRequest) -> None:
    assert sample_in_child(request_) == sample(request_)


def test_the_parent_needs_no_torch() -> None:
    code = "import sys, meshibot.stock.sampler, meshibot.stock.stock; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_what_the_child_says_is_raised(request_: SamplingRequest, tmp_path: Path) -> None:
    far = make_checkpoint(tmp_path / "far.safetensors", out_of_reach=1000.0)
    with pytest.raises(NothingToDo, match="lower MESHIBOT_MIN_QUANTILE to at most"):
        sample_in_child(replace(request_, checkpoint=far, max_candidates=4))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(request_.checkpoint.read_bytes()[:-100])
    with pytest.raises(UsageError, match="cut short"):
        sample_in_child(replace(request_, checkpoint=broken))


def test_a_folder_that_can_not_be_written_is_a_sentence(request_: SamplingRequest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MeshibotError, match="can't be written"):
        sample_in_child(replace(request_, folder=tmp_path / "file" / "out"))


def test_a_child_that_takes_too_long_is_ended(request_: SamplingRequest) -> None:
    with pytest.raises(MeshibotError, match=r"longer than 0.01 seconds and was ended"):
        sample_in_child(request_, timeout=0.01)


def test_a_child_is_stopped_when_the_bot_stops(request_: SamplingRequest) -> None:
    asked = time.monotonic()
    with pytest.raises(MeshibotError, match="Sampling was stopped"):
        sample_in_child(replace(request_, count=10_000), stopping=lambda: time.monotonic() > asked + 0.5)


@pytest.mark.parametrize(
    ("status", "stderr", "kind", "said"),
    [
        (-9, "", MeshibotError, "ended by SIGKILL: if memory ran out"),
        (1, "", MeshibotError, "ended with status 1 and said nothing"),
        (2, "warning\n\nNo checkpoint.\n", UsageError, "^No checkpoint.$"),
        (3, "Nothing.\n", NothingToDo, "^Nothing.$"),
    ],
)
def test_how_the_end_of_a_child_is_read(
    status: int, stderr: str, kind: type[MeshibotError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        raise sampler._failure(status, stderr)


def test_requests_and_results_survive_the_pipe(request_: SamplingRequest) -> None:
    wide = replace(request_, avoid=(0, 2**64 - 1), max_candidates=5)
    assert SamplingRequest.from_json(wide.to_json()) == wide
    result = sample(replace(request_, count=1))
    assert SamplingResult.from_json(result.to_json()) == result
    assert json.loads(result.to_json())["resolution"] == read_metadata(request_.checkpoint).resolution
