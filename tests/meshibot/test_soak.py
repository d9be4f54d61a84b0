"""A short soak: the full one is a benchmark."""

from pathlib import Path

import pytest

from testbed.soak import Trial, soak

SHORT = Trial(slots=60)


def test_sixty_slots_on_sqlite(tmp_path: Path) -> None:
    result = soak(SHORT, f"sqlite:///{tmp_path / 'bot.sqlite'}", tmp_path)
    assert result.sound, result
    assert result.kills > 2
    assert result.suspensions > 2
    assert result.faults > 20


@pytest.mark.postgres
def test_sixty_slots_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    result = soak(SHORT, postgres_url, tmp_path)
    assert result.sound, result
    assert result.kills > 2
    assert result.suspensions > 2
    assert result.faults > 20


pytestmark = pytest.mark.long
