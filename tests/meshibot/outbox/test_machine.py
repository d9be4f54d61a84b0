"""The promise of the outbox, whatever happens: some sequences by default, a thousand in the long run."""

from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from meshibot.database import Database
from meshibot.database.migrate import upgrade
from meshibot.database.models import Base
from tests.meshibot.outbox.machine import OutboxMachine, RecordMachine

SHORT = settings(
    max_examples=50, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
LONG = settings(SHORT, max_examples=1000, stateful_step_count=40)


def test_at_most_once_whatever_happens() -> None:
    run_state_machine_as_test(OutboxMachine, settings=SHORT)


def test_at_most_once_under_a_name_whatever_happens() -> None:
    run_state_machine_as_test(RecordMachine, settings=settings(SHORT, max_examples=30))


class PostgresMachine(OutboxMachine):
    """The same on PostgreSQL, emptied for each sequence."""

    url: ClassVar[str]

    def open_database(self) -> Database:
        database = Database.open(self.url)
        with database.connect() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(table.delete())
        return database


@pytest.mark.postgres
def test_at_most_once_on_postgresql(postgres_url: str) -> None:
    PostgresMachine.url = postgres_url
    upgrade(postgres_url)
    run_state_machine_as_test(PostgresMachine, settings=settings(SHORT, max_examples=15))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_at_most_once_in_the_long_run() -> None:
    run_state_machine_as_test(OutboxMachine, settings=LONG)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_at_most_once_under_a_name_in_the_long_run() -> None:
    run_state_machine_as_test(RecordMachine, settings=settings(LONG, max_examples=200))
