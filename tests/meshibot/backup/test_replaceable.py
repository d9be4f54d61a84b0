"""What a backup may take the place of."""

from pathlib import Path

import pytest

from meshibot.backup.replaceable import require_replaceable
from meshibot.database.migrate import backup, upgrade
from meshibot.errors import UsageError


def test_an_earlier_backup_may_be_replaced_and_nothing_else(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'bot.sqlite3'}"
    upgrade(url)
    target = tmp_path / "copy #1?.sqlite3"
    require_replaceable(target)
    backup(url, target)
    require_replaceable(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bot.sqlite3", "copy #1?.sqlite3"]


@pytest.mark.parametrize("content", [b"MESHIBOT_X_ACCESS_TOKEN=x\n", b"", b"SQLite format 3\0 and no more"])
def test_another_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="is no backup of meshibot's: choose another name"):
        require_replaceable(file)
    assert file.read_bytes() == content
