"""A folder keeps a post one by its record, whatever interrupts it."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshibot.errors import UsageError
from meshibot.publishers.base import AccountStopped, Draft, MediaGone, Rejected
from meshibot.publishers.folder import FolderPublisher
from tests.meshibot.publishers.test_contract import make_draft

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> FolderPublisher:
    return FolderPublisher(tmp_path / "posts")


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    return make_draft(tmp_path, 42)


def test_picture_caption_alt_text_and_record_lie_beside_each_other(
    folder: FolderPublisher, draft: Draft
) -> None:
    folder.send(draft, folder.upload(draft))
    assert sorted(path.name for path in folder.folder.iterdir()) == [
        "main-0042.alt.txt",
        "main-0042.jpg",
        "main-0042.json",
        "main-0042.txt",
    ]
    assert (folder.folder / "main-0042.jpg").read_bytes() == draft.media[0].read_bytes()
    assert (folder.folder / "main-0042.txt").read_text("utf-8") == draft.caption + "\n"
    record = json.loads((folder.folder / "main-0042.json").read_text("utf-8"))
    assert record["caption"] == draft.caption
    assert record["alt_text"] == draft.alt_text
    assert record["media"] == ["main-0042.jpg"]
    assert record["metadata"] == {"seed": 7, "score": 0.5}


def test_sending_twice_leaves_the_first_post_untouched(folder: FolderPublisher, draft: Draft) -> None:
    media = folder.upload(draft)
    first = folder.send(draft, media)
    before = (folder.folder / "main-0042.json").stat()
    assert folder.send(dataclasses.replace(draft, caption=f"other {draft.marker}"), media) == first
    assert (folder.folder / "main-0042.json").stat().st_mtime_ns == before.st_mtime_ns


def test_a_new_database_does_not_overwrite_the_old_ones_posts(folder: FolderPublisher, draft: Draft) -> None:
    first = folder.send(draft, folder.upload(draft))
    later = dataclasses.replace(draft, idempotency_key="another life", caption="again No.0042")
    assert folder.find(later, NOW) == ()
    second = folder.send(later, folder.upload(later))
    assert second != first
    assert folder.send(later, folder.upload(later)) == second
    assert folder.find(draft, NOW) == (first,)
    assert folder.find(later, NOW) == (second,)


def test_without_the_record_there_is_no_post(folder: FolderPublisher, draft: Draft) -> None:
    folder.send(draft, folder.upload(draft))
    (folder.folder / "main-0042.json").unlink()
    assert folder.find(draft, NOW) == ()
    folder.send(draft, folder.upload(draft))
    assert folder.find(draft, NOW)


def test_an_account_name_stays_inside_the_folder(folder: FolderPublisher, draft: Draft) -> None:
    sly = dataclasses.replace(draft, account="../../etc/飯")
    folder.send(sly, folder.upload(sly))
    assert {path.parent for path in folder.folder.parent.rglob("*0042*")} == {folder.folder}
    with pytest.raises(Rejected, match="is no post"):
        folder.delete("../secret")


def test_taking_down_goes_on_where_it_was_killed(
    folder: FolderPublisher, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = folder.send(draft, folder.upload(draft))
    unlink, files = Path.unlink, len(list(folder.folder.iterdir()))
    for killed_after in range(files):
        left = iter(range(killed_after))

        def unlink_some(path: Path, *, missing_ok: bool = False, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(Path, "unlink", unlink_some)
        with pytest.raises(KeyboardInterrupt):
            folder.delete(sent.remote_id)
        assert folder.find(draft, NOW)
    monkeypatch.undo()
    folder.delete(sent.remote_id)
    assert list(folder.folder.iterdir()) == []


@pytest.mark.parametrize(
    "said", ["main-0042", " main-0042.json", "posts/main-0042.json", "file:///srv/posts/main-0042.json"]
)
def test_a_person_names_a_post_by_its_record(folder: FolderPublisher, draft: Draft, said: str) -> None:
    sent = folder.send(draft, folder.upload(draft))
    assert folder.named(said).remote_id == sent.remote_id


@pytest.mark.parametrize("said", ["", "/", "..", ".json", "no such name", "posts/"])
def test_what_is_no_record_is_refused(folder: FolderPublisher, said: str) -> None:
    with pytest.raises(UsageError, match="main-0042"):
        folder.named(said)


def test_a_picture_that_vanished_is_uploaded_again(folder: FolderPublisher, draft: Draft) -> None:
    media = folder.upload(draft)
    (folder.folder / media[0].id).unlink()
    with pytest.raises(MediaGone, match=r"main-0042\.jpg"):
        folder.send(draft, media)


def test_a_folder_that_is_a_file_needs_a_person(tmp_path: Path, draft: Draft) -> None:
    (tmp_path / "posts").write_text("in the way")
    with pytest.raises(AccountStopped, match=r"can't be written.*Make it a folder") as stopped:
        FolderPublisher(tmp_path / "posts").upload(draft)
    assert stopped.value.exit_status == 4
    assert stopped.value.may_mend, "a disk may be mounted late"
    with pytest.raises(AccountStopped, match="can't be written"):
        FolderPublisher(tmp_path / "posts").check()


def in_a_child(script: str, *arguments: object) -> str:
    """What a script prints in a process of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_read_only_folder_needs_a_person(tmp_path: Path) -> None:
    """Root may write anywhere, so where the tests run as root another user tries it."""
    posts = tmp_path / "posts"
    posts.mkdir()
    posts.chmod(0o555)
    said = in_a_child(
        """
import os, sys
from pathlib import Path
from meshibot.publishers.base import AccountStopped
from meshibot.publishers.folder import FolderPublisher
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    FolderPublisher(Path(sys.argv[1])).check()
except AccountStopped as stopped:
    print(stopped)
""",
        posts,
    )
    assert "can't be written: Permission denied. Make it a folder" in said
    assert list(posts.iterdir()) == []


def test_a_full_disk_is_for_later_and_leaves_nothing(folder: FolderPublisher, draft: Draft) -> None:
    """A limit of 100 bytes a file makes the kernel refuse the write, as a full disk does."""
    folder.check()
    said = in_a_child(
        """
import resource, signal, sys
from pathlib import Path
from meshibot.publishers.base import Draft, RetryLater
from meshibot.publishers.folder import FolderPublisher
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    draft = Draft("main", 42, "No.0042", "No.0042", "", (Path(sys.argv[2]),))
    FolderPublisher(Path(sys.argv[1])).upload(draft)
except RetryLater as later:
    print(later)
""",
        folder.folder,
        draft.media[0],
    )
    assert "is full (File too large): make room" in said
    assert list(folder.folder.iterdir()) == []


def test_a_broken_record_is_never_written_over(folder: FolderPublisher, draft: Draft) -> None:
    folder.send(draft, folder.upload(draft))
    (folder.folder / "main-0042.json").write_text("{half", "utf-8")
    with pytest.raises(Rejected, match=r"main-0042\.json can't be read"):
        folder.find(draft, NOW)
    with pytest.raises(Rejected, match="move it away"):
        folder.upload(draft)
