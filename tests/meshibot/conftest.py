"""Networks and databases for tests of the bot: a process of each for a session, empty for each test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testbed.fakes.network import Fake, Fakes
from testbed.fakes.x import FakeX
from testbed.postgres import NoServerError, cluster, empty_database


@pytest.fixture(scope="session")
def fake_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Fake]]:
    """One process a network for all tests of a session, begun when it is asked for."""
    begun: dict[str, Fake] = {}
    with ExitStack() as stack:

        def process(network: str) -> Fake:
            if network not in begun:
                folder = tmp_path_factory.mktemp(f"fake-{network}")
                begun[network] = stack.enter_context(Fake.start(network, folder))
            return begun[network]

        yield process


@pytest.fixture
def fakes(fake_processes: Callable[[str], Fake], tmp_path: Path) -> Fakes:
    """Empty fakes, each with a ledger of the test's own."""

    def fake(network: str, **options: object) -> Fake:
        found = fake_processes(network)
        ledger = tmp_path / f"{network}-ledger.jsonl"
        ledger.unlink(missing_ok=True)
        found.reset(ledger, **options)
        return found

    return fake


@pytest.fixture(scope="session")
def fake_x_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeX]:
    """One process for all tests of a session; `fake_x` empties it for each."""
    with FakeX.begin(tmp_path_factory.mktemp("fake-x")) as fake:
        yield fake


@pytest.fixture
def fake_x(fake_x_process: FakeX, tmp_path: Path) -> FakeX:
    """An empty fake X with a ledger of the test's own."""
    fake_x_process.reset(tmp_path / "x-ledger.jsonl")
    return fake_x_process


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A server for all tests of a session; what is written there need not survive a power cut."""
    with ExitStack() as stack:
        try:
            address = stack.enter_context(cluster("-c fsync=off"))
        except NoServerError as error:
            pytest.skip(str(error))
        yield address


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The address of an empty database."""
    with empty_database(postgres_server) as address:
        yield address
