"""The files that settings are read from; which of them counts is asked in `test_layers`."""

from pathlib import Path

import pytest

from meshibot.config.places import find_places, read_credentials, read_dotenv
from meshibot.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with a credential, and with what else may lie there."""
    folder = tmp_path / "credentials"
    (folder / "meshibot_old").mkdir(parents=True)
    (folder / "Meshibot_X_Access_Token").write_text("s3cr3t\r\n")
    (folder / "others").write_bytes(b"\xff")
    return folder


def test_credentials_are_in_the_folder_that_is_named(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert read_credentials() == (folder, {"x_access_token": "s3cr3t"})
    assert "s3cr3t" not in repr(find_places())
    (folder / "Meshibot_X_Access_Token").unlink()
    assert read_credentials() == (None, {})
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder / "missing"))
    with pytest.raises(UsageError, match=r"missing can't be read \(No such file or directory\)"):
        read_credentials()


@pytest.mark.parametrize("named", [None, ""])
def test_or_else_where_containers_have_theirs(
    monkeypatch: pytest.MonkeyPatch, folder: Path, named: str | None
) -> None:
    """An empty name is none."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if named is not None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", named)
    monkeypatch.setattr("meshibot.config.places.SECRETS", folder / "missing")
    assert read_credentials() == (None, {})
    monkeypatch.setattr("meshibot.config.places.SECRETS", folder)
    assert read_credentials() == (folder, {"x_access_token": "s3cr3t"})
    (folder / "Meshibot_Home").symlink_to("/proc/self/mem")  # a file that can't be read, also by root
    if Path("/proc/self/mem").exists():
        with pytest.raises(UsageError, match="can't be read"):
            read_credentials()


def test_a_line_that_is_not_understood_is_refused_where_it_is_read(place: Path) -> None:
    file = place / ".env"
    file.write_text("MESHIBOT_GRACE=1h\nMESHIBOT_CAPTIONS='ja\n")
    with pytest.raises(UsageError, match=f"^Line 2 of {file} can't be understood"):
        read_dotenv(file)


def test_a_path_in_toml_may_begin_with_the_users_home(place: Path) -> None:
    (place / "meshibot.toml").write_text(
        "checkpoint = '~/bowls.safetensors'\nbackup_folder = '$HOME/backups'\nrun = 'run'\ncaptions = 'en'\n"
    )
    assert find_places().toml == {
        "checkpoint": "~/bowls.safetensors",
        "backup_folder": "$HOME/backups",
        "run": str(place / "run"),
        "captions": "en",
    }
