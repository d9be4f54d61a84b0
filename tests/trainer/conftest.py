"""Fixtures for every test of the trainer."""

from functools import partial
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of decoded photographs for each test, so that none sees the user's or another's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TRAINER_CACHE", str(folder))
    return folder


@pytest.fixture
def few_fakes(monkeypatch: pytest.MonkeyPatch) -> int:
    """Evaluations between steps look at so many fakes, for a test that wants figures and not sharp ones."""
    from trainer.metrics.quick import QuickFigures

    monkeypatch.setattr("trainer.training.evaluation.QuickFigures", partial(QuickFigures, fakes=16))
    return 16
