"""What a picture's bytes say is what is learned: colours, orientation, transparency, depth."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tests.trainer.photographs import BLUE, GREEN, RED, WHITE, broken_files, encode, odd_files
from trainer.data.decode import UnusableError, decode_square, decode_whole

Colour = tuple[int, ...]


def halves(left: Colour, right: Colour, mode: str = "RGB", size: tuple[int, int] = (96, 96)) -> Image.Image:
    picture = Image.new(mode, size, left)
    picture.paste(right, (size[0] // 2, 0, *size))
    return picture


def near(pixel: np.ndarray, colour: Colour, tolerance: int = 6) -> bool:
    return bool(np.abs(pixel.astype(int) - np.array(colour)).max() <= tolerance)


def at_quarters(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The middle of the left and of the right half."""
    square = decode_square(data, 32)
    assert square.shape == (32, 32, 3)
    assert square.dtype == np.uint8
    return square[16, 7], square[16, 24]


@pytest.mark.parametrize("name", odd_files())
def test_odd_pictures_become_rgb_squares(name: str) -> None:
    square = decode_square(odd_files()[name], 64)
    assert square.shape == (64, 64, 3)
    assert square.std() > 5  # a picture, not a plain surface


@pytest.mark.parametrize("name", [name for name in broken_files() if not name.startswith(".")])
def test_broken_pictures_say_why(name: str) -> None:
    data, reason = broken_files()[name]
    with pytest.raises(UnusableError, match=f"^{reason}"):
        decode_square(data, 64)


FILES = list(odd_files().values())


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300)
@given(
    data=st.sampled_from(FILES),
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    end=st.floats(0, 1),
)
def test_whatever_happened_to_the_bytes_it_is_a_square_or_a_reason(
    data: bytes, places: list[tuple[float, int]], end: float
) -> None:
    harmed = bytearray(data)
    for place, value in places:
        harmed[int(len(harmed) * place**3)] = value  # headers more often than pixels
    cut = bytes(harmed[: max(1, int(len(harmed) * end**0.2))])
    try:
        square = decode_square(cut, 32)
    except UnusableError:
        return  # any other exception fails the test
    assert square.shape == (32, 32, 3)


def test_the_centre_square_is_cut_out() -> None:
    wide = Image.new("RGB", (200, 100), BLUE)
    wide.paste(RED, (50, 0, 150, 100))
    square = decode_square(encode(wide, "PNG"), 32)
    assert near(square[0, 1], RED)
    assert near(square[31, 30], RED)


@pytest.mark.parametrize("size", [(64, 64), (97, 64), (1200, 900)])
def test_a_resize_keeps_the_mean_colour(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    square = decode_square(encode(Image.fromarray(noise), "PNG"), 32)
    assert abs(float(square.mean()) - 127.5) < 4
    assert square.std() < 60  # averaged, not picked: noise of 74 gets quieter even at a half


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    picture = Image.new("RGB", (96, 96), WHITE)
    picture.paste(RED, (0, 0, 48, 48))
    picture.paste(GREEN, (48, 0, 96, 48))
    picture.paste(BLUE, (0, 48, 48, 96))
    exif = Image.Exif()
    exif[0x0112] = orientation
    square = decode_square(encode(picture, kind, exif=exif), 32)
    # Which quarter (top left, top right, bottom left, bottom right) each colour has to end in, by the EXIF
    # standard: 0th row and 0th column are visually top/left, top/right, bottom/right, bottom/left, ...
    quarters = {
        1: (RED, GREEN, BLUE, WHITE),
        2: (GREEN, RED, WHITE, BLUE),
        3: (WHITE, BLUE, GREEN, RED),
        4: (BLUE, WHITE, RED, GREEN),
        5: (RED, BLUE, GREEN, WHITE),
        6: (BLUE, RED, WHITE, GREEN),
        7: (WHITE, GREEN, BLUE, RED),
        8: (GREEN, WHITE, RED, BLUE),
    }[orientation]
    found = (square[7, 7], square[7, 24], square[24, 7], square[24, 24])
    assert all(near(pixel, colour, 40) for pixel, colour in zip(found, quarters, strict=True)), found


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_lose_the_picture() -> None:
    data = encode(halves(RED, BLUE), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 30)
    left, right = at_quarters(data)
    assert near(left, RED, 20)
    assert near(right, BLUE, 20)


def test_cmyk_is_not_inverted() -> None:
    data = encode(halves((0, 255, 255, 0), (255, 255, 0, 0), "CMYK"), "JPEG", quality=95)
    left, right = at_quarters(data)
    assert near(left, RED, 12)
    assert near(right, BLUE, 12)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.repeat(np.linspace(0, 65535, 96).astype(np.uint16)[None], 96, axis=0)
    row = decode_square(encode(Image.fromarray(ramp), "PNG"), 32)[16, :, 0].astype(int)
    assert np.all(np.diff(row) > 0)
    assert abs(row[16] - 128) < 8


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floats_fill_the_range(white: float) -> None:
    ramp = np.repeat(np.linspace(0, white, 96, dtype=np.float32)[None], 96, axis=0)
    row = decode_square(encode(Image.fromarray(ramp), "TIFF"), 32)[16, :, 0].astype(int)
    assert row[0] < 8
    assert row[-1] > 247


def test_transparency_lies_over_white() -> None:
    alpha = halves((255, 0, 0, 255), (0, 0, 0, 0), "RGBA")
    grey = halves((60, 255), (0, 0), "LA")
    indexed = halves(RED, BLUE).quantize(4)
    keyed = halves(RED, BLUE)
    blue = indexed.getpixel((90, 10))
    for data, opaque in [
        (encode(alpha, "PNG"), RED),
        (encode(alpha, "WEBP", lossless=True), RED),
        (encode(grey, "PNG"), (60, 60, 60)),
        (encode(indexed, "PNG", transparency=blue), RED),
        (encode(indexed, "GIF", transparency=blue), RED),
        (encode(keyed, "PNG", transparency=BLUE), RED),
    ]:
        left, right = at_quarters(data)
        assert near(left, opaque)
        assert near(right, WHITE)


def test_the_first_frame_counts() -> None:
    frames = [halves(RED, BLUE), halves(GREEN, GREEN)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        left, right = at_quarters(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert near(left, RED, 30), kind
        assert near(right, BLUE, 30), kind


def swapped_profile() -> bytes:
    """sRGB with the primaries of red and blue exchanged: a profile that visibly does something."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)
    return profile.replace(b"s\0R\0G\0B", b"o\0d\0d\0!")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_icc_profile_is_applied(mode: str) -> None:
    picture = halves(RED, BLUE).convert(mode)
    left, right = at_quarters(encode(picture, "PNG", icc_profile=swapped_profile()))
    assert near(left, BLUE, 12)
    assert near(right, RED, 12)


def test_a_broken_icc_profile_is_ignored() -> None:
    for profile in (b"nonsense" * 20, swapped_profile()[:300]):
        left, right = at_quarters(encode(halves(RED, BLUE), "JPEG", icc_profile=profile, quality=95))
        assert near(left, RED, 12)
        assert near(right, BLUE, 12)


def test_the_smallest_that_is_accepted_is_half_the_resolution() -> None:
    assert decode_square(encode(Image.new("RGB", (32, 50)), "PNG"), 64).shape == (64, 64, 3)
    with pytest.raises(UnusableError, match="smaller than 32 px"):
        decode_square(encode(Image.new("RGB", (31, 50)), "PNG"), 64)


def test_the_whole_picture_keeps_its_shape() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = decode_whole(encode(halves(RED, BLUE, size=(120, 60)), "PNG", exif=exif), smallest=32)
    assert whole.size == (60, 120)
    assert whole.mode == "RGB"
    assert whole.getpixel((30, 10)) == RED


def test_reading_a_picture_leaves_nothing_open() -> None:
    data = io.BytesIO(encode(halves(RED, BLUE), "PNG")).getvalue()
    decode_square(data, 32)  # a ResourceWarning would be an error here
