"""From a sampled picture to the file that is published: scaled up, or several in a grid, and labelled inside.

The label is XMP with IPTC's digital source type, so that a file which leaves the network still says that it
was generated (https://www.iptc.org/std/photometadata/specification/, Digital Source Type).
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image, ImageChops, ImageFilter, UnidentifiedImageError

from meshibot import __version__
from meshibot.errors import MeshibotError
from trainer.files import replace_file

TRAINED_ALGORITHMIC_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

SIDE = 1024
"""Pixels: networks show a post at least this wide, and would scale up anything smaller, and worse."""

_SPECK = 5
"""Levels of grey, of 255, by which one sticks out."""

_QUALITIES = (92, 88, 84, 80, 75, 70, 65, 60, 50, 40)
_GIF, _GIF_END = b"GIF89a", b";"
_GIF_XMP = b"\x21\xff\x0bXMP DataXMP"
_GAP_COLOUR = (250, 247, 240)


class PictureError(MeshibotError):
    """A picture can't be read, written, or made small enough."""


@dataclass(frozen=True)
class Label:
    """What the file says about itself."""

    description: str
    """The alt text."""
    creator_tool: str = f"meshibot {__version__}"


def scale_up(image: Image.Image, side: int) -> Image.Image:
    """A square picture at `side` pixels.

    Doubled by bicubic steps, mildly sharpened after each. On 64 px sources, beside one Lanczos step, this
    shows less of a staircase along the rim of a bowl and no ringing around spring onions; stronger sharpening
    brings the pixel grid back. Specks are taken out first: they would grow into dots.
    """
    image = image.convert("RGB")
    if image.width < side:
        image = _without_specks(image)
    while image.width < side:
        step = min(2 * image.width, side)
        image = image.resize((step, step), Image.Resampling.BICUBIC)
        image = image.filter(ImageFilter.UnsharpMask(radius=1, percent=40, threshold=0))
    if image.width > side:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    return image


def _without_specks(image: Image.Image) -> Image.Image:
    """Single pixels that are darker or brighter than all eight around them give way to the median there.

    A median filter that is switched on by impulses alone (Sun and Neuvo 1994, 'Detail-preserving median based
    filters in image processing'): one or two pixels of a hundred change, and edges stay as they are.
    """
    grey = image.convert("L")
    darker = ImageChops.subtract(grey.filter(ImageFilter.RankFilter(3, 1)), grey)
    brighter = ImageChops.subtract(grey, grey.filter(ImageFilter.RankFilter(3, 7)))
    specks = ImageChops.lighter(darker, brighter).point([0] * _SPECK + [255] * (256 - _SPECK))
    return Image.composite(image.filter(ImageFilter.MedianFilter(3)), image, specks)


def grid(images: Sequence[Image.Image], side: int = SIDE) -> Image.Image:
    """Four or nine pictures, as many down as across, with small gaps between, at `side` pixels in all."""
    if len(images) not in (4, 9):
        raise ValueError(f"A grid holds 4 or 9 pictures, not {len(images)}.")
    across = math.isqrt(len(images))
    gap = max(2, side // 128)
    tile = (side - gap * (across - 1)) // across
    canvas = Image.new("RGB", (side, side), _GAP_COLOUR)
    for position, image in enumerate(images):
        row, column = divmod(position, across)
        # From edge to edge, so that an odd pixel widens a gap and not the border.
        left, top = (place * (side - tile) // (across - 1) for place in (column, row))
        canvas.paste(scale_up(image, tile), (left, top))
    return canvas


def encode(image: Image.Image, max_bytes: int, label: Label) -> bytes:
    """A picture as a labelled JPEG of at most `max_bytes`, which gives up quality for it in steps.

    Raises PictureError where it can't be made small enough.
    """
    image, xmp = image.convert("RGB"), _xmp(label)
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True, xmp=xmp)
        if buffer.tell() <= max_bytes:
            return buffer.getvalue()
    raise PictureError(
        f"A picture of {image.width} by {image.height} pixels doesn't fit into {max_bytes} bytes as a JPEG."
    )


def render(
    sources: Sequence[Path],
    target: Path,
    label: Label,
    *,
    side: int = SIDE,
    max_bytes: int,
) -> None:
    """Make the file that is published out of one sampled picture, or of several, and write it atomically.

    Raises PictureError naming the file that can't be read or written.
    """
    images = [_opened(source) for source in sources]
    picture = scale_up(images[0], side) if len(images) == 1 else grid(images, side)
    data = encode(picture, max_bytes, label)
    try:
        replace_file(target, data)
    except OSError as error:
        raise PictureError(f"The picture {target} can't be written: {error.strerror}.") from error


def write_gif(source: Path, target: Path, label: Label) -> None:
    """Label a GIF that was drawn, and write it atomically. Raises PictureError as `render` does."""
    try:
        replace_file(target, label_gif(source.read_bytes(), label))
    except OSError as error:
        raise PictureError(f"The picture {target} can't be written: {error.strerror}.") from error


def label_gif(data: bytes, label: Label) -> bytes:
    """A GIF with its label before its end, as an application extension (XMP specification, part 3, GIF).

    XMP is no row of sub-blocks; the trailer of falling bytes leads a reader that knows only those to its end.
    """
    if not data.startswith(_GIF) or not data.endswith(_GIF_END):
        raise ValueError("not a whole GIF")
    trailer = bytes([1, *range(255, -1, -1), 0])
    return data[:-1] + _GIF_XMP + _xmp(label) + trailer + _GIF_END


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise PictureError(f"The picture {path} can't be read: {error}.") from error


def _xmp(label: Label) -> bytes:
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <Iptc4xmpExt:DigitalSourceType>{TRAINED_ALGORITHMIC_MEDIA}</Iptc4xmpExt:DigitalSourceType>
   <xmp:CreatorTool>{escape(label.creator_tool)}</xmp:CreatorTool>
   <dc:description><rdf:Alt>
    <rdf:li xml:lang="x-default">{escape(label.description)}</rdf:li>
   </rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()
