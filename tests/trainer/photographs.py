"""Small drawn pictures that stand for photographs, and the odd and broken files that real folders hold."""

import io
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

HEIF = find_spec("pillow_heif") is not None
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def bowl(seed: int, size: tuple[int, int] = (80, 64)) -> Image.Image:
    """A bowl on a table, no two seeds alike."""
    rng = np.random.default_rng(seed)
    table, rim, soup, topping = (tuple(int(value) for value in rng.integers(0, 256, 3)) for _ in range(4))
    picture = Image.new("RGB", size, table)
    draw = ImageDraw.Draw(picture)
    width, height = size
    x, y = (float(value) for value in rng.uniform(0.4, 0.6, 2) * size)
    radius = float(rng.uniform(0.25, 0.42)) * min(width, height)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=soup, outline=rim, width=3)
    for dx, dy in rng.uniform(-0.5, 0.5, (3, 2)) * radius:
        draw.ellipse((x + dx - 4, y + dy - 4, x + dx + 4, y + dy + 4), fill=topping)
    return picture


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(seed: int, size: tuple[int, int] = (80, 64)) -> bytes:
    return encode(bowl(seed, size), "JPEG", quality=90)


def fill_folder(folder: Path, seeds: range) -> list[Path]:
    """One JPEG for each seed."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:04}.jpg" for seed in seeds]
    for seed, path in zip(seeds, paths, strict=True):
        path.write_bytes(jpeg(seed))
    return paths


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises width × height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", idat) + chunk(b"IEND", b"")


def broken_files() -> dict[str, tuple[bytes, str]]:
    """What can't be learned from at 64 px, by name: the bytes, and the beginning of the reason."""
    png = encode(bowl(1), "PNG")
    torn = bytearray(png)
    torn[len(png) // 2] ^= 0xFF
    bad_header = bytearray(png)
    bad_header[29] ^= 0xFF  # within the header's checksum
    return {
        "cut.jpg": (jpeg(2)[:700], "truncated"),
        "cut.png": (png[:300], "truncated"),
        "head_only.jpg": (jpeg(2)[:12], "truncated"),
        "empty.jpg": (b"", "zero bytes"),
        "menu.jpg": (b"Shoyu ramen, 900 yen\n" * 40, "not a picture"),
        "notes.txt": (b"photographed in Kitakata\n", "not a picture"),
        "labels.json": (b"{}", "not a picture"),
        "small.png": (encode(bowl(3, (200, 31)), "PNG"), "smaller than 32 px on its short side"),
        "bomb.png": (png_that_claims(60_000, 60_000), "an absurd pixel count"),
        "torn.png": (bytes(torn), "damaged"),
        "bad_header.png": (bytes(bad_header), "damaged"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + b"\0" * 200, "damaged" if HEIF else "HEIC"),
        "new.jxl": (b"\xff\x0a" + b"\0" * 200, "JPEG XL"),
        "drawing.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "not a picture"),
        ".hidden.jpg": (jpeg(4), "hidden"),
        "more/movie.jpg": (b"\0\0\0\x18ftypmp42" + b"\0" * 200, "not a picture"),
    }


def odd_files() -> dict[str, bytes]:
    """What looks unusual and is learned from all the same."""
    picture = bowl(10)
    turned = Image.Exif()
    turned[0x0112] = 6
    palette = picture.quantize(16)
    return {
        "grey.png": encode(picture.convert("L"), "PNG"),
        "grey_alpha.png": encode(bowl(11).convert("LA"), "PNG"),
        "palette.png": encode(palette, "PNG", transparency=0),
        "one_bit.png": encode(bowl(12).convert("1"), "PNG"),
        "cmyk.jpg": encode(bowl(13).convert("CMYK"), "JPEG"),
        "alpha.png": encode(bowl(14).convert("RGBA"), "PNG"),
        "deep.png": encode(Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16), "PNG"),
        "turned.jpg": encode(bowl(15), "JPEG", exif=turned),
        "moving.gif": encode(bowl(16), "GIF", save_all=True, append_images=[bowl(17)]),
        "moving.webp": encode(bowl(18), "WEBP", save_all=True, append_images=[bowl(19)]),
        "a_png.jpg": encode(bowl(20), "PNG"),
        "no_suffix": encode(bowl(21), "JPEG"),
        "pages.tiff": encode(bowl(22), "TIFF", save_all=True, append_images=[bowl(23)]),
        "wide.bmp": encode(bowl(24, (300, 60)), "BMP"),
        "sub/folder/深夜.jpg": jpeg(25),
    }


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
