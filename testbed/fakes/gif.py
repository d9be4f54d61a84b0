"""What the fakes see in a GIF, by its blocks (GIF89a, sections 18 to 26): no code of the bot's reads it."""

import struct

SIGNATURES = (b"GIF87a", b"GIF89a")


def shape_of(data: bytes) -> tuple[int, int, int]:
    """Width, height and frames. Raises ValueError, IndexError or struct.error for what is no GIF."""
    if not data.startswith(SIGNATURES):
        raise ValueError("no GIF")
    width, height, flags = struct.unpack("<HHB", data[6:11])
    frames, place = 0, 13 + _table(flags)
    while data[place] != 0x3B:
        if data[place] == 0x2C:
            frames += 1
            place = _after_blocks(data, place + 11 + _table(data[place + 9]))
        elif data[place] == 0x21:
            place = _after_blocks(data, place + 2)
        else:
            raise ValueError("a block of no known kind")
    return width, height, frames


def _table(packed: int) -> int:
    """Bytes of a table of colours."""
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _after_blocks(data: bytes, place: int) -> int:
    while data[place]:
        place += data[place] + 1
    return place + 1
