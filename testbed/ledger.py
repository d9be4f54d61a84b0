"""A network of our own for the tests of the outbox: a file that only grows, a clock that can be moved.

Each line of the ledger is a post that exists. Several processes may write it at once.
"""

import fcntl
import io
import json
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo

from meshibot.clock import Clock, SystemClock
from meshibot.database import Account, Database, Picture, PictureState, Slot
from meshibot.database.migrate import upgrade
from meshibot.outbox import Channel, Order, Outbox, Policy, Words
from meshibot.publishers.base import (
    VISIBILITIES,
    AccountStopped,
    Count,
    Draft,
    Fence,
    Idempotency,
    Identity,
    Limits,
    MediaRef,
    PossibleDuplicate,
    Price,
    Publisher,
    Rejected,
    Remark,
    RetryLater,
    Seen,
    Sent,
    Unclear,
    Visibility,
    contains_marker,
    unfenced,
)
from meshibot.publishers.settings import PublisherSettings
from meshibot.slots import Schedule

UTC_ZONE = ZoneInfo("UTC")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
LIMITS = Limits(
    caption=None,
    alt_text=1000,
    media=1,
    image_bytes=5_000_000,
    image_side=4096,
    media_types=("image/jpeg",),
)


class Killed(BaseException):
    """Stands for the end of a process: nothing may tidy up after it."""


STARTED = 40_000.0
"""A machine has run for a while: what takes this for a length of time is wrong, and would be right at 0."""


@dataclass
class MovableClock:
    """A clock that moves when it is told to, and when somebody sleeps."""

    time: datetime = NOON
    elapsed: float = STARTED
    """Seconds that really went by since the machine was started."""

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.move(seconds=seconds)

    def move(self, **amount: float) -> None:
        """Let time go by."""
        self.time += timedelta(**amount)
        self.elapsed += timedelta(**amount).total_seconds()

    def jump(self, **amount: float) -> None:
        """Set the clock."""
        self.time += timedelta(**amount)


@dataclass(frozen=True)
class ShiftedClock:
    """The machine's clock, set wrong."""

    shift: timedelta

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Ledger:
    """What exists on the network."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def posts(self) -> list[dict[str, str]]:
        with self.path.open() as file:
            return [json.loads(line) for line in file]

    def add(self, draft: Draft, now: float, lag: float, *, by_name: bool) -> Sent:
        """Make the post, seen after the lag; `by_name` one that has the key of another is the same post."""
        with self.path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = [json.loads(line) for line in file]
            for line in lines:
                if by_name and line["key"] == draft.idempotency_key:
                    return Sent(line["id"], line["url"])
            remote = f"r{len(lines) + 1}"
            line = {
                "id": remote,
                "url": f"https://ledger.example/{remote}",
                "key": draft.idempotency_key,
                "text": draft.caption,
                "alt": draft.alt_text,
                "file": str(draft.media[0]),
                "made": str(now),
                "visible": str(now + lag),
            }
            file.write(json.dumps(line) + "\n")
            return Sent(remote, line["url"])


Step = Callable[[], None]


@dataclass
class LedgerPublisher:
    """A network that can only be asked what it has; each request takes its fault from a queue of faults."""

    name: ClassVar[str] = "ledger"
    title: ClassVar[str] = "the ledger"
    settings: ClassVar[type[PublisherSettings]] = PublisherSettings
    idempotency: ClassVar[Idempotency] = "reconcile"
    visibilities: ClassVar[tuple[Visibility, ...]] = VISIBILITIES
    marks_sensitive: ClassVar[bool] = True
    price: ClassVar[Price] = Price()

    ledger: Ledger
    clock: Clock
    faults: dict[str, deque[str]] = field(
        default_factory=lambda: {"upload": deque(), "send": deque(), "find": deque()}
    )
    lag: float = 0.0
    """Seconds until a post is seen on the timeline."""
    during: dict[str, Step] = field(default_factory=dict)
    """Called while a request of this name is under way, or right before the `fence`, once."""
    calls: list[str] = field(default_factory=list)
    """What was asked about posts of ours."""
    asked: list[str] = field(default_factory=list)
    """What was asked about the account."""
    limits: Limits = LIMITS

    @classmethod
    def open(cls, account: PublisherSettings, home: Path) -> "LedgerPublisher":
        return cls(Ledger(home / "ledger"), SystemClock())

    @staticmethod
    def count(caption: str, limits: Limits) -> tuple[Count, ...]:
        return ()

    @staticmethod
    def has_link(caption: str) -> bool:
        return False

    def post_url(self, remote_id: str) -> str:
        return f"https://ledger.example/{remote_id}"

    def named(self, said: str) -> Sent:
        return Sent(said, "")

    def upload(self, draft: Draft) -> tuple[MediaRef, ...]:
        self.calls.append("upload")
        for file in draft.media:
            file.read_bytes()
        self._fault("upload")
        return (MediaRef(f"m{len(self.calls)}", self.clock.now() + timedelta(days=1)),)

    def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
        self.calls.append("send")
        assert media
        assert all(ref.expires_at is None or ref.expires_at > self.clock.now() for ref in media)
        if "fence" in self.during:
            self.during.pop("fence")()
        fence()
        after = self._fault("send")
        by_name = self.idempotency == "record"
        sent = self.ledger.add(draft, self._elapsed(), self.lag, by_name=by_name)
        if after == "lost":
            raise Unclear("The answer was lost.")
        if after == "killed-after":
            raise Killed
        if after == "garbage":
            raise ValueError("not JSON")
        return sent

    def find(self, draft: Draft, since: datetime) -> tuple[Sent, ...]:
        self.calls.append("find")
        self._fault("find")
        return tuple(
            Sent(line["id"], line["url"])
            for line in self._visible()
            if contains_marker(line["text"], draft.marker)
        )

    def latest(self, count: int) -> tuple[str, ...]:
        self.asked.append("latest")
        return tuple(line["text"] for line in reversed(self._visible()))[:count]

    def _visible(self) -> list[dict[str, str]]:
        return [line for line in self.ledger.posts() if float(line["visible"]) <= self._elapsed()]

    def published(self, since: datetime) -> Iterator[Seen]:
        self._fault("find")
        for line in reversed(self.ledger.posts()):
            at = NOON + timedelta(seconds=float(line["made"]))
            if at >= since:
                yield Seen(Sent(line["id"], line["url"]), line["text"], at)

    def delete(self, remote_id: str) -> None:
        self.calls.append(f"delete {remote_id}")

    def check(self) -> Identity:
        self.asked.append("check")
        return Identity("1", "ledger", "https://ledger.example")

    def remarks(self) -> tuple[Remark, ...]:
        return ()

    def close(self) -> None:
        pass

    def _elapsed(self) -> float:
        return self.clock.elapsed if isinstance(self.clock, MovableClock) else time.monotonic()

    def _fault(self, call: str) -> str | None:
        if call in self.during:
            self.during.pop(call)()
        fault = self.faults[call].popleft() if self.faults[call] else None
        match fault:
            case "later":
                raise RetryLater("The network is busy.", http_status=503)
            case "limited":
                raise RetryLater("Too many posts.", self.clock.now() + timedelta(minutes=15), http_status=429)
            case "rejected":
                raise Rejected("The network does not want it.", http_status=400)
            case "stopped":
                raise AccountStopped("The credits are used up.", "Buy some.", http_status=402)
            case "unclear":
                raise Unclear("The connection was cut.")
            case "duplicate":
                raise PossibleDuplicate("It says that it has this text.", http_status=403)
            case "bug":
                raise ZeroDivisionError
            case "killed":
                raise Killed
        return fault


class RecordPublisher(LedgerPublisher):
    """A network that writes under a name of the caller's choice."""

    idempotency: ClassVar[Idempotency] = "record"


def describe(order: Order) -> Words:
    return Words(f"A bowl. {order.marker}", "A generated picture.")


def channel(
    folder: Path,
    publisher: Publisher,
    account: str = "main",
    *,
    schedule: Schedule | None = None,
) -> Channel:
    """An account whose pictures are files of a few bytes."""

    def prepare(order: Order, words: Words) -> Path:
        file = folder / f"{order.account}-{order.serial}.jpg"
        file.write_bytes(b"".join((folder / picture.file).read_bytes() for picture in order.pictures))
        return file

    return Channel(account, publisher, schedule or Schedule("0 * * * *", UTC_ZONE), describe, prepare)


def outbox(
    database: Database, folder: Path, publisher: LedgerPublisher, policy: Policy | None = None
) -> Outbox:
    """One worker for the account `main`."""
    clock = publisher.clock
    assert isinstance(clock, MovableClock)
    return Outbox(
        database,
        [channel(folder, publisher)],
        policy or Policy(),
        clock,
        random.Random(1),
        elapsed=lambda: clock.elapsed,
    )


OneDue = Callable[..., Outbox]
"""Makes a worker over a network (and by a policy) for a stock of one picture and a slot that is due."""


@cache
def _empty_database() -> bytes:
    """An upgraded database, made once: each test starts from a copy."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "empty.sqlite"
        upgrade(f"sqlite:///{file}")
        return file.read_bytes()


def new_database(folder: Path) -> Database:
    """An empty database, `bot.sqlite` in the folder."""
    file = folder / "bot.sqlite"
    file.write_bytes(_empty_database())
    return Database.open(f"sqlite:///{file}")


@cache
def _smallest_picture() -> bytes:
    """A JPEG that networks take."""
    from PIL import Image  # what a resident daemon is made of here has none

    data = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 120, 60)).save(data, "JPEG")
    return data.getvalue()


def stock(database: Database, folder: Path, count: int, seed: int = 0) -> None:
    """Fill the stock with pictures that don't look alike."""
    rng = random.Random(seed)
    with database.write() as session:
        for number in range(count):
            name = f"picture-{seed}-{number}.png"
            (folder / name).write_bytes(_smallest_picture())
            session.add(
                Picture(
                    sha256=f"{seed:032x}{number:032x}",
                    checkpoint="c",
                    seed=number,
                    score=0.5,
                    quantile=0.5,
                    phash=rng.getrandbits(64),
                    file=name,
                    state=PictureState.APPROVED,
                    created_at=NOON,
                )
            )


def slot(database: Database, due: datetime, account: str = "main") -> int:
    """Plan one slot."""
    with database.write() as session:
        if session.get(Account, account) is None:
            session.add(Account(name=account, publisher="ledger"))
            session.flush()
        # to the microsecond: a test may plan two slots within a second
        row = Slot(account=account, key=f"{account}|{due:%Y-%m-%dT%H:%M:%S.%f}", due_at=due, local=str(due))
        session.add(row)
        session.flush()
        return row.id
