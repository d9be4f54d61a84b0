"""A file is the old one or the new one, never half of one."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.files import replace_file


def test_it_replaces_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "bowl.jpg"
    for data in (b"first", b"", b"third" * 1000):
        replace_file(target, data)
        assert target.read_bytes() == data
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("077", 0o600), ("002", 0o664)])
def test_who_may_read_it_is_for_the_umask_to_say(tmp_path: Path, umask: str, mode: int) -> None:
    script = (
        "import pathlib, sys; from trainer.files import replace_file as r; r(pathlib.Path(sys.argv[1]), b'')"
    )
    command = f'umask {umask}; exec "$0" -c "$1" "$2"'
    subprocess.run(["sh", "-c", command, sys.executable, script, str(tmp_path / "bowl.jpg")], check=True)
    assert stat.S_IMODE((tmp_path / "bowl.jpg").stat().st_mode) == mode


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "bowl").mkdir()
    (tmp_path / "bowl" / "inside").write_text("old")
    with pytest.raises(OSError, match=r"directory"):
        replace_file(tmp_path / "bowl", b"new")
    assert [path.name for path in tmp_path.rglob("*")] == ["bowl", "inside"]


@pytest.mark.parametrize("name", [".", "", "/", ".."])
def test_a_folder_by_a_name_that_is_none(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match=r"irectory|busy"):
        replace_file(Path(name), b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    """Killed between the write and the rename, which is where half a file would show."""
    target = tmp_path / "bowl.jpg"
    replace_file(target, b"old")
    script = (
        "import os, pathlib, signal, sys\n"
        "from trainer.files import replace_file\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        "replace_file(pathlib.Path(sys.argv[1]), b'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, target], check=False)
    assert done.returncode == -9
    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2, "the unfinished file lies beside it, hidden"
    assert all(path.name.startswith(".") for path in tmp_path.iterdir() if path != target)


def test_a_new_file_and_its_name_survive_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is on the disk before it has its name, and the folder after that."""
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        order.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    replace_file(tmp_path / "bowl.jpg", b"new")
    assert order == ["file", "name", "folder"]
