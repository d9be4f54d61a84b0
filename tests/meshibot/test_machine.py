"""The promise of the outbox, whatever happens: 100 sequences by default, 2,000 in the long run."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.meshibot.machine import KeyedMachine, OutboxMachine

SHORT = settings(
    max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
LONG = settings(SHORT, max_examples=2000, stateful_step_count=40)


def test_at_most_once_whatever_happens() -> None:
    run_state_machine_as_test(OutboxMachine, settings=SHORT)


def test_at_most_once_with_keys_whatever_happens() -> None:
    run_state_machine_as_test(KeyedMachine, settings=settings(SHORT, max_examples=30))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_at_most_once_in_the_long_run() -> None:
    run_state_machine_as_test(OutboxMachine, settings=LONG)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_at_most_once_with_keys_in_the_long_run() -> None:
    run_state_machine_as_test(KeyedMachine, settings=settings(LONG, max_examples=500))
