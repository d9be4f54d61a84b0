"""What a picture's bytes say is what is learned: colours, orientation, transparency, depth."""

import io
import struct
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

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


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """sRGB with the primaries of red and blue exchanged: what it does is seen. It is called sRGB all the
    same."""
    profile = srgb_profile()
    return profile.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)


def grey_profile(gamma: float) -> bytes:
    """Of a grey device whose light is a sample to the power of `gamma` (ICC.1:2022, sections 7 and 10.6)."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma)) + b"\0\0"
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(65536 * x) for x in (0.9642, 1.0, 0.8249)))
    words = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + b"\0" * 79
    at = 128 + 4 + 12 * 3
    index = body = b""
    for name, content in ((b"desc", words), (b"wtpt", white), (b"kTRC", curve)):
        index += name + struct.pack(">II", at + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s12s4s", at + len(body), b"", 0x02400000, b"mntr", b"GRAY", b"XYZ ",
                         b"\x07\xe0\0\1\0\1", b"acsp")  # fmt: skip
    header = (header + b"\0" * 28 + white[8:]).ljust(128, b"\0")
    return header + struct.pack(">I", 3) + index + body


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_icc_profile_is_applied(mode: str) -> None:
    picture = halves(RED, BLUE).convert(mode)
    left, right = at_quarters(encode(picture, "PNG", icc_profile=swapped_profile()))
    assert near(left, BLUE, 12)
    assert near(right, RED, 12)


def encode_png(picture: Image.Image, *, icc_profile: bytes = b"", gamma: int = 0) -> bytes:
    chunks = PngImagePlugin.PngInfo()
    if gamma:
        chunks.add(b"gAMA", struct.pack(">I", gamma))
    return encode(picture, "PNG", pnginfo=chunks, icc_profile=icc_profile or None)


def test_srgb_pixels_stay_as_they_are() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    for data in (encode_png(picture, icc_profile=srgb_profile()), encode_png(picture, gamma=45455)):
        assert np.array_equal(decode_square(data, 32), noise)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_a_grey_profile_is_applied_to_what_is_grey(mode: str) -> None:
    """Samples that are light itself: a fifth of the light is 124 in sRGB."""
    picture = halves((51, 51, 51), (204, 204, 204)).convert("L").convert(mode)
    left, right = at_quarters(encode(picture, "PNG", icc_profile=grey_profile(1.0)))
    assert near(left, (124, 124, 124), 4), left
    assert near(right, (231, 231, 231), 4), right


def test_a_grey_profile_does_not_take_colours_away() -> None:
    left, right = at_quarters(encode(halves(RED, BLUE), "PNG", icc_profile=grey_profile(1.0)))
    assert near(left, RED)
    assert near(right, BLUE)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_a_png_of_linear_light_is_not_dark(mode: str) -> None:
    picture = halves((51, 51, 51), (204, 204, 204)).convert(mode)
    left, right = at_quarters(encode_png(picture, gamma=100_000))
    assert near(left, (124, 124, 124), 2), left
    assert near(right, (231, 231, 231), 2), right


def test_a_profile_is_believed_before_a_gamma() -> None:
    data = encode_png(halves((51, 51, 51), WHITE), gamma=100_000, icc_profile=srgb_profile())
    assert near(at_quarters(data)[0], (51, 51, 51), 2)


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iTXt packed"])
@pytest.mark.parametrize("after", [False, True])
def test_a_png_with_a_book_in_it_is_read(kind: str, after: bool) -> None:
    chunks = PngImagePlugin.PngInfo()
    words = "noodles " * 1_000_000
    if kind.startswith("iTXt"):
        chunks.add_itxt("history", words, zip=kind.endswith("packed"))
    else:
        chunks.add_text("history", words, zip=kind == "zTXt")
    data = encode(halves(RED, BLUE), "PNG", pnginfo=chunks)
    if after:  # as some write it: behind the picture
        start, end = data.index(kind[:4].encode()) - 4, data.index(b"IDAT") - 4
        data = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    left, right = at_quarters(data)
    assert near(left, RED)
    assert near(right, BLUE)
    assert decode_whole(data, 32).size == (96, 96)


def test_a_png_with_a_large_profile_is_read() -> None:
    profile = swapped_profile()
    profile = struct.pack(">I", len(profile) + 2**21) + profile[4:] + bytes(2**21)
    left, _ = at_quarters(encode(halves(RED, BLUE), "PNG", icc_profile=profile))
    assert near(left, BLUE, 12)


def test_an_orientation_in_a_text_is_kept() -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="3"/>', zip=True)
    left, right = at_quarters(encode(halves(RED, BLUE), "PNG", pnginfo=chunks))
    assert near(left, BLUE)
    assert near(right, RED)


@pytest.mark.parametrize(
    "brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic", b"heis\0\0\0\0heis    "]
)
def test_heic_is_named_with_what_to_do(brands: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(100)
    monkeypatch.setattr("trainer.data.decode._formats", lambda: ("JPEG", "PNG"))
    with pytest.raises(UnusableError, match=r"^HEIC.*pip install pillow-heif.*JPEG"):
        decode_square(data, 32)


def test_avif_is_named_where_pillow_was_built_without(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(halves(RED, BLUE), "AVIF")
    monkeypatch.setattr("trainer.data.decode._formats", lambda: ("JPEG", "PNG"))
    with pytest.raises(UnusableError, match=r"^AVIF.*convert"):
        decode_square(data, 32)


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="pillow-heif is an extra")
def test_heic_is_read_with_pillow_heif() -> None:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(halves(RED, BLUE)).save(buffer, quality=90)
    left, right = at_quarters(buffer.getvalue())
    assert near(left, RED, 12)
    assert near(right, BLUE, 12)
    with pytest.raises(UnusableError):
        decode_square(buffer.getvalue()[:400], 32)


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
