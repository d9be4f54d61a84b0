"""One photograph's bytes to RGB: whatever a camera, a phone or a web page left in the folder.

Knows bytes and Pillow only: neither folders, nor the cache, nor the terminal.
"""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

DECODE_VERSION = 1
"""Goes up when the same bytes give other pixels."""
CACHE_VERSION = f"{DECODE_VERSION}-pillow{PIL.__version__}"
"""Another Pillow may read what this one can't."""

# Pillow can open far more, but PostScript starts another program and formats without a signature take text
# for pictures.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
MAX_PIXELS = 178_956_970
"""Pillow's own limit: a header that promises more is a decompression bomb or a mistake."""

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_TURNS = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_270,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_90,),
}
_EXIF_ORIENTATION = 0x0112


class UnusableError(Exception):
    """A picture that can't be learned from; its text is the reason, a fragment of a sentence."""


@dataclass(frozen=True)
class _Opened:
    """Loaded pixels (L, RGB, RGBA or CMYK) with what has still to be done to them."""

    pixels: Image.Image
    orientation: int
    profile: bytes | None


def decode_square(data: bytes, resolution: int) -> NDArray[np.uint8]:
    """The centre square of a picture, as (resolution, resolution, 3) sRGB.

    Raises UnusableError with the reason, also where the short side is under half of `resolution`.
    """
    opened = _open(data, smallest=(resolution + 1) // 2, draft=2 * resolution)
    width, height = opened.pixels.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    small = opened.pixels.resize(
        (resolution, resolution),
        Image.Resampling.LANCZOS,
        box=(left, top, left + side, top + side),
        reducing_gap=3.0,
    )
    # Colours and orientation come after the resize, where they cost next to nothing.
    return np.asarray(_finish(small, opened), dtype=np.uint8)


def decode_whole(data: bytes, smallest: int) -> Image.Image:
    """The whole picture upright in sRGB. Raises UnusableError, also for a short side under `smallest`."""
    opened = _open(data, smallest=smallest, draft=None)
    return _finish(opened.pixels, opened)


def _open(data: bytes, smallest: int, draft: int | None) -> _Opened:
    if not data:
        raise UnusableError("zero bytes")
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise UnusableError(f"an absurd pixel count ({width:,} × {height:,})")
            if min(width, height) < smallest:
                raise UnusableError(f"smaller than {smallest} px on its short side ({width} × {height})")
            if draft is not None and picture.format in ("JPEG", "MPO"):
                picture.draft(None, (draft, draft))  # None keeps the mode
            picture.load()
            if picture.format == "PNG":
                _check_sums(data)
            orientation = _orientation(picture)
            profile = picture.info.get("icc_profile")
            return _Opened(_eight_bits(picture), orientation, profile if isinstance(profile, bytes) else None)
    except (UnusableError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableError("an absurd pixel count") from error
    except UnidentifiedImageError as error:
        raise UnusableError(_unidentified(data)) from error
    except Exception as error:  # Pillow's decoders raise nearly anything at bytes that are damaged
        cut_short = isinstance(error, EOFError) or "truncated" in str(error).lower()
        raise UnusableError("truncated" if cut_short else "damaged") from error


def _check_sums(data: bytes) -> None:
    """Pillow loads a PNG without looking at its checksums, and shows rubbish where they are wrong."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as again:
        again.verify()


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this build of Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _unidentified(data: bytes) -> str:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return "HEIC, which can't be read here: convert it to JPEG"
    return "damaged" if data.startswith(_SIGNATURES) else "not a picture"


def _orientation(picture: Image.Image) -> int:
    """Read after loading: Pillow turns a TIFF by itself and then forgets its tag."""
    try:
        value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  # damaged EXIF data is no reason to lose the picture
        return 1
    return value if isinstance(value, int) else 1


def _eight_bits(picture: Image.Image) -> Image.Image:
    """To L, RGB, RGBA or CMYK, which can be resized, losing neither range nor transparency."""
    mode = picture.mode
    if mode.startswith("I") or mode == "F":
        return Image.fromarray(_scaled(np.asarray(picture), mode))
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    if mode in ("L", "RGB", "CMYK"):
        return picture.copy()
    return picture.convert("L" if mode == "1" else "RGB")


def _scaled(values: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """More than eight bits to eight by scaling; `convert` would clip everything bright to white.

    The range of I;16 is known; of 32-bit integers and floats it is the least usual one that holds them all.
    """
    numbers = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    highest = float(numbers.max(initial=0.0))
    usual = (
        (65535.0,) if mode.startswith("I;16") else (255.0, 65535.0) if mode == "I" else (1.0, 255.0, 65535.0)
    )
    white = next((limit for limit in usual if highest <= limit), highest)
    scaled: NDArray[np.uint8] = np.clip(np.rint(numbers * (255.0 / white)), 0, 255).astype(np.uint8)
    return scaled


def _finish(pixels: Image.Image, opened: _Opened) -> Image.Image:
    """Colours to sRGB, transparency over white, then upright."""
    alpha = pixels.getchannel("A") if pixels.mode == "RGBA" else None
    colours = pixels.convert("RGB") if alpha else pixels
    if opened.profile:
        colours = _to_srgb(colours, opened.profile)
    rgb = colours.convert("RGB")
    if alpha:
        white = Image.new("RGB", rgb.size, "white")
        white.paste(rgb, mask=alpha)
        rgb = white
    for turn in _TURNS.get(opened.orientation, ()):
        rgb = rgb.transpose(turn)
    return rgb


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Through the embedded ICC profile; a profile that is broken or of another colour space is ignored."""
    if b"sRGB" in profile[:4096] or b"s\0R\0G\0B" in profile[:4096]:
        return picture  # most of them: nothing to convert
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, embedded, _srgb(), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture
    return converted if converted is not None else picture


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
