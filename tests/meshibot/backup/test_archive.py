"""What an archive promises: whole or not there, and nothing unpacked that its manifest does not name."""

import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshibot.backup import archive
from meshibot.backup.archive import BadArchive, Manifest, measured, name_of, unpack, verify, write

NOW = datetime(2026, 11, 24, 3, 4, 5, 600, tzinfo=UTC)


def made(folder: Path, names: tuple[str, ...] = ("meshibot.sqlite3", "pictures/1.png")) -> Path:
    files = {}
    for number, name in enumerate(names):
        files[name] = folder / f"source-{number}"
        files[name].write_bytes(name.encode() * 1000)
    members = tuple(measured(name, file) for name, file in files.items())
    target = folder / name_of(NOW)
    write(target, Manifest(NOW, "0.1.0", "0003", None, members), files)
    return target


def rewritten(source: Path, change: str) -> Path:
    """The same archive with something wrong in it."""
    target = source.with_name(f"{change}.tar.gz")
    with tarfile.open(source) as old, tarfile.open(target, "w:gz") as new:
        for info in old.getmembers():
            stream = old.extractfile(info)
            data = stream.read() if stream else b""
            if info.name == "pictures/1.png":
                if change == "missing":
                    continue
                if change == "changed":
                    data = data[:-1] + b"!"
                if change == "renamed":
                    info.name = "../../outside.png"
                if change == "link":
                    info.type, info.linkname, info.size, data = tarfile.SYMTYPE, "/etc/passwd", 0, b""
            if info.name == archive.MANIFEST and change == "newer":
                data = json.dumps(json.loads(data) | {"format": archive.FORMAT + 1}).encode()
            if info.name == archive.MANIFEST and change == "nonsense":
                data = b"[1, 2"
            info.size = len(data)
            new.addfile(info, io.BytesIO(data))
        if change == "stowaway":
            info = tarfile.TarInfo("stowaway")
            new.addfile(info, io.BytesIO())
    return target


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    file = made(tmp_path)
    manifest = verify(file)
    assert (manifest.made_at, manifest.schema) == (NOW, "0003")
    out = tmp_path / "out"
    out.mkdir()
    assert unpack(file, out) == manifest
    assert (out / "pictures" / "1.png").read_bytes() == b"pictures/1.png" * 1000
    assert file.stat().st_mode & 0o077 == 0
    assert archive.moment_of(file) == NOW.replace(microsecond=0)


@pytest.mark.parametrize("change", ["missing", "changed", "renamed", "link", "newer", "nonsense", "stowaway"])
def test_what_is_not_as_it_was_made_is_refused_before_anything_is_unpacked(
    tmp_path: Path, change: str
) -> None:
    file = rewritten(made(tmp_path), change)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(BadArchive):
        unpack(file, out)
    assert list(out.iterdir()) == []
    assert not (tmp_path.parent / "outside.png").exists()


def test_another_name_is_no_backup() -> None:
    for name in ("meshibot.tar.gz", "meshibot-20261124T030405Z.tar", "notes.txt"):
        assert archive.moment_of(Path(name)) is None
