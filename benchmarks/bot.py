"""What the bot costs when nothing happens, and how quick it is when something does.

    python -m benchmarks.bot [--history 1000000] [--idle 300] [--posts 21] [--claims 2000] [--four]

Measures `meshibot` as a process of its own, posting to a fake X on this machine: first with an empty history,
then with a long one, which is built in SQLite beforehand. Claims are measured on a PostgreSQL server of our
own, with fsync, by four processes. Prints a table in Markdown with the targets; judges nothing.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.history import make_history
from meshibot.clock import SystemClock
from meshibot.database import Account, Database, Slot
from meshibot.database.migrate import upgrade
from meshibot.outbox import Outbox
from meshibot.outbox.choose import claim_next
from testbed.command import Command
from testbed.fakes.network import Fake
from testbed.fakes.x import FakeX
from testbed.homes import ask, network_settings, stocked, wait_for, x_settings
from testbed.ledger import Ledger, LedgerPublisher, channel, stock
from testbed.postgres import NoServerError, cluster, empty_database
from testbed.soak import processes

TICK = os.sysconf("SC_CLK_TCK")
RUNS = 5
"""Commands are run so often; the median counts."""
AHEAD = 35.0
"""Seconds until the first slot: the daemon looks for what others wrote every 30."""
BETWEEN = 1.5
"""Seconds between two slots."""
WORKERS = 4
GENEROUS = 600.0


@dataclass(frozen=True)
class Idle:
    """A daemon that waits."""

    resident_mb: float
    cpu_percent: float
    torch: bool


@dataclass(frozen=True)
class Prompt:
    """Seconds from a slot's due time to the first request for it (the picture) and to the post itself."""

    upload: list[float]
    post: list[float]
    resident_mb: float
    """Of the daemon, afterwards."""


@dataclass(frozen=True)
class Run:
    """A command: seconds until it ended, and of a core."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} s ({self.cpu:.2f} s of a core)"


@dataclass(frozen=True)
class Figures:
    """What one history length gives."""

    idle: Idle
    prompt: Prompt
    status: Run


# ---- the daemon ---------------------------------------------------------------------------------


def resident_mb(pid: int) -> float:
    """Resident memory, shared pages included, in MB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def cpu_seconds(pid: int) -> float:
    """Of a core, since the process began, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def idle_of(pid: int, seconds: float) -> Idle:
    """What a process costs that waits for so long."""
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return Idle(
        resident_mb(pid),
        100 * (cpu_seconds(pid) - before) / seconds,
        "torch" in Path(f"/proc/{pid}/maps").read_text(),
    )


def measure_daemon(bot: Command, fake: FakeX, idle: float, posts: int) -> tuple[Idle, Prompt]:
    """Let `meshibot run` wait, then give it slots."""
    with bot.start("run") as daemon:
        try:
            wait_for(lambda: ask(bot, "SELECT 1 FROM daemons WHERE stopped_at IS NULL") != [], GENEROUS)
            time.sleep(5)
            waiting = idle_of(daemon.pid, idle)
            dues = give_slots(bot, posts)
            wait_for(lambda: len(fake.posts()) >= posts, AHEAD + BETWEEN * posts + GENEROUS)
            prompt = Prompt(
                latencies(fake, "upload", dues), latencies(fake, "tweets", dues), resident_mb(daemon.pid)
            )
        finally:
            daemon.terminate()
        daemon.communicate(timeout=60)
    return waiting, prompt


def give_slots(bot: Command, count: int) -> list[float]:
    """Plan so many slots, not too soon; when they are due, as timestamps."""
    begin = datetime.now(UTC) + timedelta(seconds=AHEAD)
    dues = [begin + timedelta(seconds=BETWEEN * number) for number in range(count)]
    with Database.open(f"sqlite:///{bot.database}") as database, database.write() as session:
        for due in dues:
            session.add(Slot(account="main", key=f"main|{due.isoformat()}", due_at=due, local=str(due)))
    return [due.timestamp() for due in dues]


def latencies(fake: FakeX, endpoint: str, dues: Sequence[float]) -> list[float]:
    """Seconds from each slot to its request, as the network saw it."""
    seen = [entry["at"] for entry in fake.ledger("request") if entry["endpoint"] == endpoint]
    return [at - due for at, due in zip(seen, dues, strict=True)]


# ---- commands -----------------------------------------------------------------------------------


def measure_command(bot: Command, *arguments: str) -> Run:
    """The medians of a few runs, after one that warms the disk's cache."""
    runs = [run_command(bot, *arguments) for _ in range(RUNS + 1)][1:]
    return Run(statistics.median(run.wall for run in runs), statistics.median(run.cpu for run in runs))


def run_command(bot: Command, *arguments: str) -> Run:
    """Run it once. Raises RuntimeError where it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "meshibot", *arguments],
        cwd=bot.here,
        env=bot.environment(),
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"meshibot {' '.join(arguments)} ended with {process.returncode}")
    return Run(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)


# ---- claims -------------------------------------------------------------------------------------


Span = tuple[int, float, float]
"""How many claims, from when to the last one."""


def measure_claims(url: str, folder: Path, claims: int) -> float:
    """Claims a second: each commit makes a post with its serial and picture, and takes its lease."""
    upgrade(url)
    names = [f"account{number}" for number in range(claims)]
    with Database.open(url) as database:
        stock(database, folder, claims + 200)
        with database.write() as session:
            session.add_all(Account(name=name, publisher="ledger") for name in names)
            session.flush()
            due = datetime.now(UTC) - timedelta(seconds=1)
            session.add_all(Slot(account=name, key=f"{name}|", due_at=due, local="") for name in names)
    results: Queue[Span] = processes.Queue()
    start = processes.Barrier(WORKERS)
    workers = [
        processes.Process(target=claim, args=(url, folder, names, place, start, results))
        for place in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    spans = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    made = sum(count for count, _, _ in spans)
    if made != claims:
        raise RuntimeError(f"{made} claims were made of {claims} slots")
    return made / (max(end for _, _, end in spans) - min(begin for _, begin, _ in spans))


def claim(
    url: str, folder: Path, names: Sequence[str], place: int, start: Barrier, results: "Queue[Span]"
) -> None:
    """A worker: go through all accounts, from a place of its own on, and claim what there is."""
    publisher = LedgerPublisher(Ledger(folder / "ledger"), SystemClock())
    with Database.open(url) as database:
        outbox = Outbox(database, channels=[channel(folder, publisher, name) for name in names])
        first = len(names) * place // WORKERS
        count, end = 0, 0.0
        start.wait()
        begin = time.monotonic()
        for name in (*names[first:], *names[:first]):
            # `step` would go on to publish: this is its first half.
            if claim_next(outbox, outbox.channel(name)) is not None:
                count, end = count + 1, time.monotonic()
        results.put((count, begin, end))


# ---- the command --------------------------------------------------------------------------------


def measure(folder: Path, history: int, idle: float, posts: int) -> Figures:
    """Everything that may depend on how long the history is."""
    with FakeX.begin(folder / "x") as fake:
        fake.set_window(10**9)
        bot = Command(folder, {"SCHEDULE": "0 0 29 2 *"} | x_settings(fake))
        if history:
            bot.home.mkdir()
            make_history(f"sqlite:///{bot.database}", history)
        bot = stocked(bot, posts + 4)
        status = measure_command(bot, "status")
        return Figures(*measure_daemon(bot, fake, idle, posts), status)


def measure_four(folder: Path, idle: float) -> Idle:
    """A daemon with an account on each of four networks, which waits."""
    with ExitStack() as stack:
        fake = stack.enter_context(FakeX.begin(folder / "x"))
        settings = {"SCHEDULE": "0 0 29 2 *", "ACCOUNTS": "bird sky toot note"} | x_settings(fake, "bird")
        for account, network in (("sky", "bluesky"), ("toot", "mastodon"), ("note", "misskey")):
            other = stack.enter_context(Fake.start(network, folder / network))
            settings |= network_settings(network, other.url, account)
        bot = stocked(Command(folder, settings), 4)
        with bot.start("run") as daemon:
            try:
                wait_for(lambda: ask(bot, "SELECT 1 FROM daemons WHERE stopped_at IS NULL") != [], GENEROUS)
                time.sleep(5)
                return idle_of(daemon.pid, idle)
            finally:
                daemon.terminate()
                daemon.communicate(timeout=60)


def table(empty: Figures, long: Figures, four: Idle, history: int, start: Run, claims: float | None) -> str:
    """As Markdown."""

    def median(seconds: Sequence[float]) -> str:
        return f"{statistics.median(seconds):.2f} s (worst {max(seconds):.2f} s)"

    pairs: list[tuple[str, str, Callable[[Figures], str]]] = [
        ("idle daemon, resident", "≤ 80 MB", lambda f: f"{f.idle.resident_mb:.0f} MB"),
        ("idle daemon, torch in its memory map", "no", lambda f: "yes" if f.idle.torch else "no"),
        ("idle daemon, of a core", "≤ 0.2 %", lambda f: f"{f.idle.cpu_percent:.2f} %"),
        ("the daemon after its posts, resident", "", lambda f: f"{f.prompt.resident_mb:.0f} MB"),
        ("slot due to the picture's upload, median", "", lambda f: median(f.prompt.upload)),
        ("slot due to the post's request, median", "≤ 1 s", lambda f: median(f.prompt.post)),
        ("`meshibot status`, median", "≤ 0.6 s", lambda f: str(f.status)),
    ]
    lines = [f"| | target | empty history | {history:,} posts |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | {target} | {figure(empty)} | {figure(long)} |" for name, target, figure in pairs]
    lines.append(f"| idle daemon with an account on each of four networks | ≤ 80 MB | {of_four(four)} | |")
    lines.append(f"| `meshibot --help`, median | | {start} | |")
    if claims is not None:
        lines.append(f"| PostgreSQL, {WORKERS} workers | ≥ 200 claims/s | {claims:.0f} claims/s | |")
    return "\n".join(lines)


def of_four(four: Idle) -> str:
    """In a cell."""
    torch = ", with torch" if four.torch else ""
    return f"{four.resident_mb:.0f} MB, {four.cpu_percent:.2f} % of a core{torch}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--history", type=int, default=1_000_000)
    parser.add_argument("--idle", type=float, default=300.0, help="seconds")
    parser.add_argument("--posts", type=int, default=21)
    parser.add_argument("--four", action="store_true", help="only the idle daemon on four networks")
    parser.add_argument("--claims", type=int, default=2000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="meshibot-bench-"))
    try:
        for name in ("empty", "long", "four", "claims"):
            (folder / name).mkdir()
        four = measure_four(folder / "four", options.idle)
        if options.four:
            print(of_four(four))
            return
        start = measure_command(Command(folder / "empty"), "--help")
        empty = measure(folder / "empty", 0, options.idle, options.posts)
        long = measure(folder / "long", options.history, options.idle, options.posts)
        try:
            with cluster() as server, empty_database(server) as url:
                claims = measure_claims(url, folder / "claims", options.claims)
        except NoServerError as error:
            print(f"{error}: claims are not measured.", file=sys.stderr)
            claims = None
        print(table(empty, long, four, options.history, start, claims))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
