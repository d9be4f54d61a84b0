"""One photograph's bytes to RGB: whatever a camera, a phone or a web page left in the folder.

Knows bytes and Pillow only: neither folders, nor the cache, nor the terminal.
"""

import io
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import metadata as packages

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError

DECODE_VERSION = 2
"""Goes up when the same bytes give other pixels, or another reason."""

# Pillow can open far more, but PostScript starts another program and formats without a signature take text
# for pictures. HEIF is pillow-heif's.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM")
MAX_PIXELS = 178_956_970
"""Pillow's own limit: a header that promises more is a decompression bomb or a mistake."""
MAX_TEXT = 2**16
"""Bytes of a PNG's text that may say how the picture lies. Any other text is of no use here."""

# Pillow gives a whole picture up for a colour profile or text that unpacks to more than a megabyte.
PngImagePlugin.MAX_TEXT_CHUNK = 2**24

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*")
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_HEIC_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 miaf".split())
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_ORIENTATIONS = (b"Raw profile type", b"XML:com.adobe.xmp")
"""How the keywords of those texts begin that may hold an orientation."""
_USUAL_GAMMA = (0.4, 0.5)
"""What 1/2.2 is written as: the curve of sRGB is then meant."""
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


def _heif_version() -> str:
    """Of pillow-heif, or nothing where it isn't installed."""
    try:
        return packages.version("pillow-heif")
    except packages.PackageNotFoundError:
        return ""


CACHE_VERSION = f"{DECODE_VERSION}-pillow{PIL.__version__}" + (f"-heif{v}" if (v := _heif_version()) else "")
"""Another Pillow may read what this one can't."""


class UnusableError(Exception):
    """A picture that can't be learned from; its text is the reason, a fragment of a sentence."""


@dataclass(frozen=True)
class _Opened:
    """Loaded pixels (L, RGB, RGBA or CMYK) with what has still to be done to them."""

    pixels: Image.Image
    orientation: int
    profile: bytes | None
    gamma: float | None
    """Of a PNG that has no profile: a sample is light to this power."""


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
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        data = _without_texts(data)
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
            return _Opened(_eight_bits(picture), orientation, *_colour_space(picture))
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


def _without_texts(png: bytes) -> bytes:
    """A PNG without its texts, as long as they may be; what may hold an orientation stays if it is short."""
    kept = []
    start = at = 8
    while (end := at + 12 + int.from_bytes(png[at : at + 4])) <= len(png):
        kind, content = png[at + 4 : at + 8], png[at + 8 : end - 4]
        useful = content.startswith(_PNG_ORIENTATIONS) and _unpacked_size(content) <= MAX_TEXT
        if kind in _PNG_TEXTS and not useful:
            kept.append(png[start:at])
            start = end
        at = end
    return b"".join([png[:8], *kept, png[start:]]) if kept else png


def _unpacked_size(text: bytes) -> int:
    """Of a text chunk's content, whether its last part is packed or not; MAX_TEXT + 1 at most if it is."""
    for at in {text.find(b"\0") + 2, text.rfind(b"\0") + 1}:
        try:
            return max(len(text), len(zlib.decompressobj().decompress(text[at:], MAX_TEXT + 1)))
        except zlib.error:
            continue
    return len(text)


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this build of Pillow can read, with pillow-heif where it is installed."""
    Image.init()
    if _heif_version():
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _unidentified(data: bytes) -> str:
    if data.startswith(_JPEG_XL):
        return "JPEG XL, which can't be read here: convert it to JPEG or PNG"
    brands = _brands(data)
    if any(brand in (b"avif", b"avis") for brand in brands):
        return _readable("AVIF", "convert it to JPEG or PNG")
    if brands and _HEIC_BRANDS.intersection(brands):
        return _readable("HEIF", "pip install pillow-heif, or convert it to JPEG", "HEIC")
    return "damaged" if data.startswith(_SIGNATURES) else "not a picture"


def _readable(kind: str, remedy: str, called: str = "") -> str:
    """Why a picture of this kind isn't read: it is damaged, or the kind is unknown here."""
    return "damaged" if kind in _formats() else f"{called or kind}, which can't be read here: {remedy}"


def _brands(data: bytes) -> list[bytes]:
    """The brands of an ISO base media file (ISO/IEC 14496-12, section 4.3), the major one first."""
    if data[4:8] != b"ftyp":
        return []
    box = data[: min(int.from_bytes(data[:4]), 512)]
    return [box[8:12], *(box[at : at + 4] for at in range(16, len(box) - 3, 4))]


def _colour_space(picture: Image.Image) -> tuple[bytes | None, float | None]:
    """The embedded profile, or the gamma of a PNG that has none and isn't sRGB by its own word."""
    profile, gamma = picture.info.get("icc_profile"), picture.info.get("gamma")
    if isinstance(profile, bytes) and profile:
        return profile, None
    if picture.format != "PNG" or "srgb" in picture.info or not isinstance(gamma, float):
        return None, None
    return None, gamma if 0.05 <= gamma <= 20 else None


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
    if opened.gamma and not _USUAL_GAMMA[0] <= opened.gamma <= _USUAL_GAMMA[1]:
        rgb = rgb.point(_curve(opened.gamma) * 3)
    if alpha:
        white = Image.new("RGB", rgb.size, "white")
        white.paste(rgb, mask=alpha)
        rgb = white
    for turn in _TURNS.get(opened.orientation, ()):
        rgb = rgb.transpose(turn)
    return rgb


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Through the embedded ICC profile; one that is broken or of another colour space is ignored.

    A profile is what its numbers say: many are called after sRGB and are not.
    """
    space = _space_of(profile)
    if space == "GRAY" and picture.mode == "RGB" and _is_grey(picture):  # a palette, or grey with alpha
        picture = picture.convert("L")
    elif space == "RGB" and picture.mode == "L":
        picture = picture.convert("RGB")
    if picture.mode == "RGB" and _is_srgb(profile):
        return picture  # most of them: nothing to convert
    return _converted(picture, profile) or picture


def _converted(picture: Image.Image, profile: bytes) -> Image.Image | None:
    """None where the profile doesn't fit."""
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(picture, embedded, _srgb(), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _space_of(profile: bytes) -> str:
    """Its colour space: RGB, GRAY, CMYK, ... (ICC.1:2022, section 7.2.6)."""
    return profile[16:20].decode("ascii", "replace").strip()


def _is_grey(picture: Image.Image) -> bool:
    red, green, blue = (np.asarray(channel) for channel in picture.split())
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))


@lru_cache(maxsize=64)
def _is_srgb(profile: bytes) -> bool:
    """Whether it leaves colours as they are, as nearly as eight bits tell."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    converted = _converted(Image.fromarray(colours), profile)
    apart = np.asarray(converted, dtype=np.int16) - colours if converted else np.zeros(1)
    return bool(np.abs(apart).max() <= 2)


@cache
def _curve(gamma: float) -> list[int]:
    """From samples that are light to the power of `gamma` to sRGB's (IEC 61966-2-1)."""
    light = np.linspace(0, 1, 256) ** (1 / gamma)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    curve: list[int] = np.rint(255 * encoded).astype(int).tolist()
    return curve


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
