"""A database, a clock that can be moved, and a network that is a file."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from meshibot.database import Database
from meshibot.outbox import Outbox
from testbed.ledger import (
    NOON,
    Ledger,
    LedgerPublisher,
    MovableClock,
    OneDue,
    new_database,
    outbox,
    slot,
    stock,
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with new_database(tmp_path) as database:
        yield database


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def publisher(tmp_path: Path, clock: MovableClock) -> LedgerPublisher:
    return LedgerPublisher(Ledger(tmp_path / "ledger"), clock)


@pytest.fixture
def box(database: Database, tmp_path: Path, publisher: LedgerPublisher) -> Outbox:
    stock(database, tmp_path, 5)
    return outbox(database, tmp_path, publisher)


@pytest.fixture
def one_due(database: Database, tmp_path: Path) -> OneDue:
    """One picture, a slot that is due, and as many workers for them as a test asks for."""
    stock(database, tmp_path, 1)
    slot(database, NOON)
    return partial(outbox, database, tmp_path)
