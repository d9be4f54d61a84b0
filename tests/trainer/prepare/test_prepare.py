"""What `trainer prepare` writes, what it leaves out, and the page that says so."""

import io
import re
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from tests.trainer.photographs import bowl, broken_files, encode, odd_files, write_files
from trainer.data.dataset import load_dataset
from trainer.errors import TrainerError, UsageError
from trainer.prepare.bars import without_bars
from trainer.prepare.prepare import PrepareReport, prepare


def scene(seed: int, size: tuple[int, int] = (200, 160)) -> Image.Image:
    """Busier than `bowl`: perceptual hashes need something to see, edges included."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
    return Image.blend(coarse.resize(size, Image.Resampling.BICUBIC), bowl(seed, size), 0.4)


def run(source: Path, out: Path, resolution: int = 128) -> PrepareReport:
    return prepare(source, out, resolution=resolution, progress=False, workers=2)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    write_files(tmp_path / "found", {f"{seed}.png": encode(scene(seed), "PNG") for seed in range(5)})
    return tmp_path / "found"


# --- what is written ---


def test_upright_srgb_squares_without_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera that tells where it was"
    picture = Image.new("RGB", (200, 160), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 100, 160))
    write_files(
        tmp_path / "found", {"a.jpg": encode(picture, "JPEG", exif=exif), "b.png": encode(scene(1), "PNG")}
    )
    report = run(tmp_path / "found", tmp_path / "ready")
    assert report.written == 2
    for path in report.out.iterdir():
        with Image.open(path) as written:
            assert (written.format, written.mode, written.size) == ("JPEG", "RGB", (128, 128))
            assert not written.getexif()
            if written.getpixel((64, 3))[0] > 200:  # type: ignore[index]
                assert written.getpixel((64, 124))[2] > 200  # type: ignore[index]
                break
    else:
        pytest.fail("the turned picture is not upright")


def test_small_squares_are_not_blown_up(tmp_path: Path) -> None:
    write_files(tmp_path / "found", {"a.png": encode(scene(1, (90, 70)), "PNG")})
    report = run(tmp_path / "found", tmp_path / "ready")
    (written,) = report.out.iterdir()
    with Image.open(written) as picture:
        assert picture.size == (70, 70)


def test_fit_reads_the_folder_and_the_zip_alike(tmp_path: Path, scenes: Path) -> None:
    folder, archive = run(scenes, tmp_path / "ready"), run(scenes, tmp_path / "packed" / "ready.zip")
    datasets = [
        load_dataset(report.out, 64, cache=tmp_path / "cache", progress=False) for report in (folder, archive)
    ]
    assert datasets[0].fingerprint == datasets[1].fingerprint
    assert not datasets[0].left_out
    assert len(datasets[0].training) + len(datasets[0].held_out) == 5
    assert (tmp_path / "packed" / "ready-report.html").exists()
    with zipfile.ZipFile(archive.out) as file:
        assert file.testzip() is None


def test_two_runs_give_the_same(tmp_path: Path, scenes: Path) -> None:
    run(scenes, tmp_path / "a.zip")
    run(scenes, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_zip_is_prepared_too(tmp_path: Path, scenes: Path) -> None:
    with zipfile.ZipFile(tmp_path / "found.zip", "w") as file:
        for path in scenes.iterdir():
            file.write(path, path.name)
    assert run(tmp_path / "found.zip", tmp_path / "ready").written == 5


# --- duplicates ---


def test_copies_of_a_photograph_are_found(tmp_path: Path, scenes: Path) -> None:
    original = scene(0)
    captioned = original.copy()
    ImageDraw.Draw(captioned).text((60, 140), "ramen 2019", fill="white")
    boxed = Image.new("RGB", (200, 240))
    boxed.paste(original, (0, 40))
    copies = {
        "copy.png": encode(original, "PNG"),
        "half.jpg": encode(original.resize((100, 80)), "JPEG", quality=50),
        "mirrored.png": encode(ImageOps.mirror(original), "PNG"),
        "captioned.png": encode(captioned, "PNG"),
        "boxed.png": encode(boxed, "PNG"),
        "cropped.png": encode(original.crop((20, 0, 180, 160)), "PNG"),
        "grey.png": encode(original.convert("L"), "PNG"),
    }
    write_files(scenes, copies)
    report = run(scenes, tmp_path / "ready")
    # Which of the equally large ones is kept is decided by content; all eight are one photograph.
    family = {"0.png", *copies}
    kept = {pair.kept for pair in report.duplicates}
    assert len(kept) == 1
    assert kept <= family - {"half.jpg"}
    assert {pair.path for pair in report.duplicates} == family - kept
    assert report.written == len(list(report.out.iterdir())) == 5
    assert all(pair.distance <= 32 for pair in report.duplicates)


def test_different_photographs_are_all_kept(tmp_path: Path) -> None:
    write_files(tmp_path / "found", {f"{seed}.png": encode(scene(seed), "PNG") for seed in range(40)})
    report = run(tmp_path / "found", tmp_path / "ready")
    assert report.written == 40
    assert report.duplicates == ()


# --- what is typical ---


def test_the_least_typical_are_left_out_and_shown(tmp_path: Path) -> None:
    files = {f"bowl{seed}.png": encode(bowl(seed, (160, 160)), "PNG") for seed in range(27)}
    rng = np.random.default_rng(0)
    for name in ("noise.png", "a <snow>.png", "static.png"):
        files[name] = encode(Image.fromarray(rng.integers(0, 256, (160, 160, 3), dtype=np.uint8)), "PNG")
    write_files(tmp_path / "found", files)
    report = prepare(tmp_path / "found", tmp_path / "ready", resolution=128, keep=0.9, progress=False)
    assert set(report.untypical) == {"noise.png", "a <snow>.png", "static.png"}
    assert report.written == len(list(report.out.iterdir())) == 27
    assert "3 as least typical" in report.describe()
    page = report.page.read_text()
    assert "Least typical: 3" in page
    assert "a &lt;snow&gt;.png" in page
    assert page.count("data:image/jpeg") == 3


@pytest.mark.parametrize("keep", [0.0, -1.0, 1.5, float("nan")])
def test_what_is_no_share_is_refused(tmp_path: Path, scenes: Path, keep: float) -> None:
    with pytest.raises(UsageError, match=r"--keep .* has to be a share"):
        prepare(scenes, tmp_path / "ready", keep=keep, progress=False)
    assert not (tmp_path / "ready").exists()


def test_torch_is_imported_only_to_tell_what_is_typical(tmp_path: Path, scenes: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainer.prepare.prepare import prepare;"
        f"prepare(Path({str(scenes)!r}), Path({str(tmp_path / 'ready')!r}), resolution=128, progress=False);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- bars ---


@pytest.mark.parametrize("colour", ["black", "white", (90, 20, 30)])
@pytest.mark.parametrize("border", [(0, 30), (25, 0), (20, 20), (0, 4)])
def test_bars_are_cut(border: tuple[int, int], colour: str) -> None:
    width, height = border
    framed = Image.new("RGB", (200 + 2 * width, 160 + 2 * height), colour)
    framed.paste(scene(3), border)
    with Image.open(io.BytesIO(encode(framed, "JPEG", quality=85))) as blurred:
        box = without_bars(blurred.convert("RGB"))
    wanted = (width, height, width + 200, height + 160)
    assert all(abs(found - edge) <= 4 for found, edge in zip(box, wanted, strict=True)), box
    assert box[0] >= width
    assert box[1] >= height
    assert box[2] <= width + 200
    assert box[3] <= height + 160


def test_bars_of_a_large_picture_are_measured_on_a_reduced_one() -> None:
    framed = Image.new("RGB", (2000, 1800))
    framed.paste(scene(3).resize((2000, 1200)), (0, 300))
    left, top, right, bottom = without_bars(framed)
    assert (left, right) == (0, 2000)
    assert 300 <= top <= 320
    assert 1480 <= bottom <= 1500


def test_a_bowl_on_a_plain_ground_has_no_bars() -> None:
    for size in ((200, 160), (160, 200)):
        studio = Image.new("RGB", size, "white")
        ImageDraw.Draw(studio).ellipse((30, 30, size[0] - 30, size[1] - 30), fill=(120, 60, 20))
        assert without_bars(studio) == (0, 0, *size)


def test_a_stripe_on_one_side_only_is_part_of_the_picture() -> None:
    table = scene(4)
    table.paste("black", (0, 0, 200, 50))
    assert without_bars(table) == (0, 0, 200, 160)


def test_a_plain_picture_is_left_alone() -> None:
    assert without_bars(Image.new("RGB", (100, 80), "black")) == (0, 0, 100, 80)


# --- what is left out, and the page ---


class Reader(HTMLParser):
    """Text and picture sources, by a real parser."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.pictures: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_names_all_that_was_left_out_and_why(tmp_path: Path, scenes: Path) -> None:
    broken = broken_files()
    write_files(scenes, {name: data for name, (data, _) in broken.items()})
    boxed = Image.new("RGB", (200, 240))
    boxed.paste(scene(7), (0, 40))
    hostile = "<img src=x onerror=alert(1)>&.jpg"
    write_files(
        scenes, {"boxed.png": encode(boxed, "PNG"), "twin.png": encode(scene(0), "PNG"), hostile: b"x"}
    )
    report = run(scenes, tmp_path / "ready", resolution=64)
    assert {file.path for file in report.left_out} == {*broken, hostile}
    assert report.cut == ("boxed.png",)
    page = Reader()
    source = report.page.read_text(encoding="utf-8")
    page.feed(source)
    for name in (*broken, hostile, "boxed.png", "twin.png"):
        assert name in page.text
    assert "途中で切れている" in page.text
    assert "script" not in page.tags
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in page.pictures)
    assert len(page.pictures) == 1 + 2 + 2  # too small, a pair of duplicates, before and after the bars
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", source)
    assert "1 as duplicates, 17 as unusable; bars cut: 1" in report.describe()


def test_odd_pictures_are_all_prepared(tmp_path: Path) -> None:
    write_files(tmp_path / "found", odd_files())
    report = run(tmp_path / "found", tmp_path / "ready", resolution=64)
    assert report.left_out == ()
    assert report.written + len(report.duplicates) == len(odd_files())


# --- errors ---


def test_nothing_is_left_behind_where_nothing_is_usable(tmp_path: Path) -> None:
    write_files(tmp_path / "found", {"menu.txt": b"900 yen"})
    with pytest.raises(TrainerError, match="no picture that can be used"):
        run(tmp_path / "found", tmp_path / "ready")
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


def test_an_out_inside_of_the_photographs_is_refused(scenes: Path) -> None:
    for out in (scenes, scenes / "ready", scenes / "sub" / "ready.zip"):
        with pytest.raises(UsageError, match="lies inside of"):
            run(scenes, out)


def test_what_exists_is_never_overwritten(tmp_path: Path, scenes: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    (tmp_path / "taken.zip").write_text("keep")
    (tmp_path / "other-report.html").write_text("keep")
    for name in ("full", "taken.zip", "other"):
        with pytest.raises(UsageError, match="exists already"):
            run(scenes, tmp_path / name)
    for nameless in (Path(), Path("/")):
        with pytest.raises(UsageError, match="exists already"):
            run(scenes, nameless)
    (tmp_path / "empty").mkdir()
    assert run(scenes, tmp_path / "empty").written == 5


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, scenes: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainerError, match="can't be written: "):
        run(scenes, tmp_path / "file" / "ready")


def test_a_missing_folder_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        run(tmp_path / "nowhere", tmp_path / "ready")
    assert list(tmp_path.iterdir()) == []
