"""The bad year of `machine`, on the networks themselves: real publishers, and fakes that fail on the wire."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import rule

from meshibot.publishers.base import Draft, Fence, MediaRef, Publisher, Sent, unfenced
from testbed.fakes.network import Fake
from testbed.ledger import STARTED, Killed, MovableClock
from testbed.publishers import at
from tests.meshibot.outbox.machine import OutboxMachine

ENDPOINTS: Mapping[str, Mapping[str, str]] = {
    "bluesky": {"upload": "upload", "send": "put", "find": "get"},
    "mastodon": {"upload": "upload", "send": "status", "find": "timeline"},
    "misskey": {"upload": "upload", "send": "note", "find": "timeline"},
    "x": {"upload": "upload", "send": "tweets", "find": "timeline"},
}
REJECTED = {"bluesky": "validation", "mastodon": "validation", "misskey": "prohibited", "x": "list_error"}
ON_THE_WIRE: Mapping[str, Mapping[str, Any]] = {
    "later": {"fault": "rate_limited", "headers": {}},
    "limited": {"fault": "rate_limited", "headers": {"retry-after": "900"}},
    "stopped": {"fault": "revoked"},
    "unclear": {"fault": "status", "status": 503},
    "duplicate": {"fault": "status", "status": 500},
    "lost": {"fault": "commit_then_drop"},
    "garbage": {"fault": "garbage"},
}
"""What the machine's faults are on the wire; the others happen here."""


class WireLedger:
    """What a fake has, and its clock, which goes with the machine's."""

    def __init__(self, fake: Any, clock: MovableClock) -> None:
        self.fake = fake
        self.clock = clock
        self.ahead = 0.0

    def posts(self) -> list[dict[str, Any]]:
        return list(self.fake.posts())

    def keep_time(self) -> float:
        """Let as much time go by there as did here; the fake's now."""
        gone = self.clock.elapsed - STARTED
        if gone > self.ahead:
            self.fake.advance(gone - self.ahead)
            self.ahead = gone
        return time.time() + self.ahead


class WirePublisher:
    """A publisher, for whose calls faults are arranged at its fake."""

    def __init__(self, inner: Publisher, ledger: WireLedger) -> None:
        self.inner = inner
        self.ledger = ledger
        self.faults: dict[str, deque[str]] = {"upload": deque(), "send": deque(), "find": deque()}
        self.lag = 0.0
        self.during: dict[str, Callable[[], None]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def upload(self, draft: Draft) -> tuple[MediaRef, ...]:
        self.happen("upload")
        self.arrange("upload")
        return self.inner.upload(draft)

    def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
        def fence_and_then() -> float:
            left = fence()
            self.happen("send")  # while the request is under way
            return left

        fault = self.arrange("send")
        sent = self.inner.send(draft, media, fence_and_then)
        if fault == "killed-after":
            raise Killed
        return sent

    def find(self, draft: Draft, since: Any) -> tuple[Sent, ...]:
        self.happen("find")
        fault = self.arrange("find")
        if fault in (None, "fine") and self.lag:
            seen = self.ledger.keep_time() - self.lag
            self.ledger.fake.set_fault(ENDPOINTS[self.inner.name]["find"], "late", since=seen)
        return self.inner.find(draft, since)

    def happen(self, call: str) -> None:
        if call in self.during:
            self.during.pop(call)()

    def arrange(self, call: str) -> str | None:
        """Have the fake fail at this call, or fail here."""
        self.ledger.keep_time()
        fault = self.faults[call].popleft() if self.faults[call] else None
        if fault == "bug":
            raise ZeroDivisionError
        if fault == "killed":
            raise Killed
        endpoint = ENDPOINTS[self.inner.name][call]
        if fault == "rejected":
            self.ledger.fake.set_fault(endpoint, REJECTED[self.inner.name])
        elif fault is not None and fault in ON_THE_WIRE:
            self.ledger.fake.set_fault(endpoint, **ON_THE_WIRE[fault])
        return fault


class WireMachine(OutboxMachine):
    """Three workers, each with a publisher of its own, and one account on a fake."""

    network: ClassVar[str]
    empty: ClassVar[Callable[[], Any]]
    """Gives the fake, emptied."""

    def open_ledger(self) -> WireLedger:
        return WireLedger(type(self).empty(), self.clock)

    def open_publisher(self) -> WirePublisher:
        return WirePublisher(at(self.network, self.ledger.fake.url), self.ledger)

    def teardown(self) -> None:
        super().teardown()
        for publisher in getattr(self, "publishers", ()):
            publisher.close()

    @rule(hours=st.sampled_from([0.1, -0.1, 1, -1, 2.5, -2.5, 24, -24]))
    def clock_jumps(self, hours: float) -> None:
        self.clock.jump(hours=hours)


def machine_for(network: str, empty: Callable[[], Fake]) -> type[WireMachine]:
    """The machine of one network."""
    return type(
        f"{network.title()}Machine", (WireMachine,), {"network": network, "empty": staticmethod(empty)}
    )
