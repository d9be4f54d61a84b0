"""A contact sheet: the pictures that wait, side by side, each with its number."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from meshibot.errors import MeshibotError
from meshibot.stock.inventory import fault_of
from trainer.files import replace_file

_SIDE = 160
_COLUMNS = 6
_LABEL = 20
_GAP = 8
_PAPER, _INK, _FAULT = (250, 247, 240), (40, 36, 32), (180, 40, 30)


def contact_sheet(pictures: Sequence[tuple[int, Path]], target: Path) -> None:
    """Write a PNG of pictures given by number and file; one that can't be read is said to be so in its place.

    Raises MeshibotError where the sheet can't be written.
    """
    columns = min(_COLUMNS, len(pictures)) or 1
    rows = -(-len(pictures) // columns) or 1
    step_x, step_y = _SIDE + _GAP, _SIDE + _LABEL + _GAP
    sheet = Image.new("RGB", (columns * step_x + _GAP, rows * step_y + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for place, (number, file) in enumerate(pictures):
        row, column = divmod(place, columns)
        left, top = _GAP + column * step_x, _GAP + row * step_y
        fault = fault_of(file)
        if fault is None:
            with Image.open(file) as image:
                resized = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
            sheet.paste(resized, (left, top))
        else:
            draw.rectangle((left, top, left + _SIDE - 1, top + _SIDE - 1), outline=_FAULT)
        draw.text((left, top + _SIDE + 2), f"{number}{'' if fault is None else '  unusable'}", _INK, font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    try:
        replace_file(target, buffer.getvalue())
    except OSError as error:
        raise MeshibotError(f"The sheet {target} can't be written: {error.strerror}.") from error
