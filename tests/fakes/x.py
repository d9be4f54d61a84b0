"""The fake X from a test's side: start it, arrange faults, read its ledger.

Use the fixture `fake_x`, or `FakeX.start(folder)` where a process of one's own is needed. The same helpers
serve the benchmarks.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from meshibot.publishers.credentials import OAuth1Credentials

CREDENTIALS = OAuth1Credentials(
    "consumer-key-4f9d21", "consumer/secret+8c77=e1", "1700000000000000001-token-b2a9", "token&secret 5e0b%d4"
)
"""Planted values, with every character that an encoding could trip over."""

ROOT = Path(__file__).resolve().parents[2]

Endpoint = Literal[
    "tweets",
    "delete",
    "upload",
    "begin",
    "append",
    "finish",
    "state",
    "metadata",
    "me",
    "timeline",
    "lookup",
    "request_token",
    "access_token",
]


class FakeX:
    """A running fake X."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, ledger: Path) -> None:
        self.process = process
        self.url = url
        self.ledger_file = ledger
        self.checks_schemas: bool = self._control("state", {})["schemas"]

    @classmethod
    def start(cls, folder: Path, port: int = 0, *, user_id: str | None = None) -> "FakeX":
        """Start a process whose ledger is `folder`/ledger.jsonl; an existing one is taken up again.

        Two that stand for two accounts of one network need two user ids.
        """
        folder.mkdir(parents=True, exist_ok=True)
        ledger = folder / "ledger.jsonl"
        process = subprocess.Popen(
            [
                sys.executable,
                *("-m", "tests.fakes.x_server", "--port", str(port), "--ledger", str(ledger)),
                f"--consumer-key={CREDENTIALS.consumer_key}",
                f"--consumer-secret={CREDENTIALS.consumer_secret}",
                f"--access-token={CREDENTIALS.access_token}",
                f"--access-token-secret={CREDENTIALS.access_token_secret}",
                *([] if user_id is None else [f"--user-id={user_id}"]),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        if not said:
            process.wait()
            process.stdout.close()
            raise RuntimeError("The fake X did not start.")
        return cls(process, f"http://127.0.0.1:{said}", ledger)

    def stop(self) -> None:
        """Kill it: requests that hang would keep it otherwise."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> "FakeX":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def set_fault(self, endpoint: Endpoint, fault: str, times: int = 1, **options: object) -> None:
        """Make the next `times` requests to an endpoint go wrong; see `x_server.FAULTS` for how."""
        self._control("fault", {"endpoint": endpoint, "fault": fault, "times": times, **options})

    def set_chaos(self, share: float, seed: int, faults: Mapping[Endpoint, list[dict[str, Any]]]) -> None:
        """Make a share of all requests go wrong, and take the same text twice; see `x_server.Chaos`."""
        self._control("chaos", {"share": share, "seed": seed, "faults": faults})

    def advance(self, seconds: float) -> None:
        """Set the fake's clock ahead: media expire, timestamps move on."""
        self._control("advance", {"seconds": seconds})

    def repost(self, text: str) -> None:
        """Have the account repost what somebody else said."""
        self._control("repost", {"text": text})

    def set_window(self, remaining: int) -> None:
        """How many requests the rate limit still lets through."""
        self._control("window", {"remaining": remaining})

    def work(self, looks: int, *, fails: bool = False) -> None:
        """Be so many looks at work on each GIF from now on; and fail then."""
        self._control("works", {"for": looks, "fails": fails})

    def reset(self, ledger: Path) -> None:
        """Forget everything and go on with another ledger."""
        self.ledger_file = ledger
        self._control("reset", {"ledger": str(ledger)})

    def ledger(self, *events: str) -> list[dict[str, Any]]:
        """The ledger's entries, of the named events only where any are named."""
        if not self.ledger_file.exists():
            return []
        entries = [json.loads(line) for line in self.ledger_file.read_text(encoding="utf-8").splitlines()]
        return [entry for entry in entries if not events or entry["event"] in events]

    def posts(self) -> list[dict[str, Any]]:
        """Every post that was ever made, deleted ones included."""
        return self.ledger("post")

    def requests(self, endpoint: Endpoint) -> int:
        """How often an endpoint was asked, whatever came of it."""
        return sum(entry["endpoint"] == endpoint for entry in self.ledger("request"))

    def _control(self, verb: str, body: dict[str, object]) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self.url}/_control/{verb}", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


@pytest.fixture(scope="session")
def fake_x_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeX]:
    """One process for all tests of a session; `fake_x` empties it for each."""
    with FakeX.start(tmp_path_factory.mktemp("fake-x")) as fake:
        yield fake


@pytest.fixture
def fake_x(fake_x_process: FakeX, tmp_path: Path) -> FakeX:
    """An empty fake X with a ledger of the test's own."""
    fake_x_process.reset(tmp_path / "x-ledger.jsonl")
    return fake_x_process
