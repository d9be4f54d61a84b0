"""What a published file says of itself, read as others read it."""

import re
from pathlib import Path

from PIL import Image

_GIF_XMP = b"XMP DataXMP"


def digital_source_type(path: Path) -> str | None:
    """IPTC's digital source type as the file's XMP declares it; None for a file without one."""
    with Image.open(path) as image:
        image.load()
        xmp = (
            path.read_bytes().rpartition(_GIF_XMP)[2] if image.format == "GIF" else image.info.get("xmp", b"")
        )
    found = re.search(rb"DigitalSourceType>([^<]+)<", xmp)
    return found[1].decode().strip() if found else None
