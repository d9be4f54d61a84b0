"""What the page costs with years of posts behind it.

    python -m benchmarks.web [--posts 100000] [--pictures 10000] [--requests 40]

Serves `meshibot web` as a process of its own over a long history (benchmarks/history.py) and a stock to
review, asks for each page again and again, and times the queries behind them in this process. Prints a table
in Markdown with the targets; judges nothing.
"""

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import requests
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from benchmarks.bot import cpu_seconds, resident_mb
from benchmarks.history import make_history
from meshibot import gallery
from meshibot.database import Database, Picture, PictureState
from meshibot.gallery import Filter, Likeness
from meshibot.stock import review
from testbed.browser import served_process
from testbed.command import Command

PAGES = {
    "gallery": "/gallery",
    "gallery, 90,000 posts down": "/gallery?before=10000",
    "gallery, one month": "/gallery?month={month}",
    "gallery, one checkpoint, the oldest": "/gallery?checkpoint=an-old-one",
    "gallery, an account without posts": "/gallery?account=main&network=nowhere",
    "review": "/review",
    "review, in the middle": "/review?picture={middle}",
    "review, grid": "/review?view=grid",
    "calendar": "/calendar",
    "a picture": "/pictures/5000",
    "home": "/",
    "insights, a year with a post every hour": "/insights",
    "metrics": "/metrics",
}


def fill(bot: Command, posts: int, pictures: int) -> None:
    """Years of posts, and a stock that nobody reviewed."""
    bot.home.mkdir(parents=True)
    make_history(f"sqlite:///{bot.database}", posts)
    rng = random.Random(1)
    with Database.open(f"sqlite:///{bot.database}") as database, database.write() as session:
        session.execute(text("UPDATE pictures SET checkpoint = 'an-old-one' WHERE id <= 100"))
        session.add_all(
            Picture(sha256=f"a{number}", checkpoint="generator-2", seed=number, score=0.5, quantile=0.5,
                    phash=rng.getrandbits(64), file=f"pictures/{number}.png", state=PictureState.APPROVED,
                    created_at=datetime.now(UTC))
            for number in range(pictures)
        )  # fmt: skip
        session.execute(
            text(
                "INSERT INTO post_metrics (post_id, measured_at, likes, reposts, replies) SELECT id, "
                "strftime('%Y-%m-%d %H:%M:%S', posted_at, '+26 hours') || '.000000', id * 7 % 40, id % 5, "
                "id % 3 FROM posts WHERE id % 12 = 0"
            )
        )


def timed(do: Callable[[], object], times: int, cpu: Callable[[], float] = time.process_time) -> str:
    """The median in milliseconds, after one that warms up, and how much of a core one took: the latter says
    what it would be on a machine with nothing else to do."""
    do()
    taken = []
    before = cpu()
    for _ in range(times):
        began = time.perf_counter()
        do()
        taken.append(1000 * (time.perf_counter() - began))
    return f"{statistics.median(taken):.0f} ms | {1000 * (cpu() - before) / times:.0f} ms"


def queries(bot: Command, posts: int, times: int) -> dict[str, str]:
    """The questions behind gallery and review, without a page around them."""
    with Database.open(f"sqlite:///{bot.database}") as database:
        likeness = Likeness()

        def ask(question: Callable[..., object]) -> Callable[[], None]:
            def asked() -> None:
                with database.read() as session:
                    question(session)

            return asked

        def nearest(session: Session) -> object:
            return likeness.nearest(session, session.scalars(select(Picture).limit(1)).one())

        return {
            "gallery's page": timed(ask(lambda session: gallery.page(session, Filter(), 49)), times),
            "gallery's page, far down": timed(
                ask(lambda session: gallery.page(session, Filter(), 49, posts // 10)), times
            ),
            "gallery's page, the oldest checkpoint": timed(
                ask(lambda session: gallery.page(session, Filter(checkpoint="an-old-one"), 49)), times
            ),
            "review's grid": timed(ask(lambda session: review.page(session, "waiting", 61)), times),
            "review's counts": timed(ask(review.counts), times),
            "the nearest of all posts": timed(ask(nearest), times),
        }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=40)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="meshibot-bench-"))
    try:
        bot = Command(folder, {"SCHEDULE": "0 * * * *", "STOCK_TARGET": "1"})
        fill(bot, options.posts, options.pictures)
        with served_process(bot) as (url, process):
            first = resident_mb(process.pid)
            token = (bot.home / "web-token").read_text().strip()
            browser = requests.Session()
            browser.post(f"{url}/login", {"token": token}, headers={"Sec-Fetch-Site": "same-origin"})
            names = {"month": f"{datetime.now(UTC):%Y-%m}", "middle": options.posts + options.pictures // 2}
            print("| page | target | median | of a core | weight |\n|---|---:|---:|---:|---:|")
            for name, path in PAGES.items():
                address = url + path.format(**names)
                answer = browser.get(address)
                answer.raise_for_status()
                took = timed(
                    partial(browser.get, address), options.requests, partial(cpu_seconds, process.pid)
                )
                print(f"| {name} | ≤ 150 ms | {took} | {len(answer.content) / 1000:.1f} kB |", flush=True)
            still = sum(len(browser.get(f"{url}/static/meshibot.{end}").content) for end in ("css", "js"))
            print(f"| style sheet and script | | | | {still / 1000:.1f} kB |")
            last = resident_mb(process.pid)
            print(f"\nweb process: {first:.1f} MB at start, {last:.1f} MB afterwards (≤ 60)\n")
        print("| query | target | median | of a core |\n|---|---:|---:|---:|")
        for name, took in queries(bot, options.posts, options.requests).items():
            print(f"| {name} | ≤ 50 ms | {took} |")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
