"""A folder becomes arrays: the split, what is left out, and the cache."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.photographs import broken_files, fill_folder, jpeg, odd_files, write_files
from trainer.data import cache as datacache
from trainer.data.cache import default_cache
from trainer.data.dataset import Dataset, load_dataset, write_report
from trainer.data.decode import decode_square
from trainer.data.sources import FolderSource, LeftOut
from trainer.errors import TrainerError, UsageError

Load = Callable[..., Dataset]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """`load_dataset` at 32 px, quiet, with a cache of this test's own."""

    def call(source: Path, resolution: int = 32, held_out_share: float = 0.1) -> Dataset:
        return load_dataset(
            source,
            resolution,
            cache=tmp_path / "cache",
            held_out_share=held_out_share,
            progress=False,
            workers=2,
        )

    return call


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    fill_folder(tmp_path / "photographs", range(24))
    return tmp_path / "photographs"


def sides(dataset: Dataset) -> tuple[set[bytes], set[bytes]]:
    """Training and held-out pictures as sets of their bytes."""
    return {row.tobytes() for row in dataset.training}, {row.tobytes() for row in dataset.held_out}


# --- what comes out ---


def test_a_folder_becomes_two_arrays(photographs: Path, load: Load) -> None:
    dataset = load(photographs)
    assert dataset.training.shape[1:] == dataset.held_out.shape[1:] == (32, 32, 3)
    assert dataset.training.dtype == np.uint8
    assert len(dataset.training) + len(dataset.held_out) == 24
    assert len(dataset.training_names) == len(dataset.training)
    assert sorted(dataset.training_names + dataset.held_out_names) == [f"{n:04}.jpg" for n in range(24)]
    assert dataset.left_out == ()
    assert dataset.duplicates == 0


def test_rows_and_names_belong_together(photographs: Path, load: Load) -> None:
    dataset = load(photographs)
    for name, row in zip(dataset.training_names, dataset.training, strict=True):
        assert np.array_equal(row, decode_square((photographs / name).read_bytes(), 32))


def test_rows_lie_in_the_order_of_their_content(photographs: Path, load: Load) -> None:
    dataset = load(photographs)
    names = dataset.held_out_names + dataset.training_names
    hashes = [hashlib.sha256((photographs / name).read_bytes()).hexdigest() for name in names]
    assert hashes == sorted(hashes)
    limit = "1999999999999999"  # a tenth of the range
    held_out = {name for name, digest in zip(names, hashes, strict=True) if digest[:16] < limit}
    assert set(dataset.held_out_names) == held_out


def test_odd_and_broken_files(tmp_path: Path, load: Load) -> None:
    broken = broken_files()
    folder = tmp_path / "real life"
    write_files(folder, {name: data for name, (data, _) in broken.items()})
    write_files(folder, odd_files())
    for dataset in (load(folder, 64), load(folder, 64)):  # from the files, then from the cache
        assert len(dataset.training) + len(dataset.held_out) == len(odd_files())
        assert set(dataset.training_names + dataset.held_out_names) == set(odd_files())
        reasons = {file.path: file.reason for file in dataset.left_out}
        assert reasons.keys() == broken.keys()
        for name, (_, reason) in broken.items():
            assert reasons[name].startswith(reason), name
    assert dataset.from_cache
    assert "15 files left out" in dataset.describe()


def test_the_same_content_is_used_once(photographs: Path, load: Load) -> None:
    fingerprint = load(photographs).fingerprint
    shutil.copy(photographs / "0003.jpg", photographs / "a copy.jpg")
    dataset = load(photographs)
    assert dataset.duplicates == 1
    assert len(dataset.training) + len(dataset.held_out) == 24
    assert dataset.fingerprint == fingerprint
    assert "0003.jpg" in dataset.training_names + dataset.held_out_names


def test_a_report_names_each_file_left_out(tmp_path: Path, photographs: Path, load: Load) -> None:
    (photographs / "menü.txt").write_text("900 yen")
    write_report(load(photographs), tmp_path / "run" / "data_report.json")
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())
    assert report["left_out"] == [{"path": "menü.txt", "reason": "not a picture"}]
    assert report["training"] + report["held_out"] == 24


def test_a_zip_gives_what_the_folder_gives(tmp_path: Path, photographs: Path, load: Load) -> None:
    with zipfile.ZipFile(tmp_path / "photographs.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in photographs.iterdir():
            file.write(path, f"inside/{path.name}")
    packed, unpacked = load(tmp_path / "photographs.zip"), load(photographs)
    assert packed.fingerprint == unpacked.fingerprint
    assert np.array_equal(packed.training, unpacked.training)
    assert unpacked.from_cache


def test_a_damaged_member_of_a_zip_is_named(tmp_path: Path, photographs: Path, load: Load) -> None:
    with zipfile.ZipFile(tmp_path / "photographs.zip", "w") as file:
        for path in sorted(photographs.iterdir()):
            file.write(path, path.name)
    data = bytearray((tmp_path / "photographs.zip").read_bytes())
    data[300] ^= 0xFF  # within the first member
    (tmp_path / "photographs.zip").write_bytes(data)
    dataset = load(tmp_path / "photographs.zip")
    assert len(dataset.training) + len(dataset.held_out) == 23
    assert dataset.left_out == (LeftOut("0000.jpg", "unreadable (damaged inside the archive)"),)


def test_want_of_memory_is_not_remembered_as_a_fault_of_the_picture(
    photographs: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(data: bytes, resolution: int) -> np.ndarray:
        if data == jpeg(3):
            raise MemoryError
        return decode_square(data, resolution)

    with monkeypatch.context() as patch:
        patch.setattr("trainer.data.dataset.decode_square", hungry)
        dataset = load(photographs)
    assert dataset.left_out == (LeftOut("0003.jpg", "too large for the memory at hand"),)
    assert load(photographs).left_out == ()


# --- errors ---


def test_an_empty_folder_is_one_clear_error(tmp_path: Path, load: Load) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainerError, match="holds no picture that can be used: give a folder of photographs"):
        load(tmp_path / "empty")


def test_nothing_usable_says_why(tmp_path: Path, load: Load) -> None:
    write_files(tmp_path / "bad", {name: data for name, (data, _) in broken_files().items()})
    with pytest.raises(TrainerError, match=r"15 left out: 5 not a picture, .*at least 32 px"):
        load(tmp_path / "bad", 64)


def test_one_picture_is_too_few(tmp_path: Path, load: Load) -> None:
    fill_folder(tmp_path / "one", range(1))
    with pytest.raises(TrainerError, match="only one picture"):
        load(tmp_path / "one")


def test_two_pictures_are_one_on_either_side(tmp_path: Path, load: Load) -> None:
    fill_folder(tmp_path / "two", range(2))
    dataset = load(tmp_path / "two")
    assert len(dataset.training) == len(dataset.held_out) == 1


def test_a_missing_folder_and_a_file_are_wrong_usage(tmp_path: Path, load: Load) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load(tmp_path / "nowhere")
    (tmp_path / "photo.jpg").write_bytes(jpeg(1))
    with pytest.raises(UsageError, match="neither a folder nor a zip"):
        load(tmp_path / "photo.jpg")


def test_a_share_out_of_range_is_wrong_usage(photographs: Path, load: Load) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        load(photographs, held_out_share=1.0)


# --- the split ---


@settings(max_examples=12)
@given(
    seeds=st.lists(st.integers(0, 60), min_size=12, max_size=40, unique=True),
    added=st.lists(st.integers(61, 90), max_size=20, unique=True),
    shuffle=st.randoms(use_true_random=False),
)
def test_a_picture_keeps_its_side_whatever_it_is_called_and_whatever_is_added(
    seeds: list[int], added: list[int], shuffle: "object"
) -> None:
    import random

    assert isinstance(shuffle, random.Random)
    with tempfile.TemporaryDirectory() as name:
        folder, renamed = Path(name) / "a", Path(name) / "b"
        write_files(folder, {f"{seed}.png": DRAWN[seed] for seed in seeds})
        labels = list(range(len(seeds) + len(added)))
        shuffle.shuffle(labels)
        named = {f"sub{label % 3}/{label}": DRAWN[seed] for label, seed in zip(labels, seeds, strict=False)}
        write_files(renamed, named)

        def load(source: Path) -> Dataset:
            return load_dataset(
                source, 32, cache=Path(name) / "cache", held_out_share=0.3, progress=False, workers=1
            )

        first, second = load(folder), load(renamed)
        assert first.fingerprint == second.fingerprint
        assert np.array_equal(first.training, second.training)
        assert np.array_equal(first.held_out, second.held_out)
        write_files(renamed, {f"new/{seed}": DRAWN[seed] for seed in added})
        grown = load(renamed)
        training, held_out = sides(first)
        if len(held_out) > 1:  # one alone may be the one held out for want of any other
            assert held_out <= sides(grown)[1]
        assert training <= sides(grown)[0]
        assert (grown.fingerprint != first.fingerprint) == bool(added)


DRAWN = {seed: jpeg(seed, (40, 36)) for seed in range(91)}


def test_a_tenth_is_held_out(tmp_path: Path, load: Load) -> None:
    for number in range(600):  # a comment makes the content, and so the hash, each one's own
        path = tmp_path / "many" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(DRAWN[1] + number.to_bytes(2, "big"))
    dataset = load(tmp_path / "many")
    assert 35 <= len(dataset.held_out) <= 85  # 60 ± 3.4 σ, and always the same


# --- the cache ---


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(data: bytes, resolution: int) -> NoReturn:
        raise AssertionError("decoded again")

    monkeypatch.setattr("trainer.data.dataset.decode_square", decode)


def test_the_second_start_decodes_nothing(
    photographs: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(photographs)
    no_decoding(monkeypatch)
    second = load(photographs)
    assert not first.from_cache
    assert second.from_cache
    assert np.array_equal(first.training, second.training)
    assert np.array_equal(first.held_out, second.held_out)
    assert first.training_names == second.training_names
    assert first.fingerprint == second.fingerprint


def test_the_second_start_does_not_even_read_the_files(
    photographs: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photographs / "notes.txt").write_text("not a picture")
    monkeypatch.setattr(datacache, "YOUNG_NS", -60_000_000_000)  # believe stamps of this very second
    first = load(photographs)

    def read(self: FolderSource, name: str) -> NoReturn:
        raise AssertionError(f"{name} was read again")

    monkeypatch.setattr(FolderSource, "read", read)
    second = load(photographs)
    assert second.from_cache
    assert second.left_out == first.left_out


def test_renamed_files_come_from_the_cache(
    photographs: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(photographs)
    no_decoding(monkeypatch)
    for path in photographs.iterdir():
        path.rename(path.with_name(f"renamed {path.name}"))
    moved = photographs.rename(photographs.with_name("elsewhere"))
    second = load(moved)
    assert second.from_cache
    assert second.fingerprint == first.fingerprint
    assert all(name.startswith("renamed ") for name in second.training_names)


def test_only_what_is_new_is_decoded(photographs: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(photographs)
    decoded: list[bytes] = []

    def counting(data: bytes, resolution: int) -> np.ndarray:
        decoded.append(data)
        return decode_square(data, resolution)

    monkeypatch.setattr("trainer.data.dataset.decode_square", counting)
    (photographs / "new.jpg").write_bytes(jpeg(99))
    (photographs / "0000.jpg").unlink()
    second = load(photographs)
    assert decoded == [jpeg(99)]
    assert not second.from_cache
    assert len(sides(first)[0] & sides(second)[0]) >= len(first.training) - 1
    assert "new.jpg" in second.training_names + second.held_out_names
    assert "0000.jpg" not in second.training_names + second.held_out_names


def test_changed_content_is_noticed_though_size_and_date_are_the_same(
    photographs: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datacache, "YOUNG_NS", -60_000_000_000)
    path = photographs / "0005.jpg"
    first, date = load(photographs), path.stat()
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(date.st_atime_ns, date.st_mtime_ns))
    assert load(photographs).fingerprint != first.fingerprint


def test_other_resolutions_have_entries_of_their_own(photographs: Path, load: Load) -> None:
    assert load(photographs, 32).fingerprint != load(photographs, 64).fingerprint
    assert load(photographs, 32).from_cache
    assert load(photographs, 64).training.shape[1] == 64


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_pixel(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-7] ^= 0x10
    path.write_bytes(data)


def scribble(path: Path) -> None:
    path.write_bytes(b"{not an array")


@pytest.mark.parametrize("harm", [truncate, flip_a_pixel, scribble, Path.unlink])
@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_a_broken_cache_is_rebuilt_with_a_word(
    photographs: Path,
    load: Load,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[Path], object],
    suffix: str,
) -> None:
    first = load(photographs)
    (target,) = (tmp_path / "cache").glob(f"32px*{suffix}")
    harm(target)
    second = load(photographs)
    assert np.array_equal(first.training, second.training)
    assert load(photographs).from_cache
    if suffix == ".npy" or harm in (truncate, scribble):
        assert not second.from_cache
        assert "damaged: decoding them again" in capsys.readouterr().err


def test_a_broken_list_of_hashes_only_costs_time(photographs: Path, load: Load, tmp_path: Path) -> None:
    load(photographs)
    (sources,) = (tmp_path / "cache").glob("source-*.json")
    for rubbish in ("{", "[]", '{"0001.jpg": 3, "0002.jpg": [1, "x"]}'):
        sources.write_text(rubbish)
        assert len(load(photographs).training_names) + len(load(photographs).held_out_names) == 24


def test_an_unwritable_cache_is_only_a_line(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file where the cache should be")
    dataset = load_dataset(photographs, 32, cache=tmp_path / "taken", progress=False)
    assert len(dataset.training) + len(dataset.held_out) == 24
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "can't be written" in said


def test_the_cache_is_bounded(
    photographs: Path, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datacache, "MAX_ENTRIES", 2)
    for number in range(4):
        (photographs / "0000.jpg").write_bytes(jpeg(200 + number))
        load(photographs)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2
    assert load(photographs).from_cache
    monkeypatch.setattr(datacache, "MAX_BYTES", 1)
    load(photographs, 64)
    assert [path.name[:4] for path in (tmp_path / "cache").glob("*.npy")] == ["64px"]


def test_arrays_are_writable_and_the_cache_is_not_touched(photographs: Path, load: Load) -> None:
    load(photographs)
    load(photographs).training[:] = 0
    assert load(photographs).training.any()
    assert load(photographs).from_cache


def test_the_cache_lies_where_the_user_keeps_such_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/meshibot/datasets")
    monkeypatch.setenv("TRAINER_CACHE", "/chosen")
    assert default_cache() == Path("/chosen")


@pytest.mark.parametrize("missing", [(), ("platformdirs",)])
def test_a_user_without_a_home_has_a_cache_all_the_same(
    missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that runs as a user id without an entry in passwd: `~` can't be resolved."""
    for name in ("TRAINER_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert default_cache().is_absolute()
    assert default_cache().name == "datasets"


# --- what is said, and what is imported ---


def test_progress_is_plain_lines_where_there_is_no_terminal(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_dataset(photographs, 32, cache=tmp_path / "cache")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Reading photographs: 24\n" in captured.err
    assert "\x1b" not in captured.err


def test_reading_photographs_imports_neither_torch_nor_imagehash(photographs: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainer.data.dataset import load_dataset;"
        f"load_dataset(Path({str(photographs)!r}), 32, cache=Path({str(tmp_path / 'c')!r}));"
        "sys.exit(any(name in sys.modules for name in ('torch', 'imagehash', 'scipy', 'platformdirs')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
