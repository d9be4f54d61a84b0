"""What waits: whether its files can be used, and of which checkpoint it is."""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from meshibot.database import Database, PictureState
from meshibot.database.migrate import upgrade
from meshibot.errors import UsageError
from meshibot.stock.inventory import clear, drop, fault_of, find, of_others, waiting
from meshibot.stock.stock import Stock
from testbed.homes import draw_stock

NONE_OF_OURS = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Stock]:
    url = f"sqlite:///{tmp_path / 'bot.sqlite3'}"
    upgrade(url)
    with Database.open(url) as database:
        draw_stock(database, tmp_path, 4)
        yield Stock(database, tmp_path, tmp_path / "none.safetensors", 0.5)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[data.index(b"IDAT")] ^= 1
    file.write_bytes(data)


def claim_to_be_huge(file: Path) -> None:
    parts = chunk(b"IHDR", NONE_OF_OURS) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def add_a_long_text(file: Path) -> None:
    data = file.read_bytes()
    at = data.index(b"IDAT") - 4
    file.write_bytes(data[:at] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(30_000_000))) + data[at:])


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "damage", [flip_a_bit, claim_to_be_huge, add_a_long_text, cut, empty, make_a_folder, Path.unlink]
)
def test_a_file_that_can_not_be_posted_has_a_fault(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    file = tmp_path / "bowl.png"
    Image.effect_noise((32, 32), 60).convert("RGB").save(file)
    assert fault_of(file) is None
    damage(file)
    said = fault_of(file)
    assert said is not None
    assert said.startswith("Its file ")


@pytest.mark.parametrize("number", [0, -1, 1 << 63, 10**20])
def test_a_number_that_no_database_takes_is_no_picture(stock: Stock, number: int) -> None:
    with pytest.raises(UsageError, match=f"There is no picture {number}:"):
        find(stock.database, number)
    with pytest.raises(UsageError, match=f"Picture {number} does not wait, so none was taken out"):
        drop(stock.database, [waiting(stock.database)[0].id, number])
    assert len(waiting(stock.database)) == 4


def test_what_is_missing_is_taken_out_and_what_is_damaged_before_a_post(stock: Stock) -> None:
    pictures = waiting(stock.database)
    (stock.home / pictures[0].file).unlink()
    cut(stock.home / pictures[1].file)
    assert stock.weed() == 1, "the daemon's look opens no file"
    gone = find(stock.database, pictures[0].id)
    assert (gone.state, gone.reason) == (PictureState.REJECTED, "Its file is missing or empty.")
    stock.ensure("main", 1)
    assert [picture.id for picture in waiting(stock.database)] == [picture.id for picture in pictures[2:]]


def test_nothing_is_taken_out_while_the_whole_folder_is_missing(stock: Stock) -> None:
    stock.folder.rename(stock.home / "elsewhere")
    assert stock.weed() == 0
    assert len(waiting(stock.database)) == 4


def test_pictures_of_other_checkpoints_are_told(stock: Stock) -> None:
    with stock.database.write() as session:
        mine = find(stock.database, 1)
        session.add(mine)
        mine.checkpoint = "f" * 64
    assert of_others(stock.database, "f" * 64) == 3
    assert clear(stock.database, keep="f" * 64) == 3
    assert [picture.id for picture in waiting(stock.database)] == [1]
