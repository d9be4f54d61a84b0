"""Folders with links, pipes and rubbish; archives that are made to harm."""

import inspect
import io
import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from tests.trainer.photographs import fill_folder, jpeg, write_files
from trainer.data import sources
from trainer.data.sources import LeftOut, ZipSource, open_source, printable
from trainer.errors import TrainerError, UsageError


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def refused(path: Path) -> str:
    source = ZipSource(path)
    try:
        with pytest.raises(TrainerError) as caught:
            source.scan()
    finally:
        source.close()
    return str(caught.value)


def test_a_folder_is_read_recursively_and_what_is_hidden_is_named(tmp_path: Path) -> None:
    fill_folder(tmp_path / "shop" / "night", range(1))
    fill_folder(tmp_path / ".git", range(1))
    (tmp_path / ".DS_Store").write_bytes(b"x")
    listing = open_source(tmp_path).scan()
    assert list(listing.stamps) == ["shop/night/0000.jpg"]
    assert listing.left_out == (LeftOut(".DS_Store", "hidden"), LeftOut(".git", "hidden"))


SYSTEM = (
    *("@eaDir", "@__thumb", "#recycle", "@Recycle", "$RECYCLE.BIN", "__MACOSX", "lost+found"),
    *("~snapshot", "iPod Photo Cache", "trashbox"),
)


@pytest.mark.parametrize("packed", [False, True])
def test_what_a_nas_keeps_beside_photographs_is_no_photograph(tmp_path: Path, packed: bool) -> None:
    """Thumbnails of each: learned from, they would also put held-out photographs into the training set."""
    names = [f"shop/{folder}/1.jpg/SYNOPHOTO_THUMB_M.jpg" for folder in (*SYSTEM, ".thumbnails")]
    members = dict.fromkeys(["shop/1.jpg", "shop/._1.jpg", *names], jpeg(1))
    source = tmp_path / "data"
    if packed:
        archive(source, members)
    else:
        write_files(source, members)
    listing = (opened := open_source(source)).scan()
    opened.close()
    assert list(listing.stamps) == ["shop/1.jpg"]
    assert {file.reason for file in listing.left_out} == {"hidden", "a system's own folder"}
    assert len(listing.left_out) == 2 + len(SYSTEM), "one line a folder where nobody looks into it"


@pytest.mark.parametrize("packed", [False, True])
def test_a_run_among_the_photographs_is_no_photograph(tmp_path: Path, packed: bool) -> None:
    files = {"config.json": b"{}", "metrics.jsonl": b"", "samples/step-00000000.png": jpeg(2)}
    members = {"1.jpg": jpeg(1), "config.json": b"{}"} | {f"deep/run/{n}": data for n, data in files.items()}
    source = tmp_path / "data"
    if packed:
        archive(source, members)
    else:
        write_files(source, members)
    listing = (opened := open_source(source)).scan()
    opened.close()
    assert list(listing.stamps) == ["1.jpg", "config.json"]
    assert {file.reason for file in listing.left_out} <= {"a run of the trainer", "zero bytes"}


def test_a_run_itself_is_no_folder_of_photographs(tmp_path: Path) -> None:
    write_files(tmp_path, {"config.json": b"{}", "metrics.jsonl": b"{}", "samples/1.png": jpeg(2)})
    with pytest.raises(UsageError, match="is a run folder: give the folder that holds the photographs"):
        open_source(tmp_path).scan()


def test_folders_may_be_nested_deeper_than_calls(tmp_path: Path) -> None:
    write_files(tmp_path, {"2.jpg": jpeg(2), "d/" * 200 + "1.jpg": jpeg(1)})
    source = open_source(tmp_path)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        listing = source.scan()
    finally:
        sys.setrecursionlimit(limit)
    assert list(listing.stamps) == ["2.jpg", "d/" * 200 + "1.jpg"]
    assert source.read(list(listing.stamps)[1]) == jpeg(1)


def test_links_are_followed_once_and_pipes_never_opened(tmp_path: Path) -> None:
    fill_folder(tmp_path / "elsewhere", range(2))
    data = tmp_path / "data"
    data.mkdir()
    (data / "linked").symlink_to(tmp_path / "elsewhere")
    (data / "loop").symlink_to(data)
    (data / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(data / "pipe.jpg")
    listing = open_source(data).scan()
    assert list(listing.stamps) == ["linked/0000.jpg", "linked/0001.jpg"]
    assert listing.left_out == (
        LeftOut("gone.jpg", "unreadable (no such file or directory)"),
        LeftOut("pipe.jpg", "not a regular file"),
    )


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 2**20)
    with (tmp_path / "movie.mov").open("wb") as file:
        file.truncate(2**20 + 1)
    assert open_source(tmp_path).scan().left_out == (LeftOut("movie.mov", "larger than 1 MiB"),)


@pytest.mark.parametrize("name", ["missing", "file.jpg"])
def test_what_is_no_source_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.jpg").write_bytes(jpeg(1))
    with pytest.raises(UsageError, match="give the folder that holds the photographs"):
        open_source(tmp_path / name)


def test_an_archive_lists_and_reads_its_members(tmp_path: Path) -> None:
    members = {
        "a/1.jpg": jpeg(1),
        "a/.x": b"1",
        "__MACOSX/._1.jpg": b"2",
        "empty.jpg": b"",
        "写真.jpg": jpeg(2),
    }
    source = open_source(archive(tmp_path / "x.zip", members))
    listing = source.scan()
    assert set(listing.stamps) == {"a/1.jpg", "写真.jpg"}
    assert {file.path: file.reason for file in listing.left_out} == {
        "a/.x": "hidden",
        "__MACOSX/._1.jpg": "a system's own folder",
        "empty.jpg": "zero bytes",
    }
    assert source.read("写真.jpg") == jpeg(2)
    source.close()


@pytest.mark.parametrize(
    "name",
    ["../evil.jpg", "a/../../evil.jpg", "/etc/evil.jpg", "..\\evil.jpg", "C:\\evil.jpg", "C:/evil.jpg"],
)
def test_path_traversal_is_refused(tmp_path: Path, name: str) -> None:
    assert "points outside of it" in refused(archive(tmp_path / "x.zip", {"ok.jpg": jpeg(1), name: jpeg(2)}))


def test_links_in_an_archive_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        link = zipfile.ZipInfo("photo.jpg")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    assert "photo.jpg is a link" in refused(tmp_path / "x.zip")


def test_encrypted_archives_are_refused(tmp_path: Path) -> None:
    data = bytearray(archive(tmp_path / "x.zip", {"a.jpg": jpeg(1)}).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    assert "it is encrypted" in refused(tmp_path / "x.zip")


def test_a_bomb_is_refused_before_anything_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BOMB_BYTES", 2**20)
    zeros = {f"{number}.jpg": bytes(2**20) for number in range(3)}
    assert "zip bomb" in refused(archive(tmp_path / "x.zip", zeros, zipfile.ZIP_DEFLATED))


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    data = archive(tmp_path / "x.zip", {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}).read_bytes()
    second = data.rindex(b"PK\x01\x02")
    # The directory's second entry points at the first one's bytes (its offset field is at 42).
    (tmp_path / "x.zip").write_bytes(data[: second + 42] + bytes(4) + data[second + 46 :])
    assert "overlap" in refused(tmp_path / "x.zip")


def test_a_member_that_lies_about_its_content_is_unreadable(tmp_path: Path) -> None:
    data = bytearray(archive(tmp_path / "x.zip", {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}).read_bytes())
    data[200] ^= 0xFF
    (tmp_path / "x.zip").write_bytes(data)
    source = ZipSource(tmp_path / "x.zip")
    with pytest.raises(OSError, match="damaged inside the archive"):
        source.read("a.jpg")
    assert source.read("b.jpg") == jpeg(2)
    source.close()


def test_an_archive_inside_an_archive_stays_closed(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("../evil.jpg", jpeg(1))
    source = ZipSource(archive(tmp_path / "x.zip", {"inner.zip": inner.getvalue()}))
    assert list(source.scan().stamps) == ["inner.zip"]
    source.close()


def test_a_broken_archive_is_one_sentence(tmp_path: Path) -> None:
    data = archive(tmp_path / "x.zip", {"a.jpg": jpeg(1)}).read_bytes()
    (tmp_path / "x.zip").write_bytes(data[:100])
    with pytest.raises(UsageError, match="neither a folder nor a zip archive"):
        open_source(tmp_path / "x.zip")
    where = data.index(b"PK\x01\x02")
    (tmp_path / "x.zip").write_bytes(data[:where] + b"XX" + data[where + 2 :])
    with pytest.raises(TrainerError, match="can't be read as a zip archive"):
        open_source(tmp_path / "x.zip")


def test_names_are_printable() -> None:
    assert printable("深夜\x1b[31m\n\udcff.jpg") == "深夜\\x1b[31m\\n\\udcff.jpg"
