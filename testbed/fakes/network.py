"""A fake network from a test's side: start it, arrange faults, read its ledger."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

ROOT = Path(__file__).resolve().parents[2]


class Fake:
    """A running fake network."""

    module: ClassVar[str] = "testbed.fakes.{network}"

    def __init__(self, process: "subprocess.Popen[str]", url: str, ledger: Path) -> None:
        self.process = process
        self.url = url
        self.ledger_file = ledger

    @classmethod
    def start(cls, network: str, folder: Path, port: int = 0, **options: object) -> Self:
        """Start a process whose ledger is `folder`/ledger.jsonl; an existing one is taken up again.

        `options` are those of the network's module in `testbed.fakes`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        ledger = folder / "ledger.jsonl"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", cls.module.format(network=network), "--port", str(port)),
                *("--ledger", str(ledger), "--options", json.dumps(options)),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        printed = process.stdout.readline().strip()
        if not printed:
            process.wait()
            process.stdout.close()
            raise RuntimeError(f"The fake {network} did not start.")
        return cls(process, f"http://127.0.0.1:{printed}", ledger)

    def stop(self) -> None:
        """Kill it: requests that hang would keep it otherwise."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def set_fault(self, endpoint: str, fault: str, times: int = 1, **options: object) -> None:
        """Make the next `times` requests to an endpoint go wrong; see `serving.FAULTS` for how."""
        self._control("fault", {"endpoint": endpoint, "fault": fault, "times": times, **options})

    def set_chaos(self, share: float, seed: int, faults: Mapping[str, list[dict[str, Any]]]) -> None:
        """Make a share of all requests go wrong."""
        self._control("chaos", {"share": share, "seed": seed, "faults": faults})

    def advance(self, seconds: float) -> None:
        """Set the fake's clock ahead: media expire, keys are forgotten."""
        self._control("advance", {"seconds": seconds})

    def reset(self, ledger: Path, **options: object) -> None:
        """Forget everything, and go on with another ledger and as these options say."""
        self.ledger_file = ledger
        self._control("reset", {"ledger": str(ledger), "options": options})

    def ledger(self, *events: str) -> list[dict[str, Any]]:
        """The ledger's entries, of the named events only where any are named."""
        if not self.ledger_file.exists():
            return []
        entries = [json.loads(line) for line in self.ledger_file.read_text(encoding="utf-8").splitlines()]
        return [entry for entry in entries if not events or entry["event"] in events]

    def posts(self) -> list[dict[str, Any]]:
        """Every post that was ever made, deleted ones included."""
        return self.ledger("post")

    def requests(self, endpoint: str) -> int:
        """How often an endpoint was asked, whatever came of it."""
        return sum(entry["endpoint"] == endpoint for entry in self.ledger("request"))

    def _control(self, verb: str, body: dict[str, object]) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 (our own address)
            f"{self.url}/_control/{verb}", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


Fakes = Callable[..., Fake]
"""From a network's name, and what it is to play, to an empty fake of it."""
