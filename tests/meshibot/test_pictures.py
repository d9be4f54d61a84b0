"""Pictures are scaled, laid out, fitted and labelled; what is read back is what was written."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from meshibot.pictures import (
    TRAINED_ALGORITHMIC_MEDIA,
    Label,
    PictureError,
    encode,
    grid,
    render,
    scale_up,
)
from testbed.labels import digital_source_type

LABEL = Label('四杯 <"&"> of nothing', creator_tool="meshibot test")


def bowl(side: int = 64, colour: tuple[int, int, int] = (200, 60, 30)) -> Image.Image:
    """A disc on a table, drawn here."""
    image = Image.new("RGB", (side, side), (40, 90, 160))
    ImageDraw.Draw(image).ellipse((side // 8, side // 8, side - side // 8, side - side // 8), fill=colour)
    return image


@pytest.mark.parametrize(("source", "side"), [(64, 1024), (32, 1024), (48, 1000), (128, 64), (64, 64)])
def test_scaling_keeps_what_is_seen(source: int, side: int) -> None:
    large = scale_up(bowl(source), side)
    assert large.size == (side, side)
    small = large.resize((8, 8), Image.Resampling.BOX)
    expected = bowl(source).resize((8, 8), Image.Resampling.BOX)
    difference = max(abs(a - b) for a, b in zip(small.tobytes(), expected.tobytes(), strict=True))
    assert difference <= 12


@pytest.mark.parametrize("speck", [0, 255])
def test_a_single_pixel_that_sticks_out_does_not_become_a_dot_and_an_edge_stays(speck: int) -> None:
    half = Image.new("RGB", (64, 64), (180, 150, 120))
    half.paste((40, 60, 50), (32, 0, 64, 64))
    speckled = half.copy()
    for place in ((10, 10), (20, 41), (50, 7)):
        speckled.putpixel(place, (speck, speck, speck))
    assert scale_up(speckled, 256).tobytes() == scale_up(half, 256).tobytes()
    assert scale_up(speckled, 64).tobytes() == speckled.tobytes(), "what is not enlarged stays as it is"


@pytest.mark.parametrize("side", [1024, 101])
def test_grid_puts_four_pictures_in_reading_order_with_a_gap(side: int) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)]
    sheet = grid([Image.new("RGB", (16, 16), colour) for colour in colours], side)
    assert sheet.size == (side, side)
    quarter = side // 4
    corners = [(0, 0), (side - 1, 0), (0, side - 1), (side - 1, side - 1)]
    middles = [
        (quarter, quarter),
        (side - quarter, quarter),
        (quarter, side - quarter),
        (side - quarter,) * 2,
    ]
    for place, colour in zip(corners + middles, colours * 2, strict=True):
        assert sheet.getpixel(place) == colour
    assert sheet.getpixel((side // 2, side // 2)) not in colours
    with pytest.raises(ValueError, match="4 or 9 pictures"):
        grid([bowl()])


@pytest.mark.parametrize("side", [1024, 1025, 1026, 103])
def test_a_grid_of_nine_has_equal_pictures_and_gaps_up_to_a_pixel(side: int) -> None:
    colours = [(28 * number, 255 - 28 * number, 0) for number in range(9)]
    sheet = grid([Image.new("RGB", (16, 16), colour) for colour in colours], side)
    assert sheet.size == (side, side)
    row = [sheet.getpixel((x, side // 6)) for x in range(side)]
    widths = [row.count(colour) for colour in colours[:3]]
    assert len(set(widths)) == 1
    assert row[0] == colours[0]
    assert row[-1] == colours[2]
    third = [side // 6, side // 2, side - side // 6]
    assert [sheet.getpixel((x, y)) for y in third for x in third] == colours
    between = row.index(colours[1]) - widths[0]
    assert abs(between - (side - 3 * widths[0] - between)) <= 1


def test_a_file_carries_the_label(tmp_path: Path) -> None:
    file = tmp_path / "bowl"
    file.write_bytes(encode(bowl(), 5_000_000, LABEL))
    assert digital_source_type(file) == TRAINED_ALGORITHMIC_MEDIA
    with Image.open(file) as image:
        assert image.format == "JPEG"
        xmp = image.info["xmp"]
    tree = ElementTree.fromstring(xmp)  # noqa: S314 - our own file
    assert "".join(tree.itertext()).split() == (
        f"{TRAINED_ALGORITHMIC_MEDIA} meshibot test {LABEL.description}".split()
    )


def test_quality_steps_down_until_it_fits() -> None:
    noise = Image.effect_noise((256, 256), 80).convert("RGB")
    roomy = encode(noise, 5_000_000, LABEL)
    tight = encode(noise, len(roomy) * 2 // 3, LABEL)
    assert len(tight) <= len(roomy) * 2 // 3


def test_what_cannot_fit_is_said() -> None:
    with pytest.raises(PictureError, match="doesn't fit into 500 bytes"):
        encode(bowl(), 500, LABEL)


@pytest.mark.parametrize("count", [1, 4])
def test_render_writes_one_file_and_leaves_nothing_else(tmp_path: Path, count: int) -> None:
    sources = []
    for number in range(count):
        sources.append(tmp_path / f"{number}.png")
        bowl(32, (60 * number, 90, 30)).save(sources[-1])
    target = tmp_path / "out" / "post.jpg"
    render(sources, target, LABEL, side=128, max_bytes=5_000_000)
    with Image.open(target) as image:
        assert image.size == (128, 128)
    assert digital_source_type(target) == TRAINED_ALGORITHMIC_MEDIA
    assert list(target.parent.iterdir()) == [target]


def test_render_names_the_file_that_is_broken(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"broken\.png can't be read"):
        render([broken], tmp_path / "post.jpg", LABEL, max_bytes=5_000_000)
    bowl().save(tmp_path / "fine.png")
    with pytest.raises(PictureError, match=r"can't be written: (Not a directory|File exists)"):
        render([tmp_path / "fine.png"], broken / "post.jpg", LABEL, max_bytes=5_000_000)


def test_nothing_heavy_comes_along() -> None:
    heavy = "print(*{'torch', 'imagehash', 'scipy', 'numpy', 'tweepy'} & set(sys.modules))"
    said = subprocess.run(
        [sys.executable, "-c", f"import sys, meshibot.pictures, meshibot.captions; {heavy}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == ""
