"""The promise on every network, with its own publisher: a few sequences by default, many in the long run."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from testbed.fakes.network import Fakes
from testbed.fakes.x import FakeX
from tests.meshibot.outbox.wire import ENDPOINTS, machine_for

SHORT = settings(
    max_examples=10, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


def run(network: str, how: settings, fake_x: FakeX, fakes: Fakes, folder: Path) -> None:
    number = 0

    def empty() -> Any:
        nonlocal number
        number += 1
        if network != "x":
            return fakes(network)
        fake_x.reset(folder / f"x-{number}.jsonl")
        fake_x.set_window(10**9)
        return fake_x

    run_state_machine_as_test(machine_for(network, empty), settings=how)


@pytest.mark.parametrize("network", ENDPOINTS)
def test_at_most_once_on_the_wire(network: str, fake_x: FakeX, fakes: Fakes, tmp_path: Path) -> None:
    run(network, SHORT, fake_x, fakes, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("network", ENDPOINTS)
def test_at_most_once_on_the_wire_in_the_long_run(
    network: str, fake_x: FakeX, fakes: Fakes, tmp_path: Path
) -> None:
    how = settings(SHORT, max_examples=150, stateful_step_count=30)
    run(network, how, fake_x, fakes, tmp_path)
