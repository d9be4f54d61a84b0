"""What monitors are told."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event

from meshibot.config import load_settings
from meshibot.database import Account, Database, Post, PostState
from meshibot.database.migrate import upgrade
from meshibot.kinds import Kind
from meshibot.metrics import Metrics

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_post_of_which_x_makes_a_link_has_cost_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its scheme or without, as `check` and the budgets have it; what was never sent cost nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHIBOT_HOME", str(tmp_path))
    monkeypatch.setenv("MESHIBOT_PUBLISHER", "x")
    settings = load_settings()
    upgrade(settings.database_address)
    said = ("No.0001", "example.com No.0002", "https://example.com No.0003", "missed No.0004")
    with Database.open(settings.database_address) as database:
        with database.write() as session:
            session.add(Account(name="main", publisher="x"))
            session.flush()
            for serial, caption in enumerate(said, 1):
                state = PostState.MISSED if "missed" in caption else PostState.POSTED
                session.add(
                    Post(
                        account="main", publisher="x", serial=serial, kind=Kind.SINGLE, state=state,
                        caption=caption, created_at=NOW, due_at=NOW, deadline=NOW, not_before=NOW,
                    )
                )  # fmt: skip
        lines = Metrics(database, settings).text(NOW).splitlines()
    (spent,) = (line for line in lines if line.startswith("meshibot_spent_dollars_total{"))
    assert float(spent.split()[1]) == pytest.approx(0.020 + 0.205 + 0.205)


def test_a_new_post_adds_to_what_was_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The captions of all years are not read at each question: only when there are more of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHIBOT_HOME", str(tmp_path))
    monkeypatch.setenv("MESHIBOT_PUBLISHER", "x")
    settings = load_settings()
    upgrade(settings.database_address)
    asked: list[str] = []
    with Database.open(settings.database_address) as database:
        with database.write() as session:
            session.add(Account(name="main", publisher="x"))
        metrics = Metrics(database, settings)
        event.listen(database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
        spent = []
        for serial, state in ((1, PostState.POSTED), (2, PostState.POSTED), (3, PostState.MISSED)):
            with database.write() as session:
                session.add(
                    Post(
                        account="main", publisher="x", serial=serial, kind=Kind.SINGLE, state=state,
                        caption=f"No.{serial:04d}", created_at=NOW, due_at=NOW, deadline=NOW, not_before=NOW,
                    )
                )  # fmt: skip
            lines = metrics.text(NOW).splitlines()
            spent += [line.split()[1] for line in lines if line.startswith("meshibot_spent_dollars_total{")]
    assert list(map(float, spent)) == pytest.approx([0.020, 0.040, 0.040])
    assert sum(statement.startswith("SELECT posts.caption") for statement in asked) == 2
