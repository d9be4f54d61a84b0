"""The fake X from a test's side: start it, arrange faults, read its ledger."""

from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from meshibot.publishers.credentials import OAuth1Credentials
from testbed.fakes.network import Fake

USER_ID = "1700000000000000001"
CREDENTIALS = OAuth1Credentials(
    "consumer-key-4f9d21", "consumer/secret+8c77=e1", f"{USER_ID}-token-b2a9", "token&secret 5e0b%d4"
)
"""Planted values, with every character that an encoding could trip over."""


class FakeX(Fake):
    """A running fake X."""

    module: ClassVar[str] = "testbed.fakes.x_server"

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
