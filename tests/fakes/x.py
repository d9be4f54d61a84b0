"""The fake X from a test's side: start it, arrange faults, read its ledger.

Use the fixture `fake_x`, or `FakeX.begin(folder)` where a process of one's own is needed. The same helpers
serve the benchmarks.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import pytest

from meshibot.publishers.credentials import OAuth1Credentials
from tests.fakes.network import Fake

USER_ID = "1700000000000000001"
CREDENTIALS = OAuth1Credentials(
    "consumer-key-4f9d21", "consumer/secret+8c77=e1", f"{USER_ID}-token-b2a9", "token&secret 5e0b%d4"
)
"""Planted values, with every character that an encoding could trip over."""


class FakeX(Fake):
    """A running fake X."""

    module: ClassVar[str] = "tests.fakes.x_server"

    @classmethod
    def begin(cls, folder: Path, *, user_id: str = USER_ID) -> "FakeX":
        """Start a process. Two that stand for two accounts of one network need two user ids."""
        return cls.start("x", folder, **asdict(CREDENTIALS), user_id=user_id)

    @property
    def checks_schemas(self) -> bool:
        """Whether X's OpenAPI document is at hand."""
        return bool(self._control("state", {})["schemas"])

    def repost(self, text: str) -> None:
        """Have the account repost what somebody else said."""
        self._control("repost", {"text": text})

    def set_window(self, remaining: int) -> None:
        """How many requests the rate limit still lets through."""
        self._control("window", {"remaining": remaining})

    def work(self, looks: int, *, fails: bool = False) -> None:
        """Be so many looks at work on each GIF from now on; and fail then."""
        self._control("works", {"for": looks, "fails": fails})


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
