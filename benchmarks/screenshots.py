"""Screenshots of `meshibot web`, in docs/images: a bot with a stock and some weeks of posts, and a browser.

    python -m benchmarks.screenshots [--home FOLDER [--picture N]] [--all FOLDER [--run RUN]]

Every picture in them is sampled from the checkpoint in the package. `--home` keeps the bot's home for the
next time; `--all` writes every page instead, wide and narrow, light and dark, in both languages, to be
looked at.
Wants Chromium, see testbed/browser.py.
"""

import argparse
import io
import random
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from PIL import Image
from playwright.sync_api import Browser, Page
from sqlalchemy import select

from meshibot.captions import load_captions
from meshibot.config.models import shipped_checkpoint
from meshibot.database import (
    Account,
    Daemon,
    Database,
    Picture,
    PictureState,
    Post,
    PostMetrics,
    PostPicture,
    PostState,
    Slot,
    SlotState,
)
from meshibot.database.migrate import upgrade
from meshibot.kinds import Kind
from meshibot.slots import Schedule, plan
from meshibot.slots.changes import Desk, Words, add, put, skip
from meshibot.slots.planner import write_slots
from meshibot.stock.stock import Stock
from testbed.browser import chromium, served
from testbed.command import Command

ZONE = ZoneInfo("Asia/Tokyo")
CRON = "0 23 * * *; 30 0 * * 6"
SCHEDULE = Schedule(CRON, ZONE)
POSTED, WAITING = 30, 24
IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
PAGES = ("/", "/review", "/review?view=grid", "/gallery", "/calendar", "/calendar?view=week", "/insights")


def fill(home: Path) -> None:
    """A bot that has posted for some weeks."""
    home.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{home / 'meshibot.sqlite3'}"
    upgrade(url)
    with Database.open(url) as database:
        stock = Stock(database, home, shipped_checkpoint(), 0.1)
        if stock.count() == 0:
            stock.fill(POSTED + WAITING)
            tell_a_story(database, datetime.now(UTC))
        with database.write() as session:
            for daemon in session.scalars(select(Daemon)):
                daemon.seen_at = datetime.now(UTC)


def tell_a_story(database: Database, now: datetime) -> None:
    """Posts until today, one missed slot, and what somebody did to those that are to come."""
    rng = random.Random(7)
    begin = now - timedelta(days=POSTED - 4)
    past = [slot for slot in plan(CRON, ZONE, begin, POSTED) if slot.due_at < now]
    captions = load_captions("ja")
    with database.write() as session:
        session.add(Account(name="main", publisher="folder", planned_until=now))
        session.add(Daemon(id="d", host="h", pid=1, version="1", started_at=begin, seen_at=now))
        session.flush()
        pictures = iter(session.scalars(select(Picture).order_by(Picture.id)).all())
        serial = 0
        for number, planned in enumerate(past):
            slot = Slot(account="main", key=planned.key("main"), due_at=planned.due_at, local=planned.local)
            session.add(slot)
            if number == len(past) - 5:
                slot.state, slot.reason = (
                    SlotState.MISSED,
                    "No meshibot came to it before its grace of 2:00:00 was over.",
                )
                continue
            slot.state, picture = SlotState.TAKEN, next(pictures)
            picture.state, serial = PictureState.POSTED, serial + 1
            session.flush()
            post = Post(
                account="main", publisher="folder", slot_id=slot.id, serial=serial, kind=Kind.SINGLE,
                state=PostState.POSTED, caption=captions.caption(serial, planned.due_at.astimezone(ZONE)),
                alt_text=captions.alt_text(), remote_id=f"r{serial}", not_before=planned.due_at,
                due_at=planned.due_at, deadline=planned.due_at, created_at=planned.due_at,
                sent_at=planned.due_at, posted_at=planned.due_at + timedelta(seconds=3),
                pictures=[PostPicture(picture_id=picture.id, position=0)],
            )  # fmt: skip
            session.add(post)
            session.flush()
            likes, reposts, replies = rng.randrange(60), rng.randrange(9), rng.randrange(4)
            session.add(
                PostMetrics(
                    post_id=post.id, measured_at=min(now, planned.due_at + timedelta(hours=25)),
                    likes=likes, reposts=reposts, replies=replies,
                )
            )  # fmt: skip
        account = session.get_one(Account, "main")
        account.next_serial, account.last_sent_at = serial + 1, past[-1].due_at
        write_slots(session, "main", SCHEDULE, now, rng)
    desk = Desk(database, "main", "folder", SCHEDULE, "web page")
    ahead = plan(CRON, ZONE, now, 9)
    with database.read() as session:
        stock = list(session.scalars(select(Picture.id).where(Picture.state == PictureState.APPROVED)))
    put(desk, datetime.fromisoformat(ahead[1].minute), stock[5], Words("週末の一杯。\n{marker} (AI生成)"))
    skip(desk, datetime.fromisoformat(ahead[3].minute))
    noon = datetime.fromisoformat(ahead[4].minute).replace(hour=12, minute=15)
    put(desk, add(desk, noon).slot, stock[9])


def shoot(page: Page, target: Path) -> None:
    """What the browser shows, as WebP."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").save(target, "WEBP", quality=82, method=6)


def looks(browser: Browser, link: str, url: str) -> Iterator[tuple[str, Page]]:
    """Every theme, language and width, logged in."""
    for scheme in ("light", "dark"):
        for language in ("en", "ja"):
            for width, height in ((1280, 860), (390, 844)):
                with browser.new_context(
                    color_scheme=scheme, locale=language, viewport={"width": width, "height": height},
                    storage_state=None,
                ) as context:  # fmt: skip
                    page = context.new_page()
                    page.goto(f"{url}/login")
                    page.fill("#token", link)
                    page.click("button.main")
                    yield f"{width}-{scheme}-{language}", page


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--all", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--picture", type=int, default=POSTED, help="which one is reviewed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.home or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bot = Command(folder, {"SCHEDULE": CRON, "CAPTIONS": "ja"})
        fill(bot.home)
        arguments = ["--run", str(options.run)] if options.run else []
        with served(bot, *arguments) as url, chromium() as browser:
            token = (bot.home / "web-token").read_text().strip()
            for name, page in looks(browser, token, url):
                if options.all:
                    options.all.mkdir(parents=True, exist_ok=True)
                    extra = [
                        "/pictures/3",
                        "/slot?account=main&slot=34",
                        *(["/training"] if options.run else []),
                    ]
                    for path in (*PAGES, *extra):
                        page.goto(url + path)
                        page.wait_for_load_state("networkidle")
                        label = (
                            path.strip("/").replace("?", "-").replace("/", "-").replace("&", "-") or "home"
                        )
                        page.screenshot(
                            path=options.all / f"{label}-{name}.png", full_page="grid" not in path
                        )
                elif name in ("1280-light-en", "1280-dark-ja"):
                    for path, address in (
                        ("/review", f"/review?picture={options.picture}"),
                        ("/calendar", "/calendar"),
                    ):
                        page.set_viewport_size(
                            {"width": 1280, "height": 1000 if path == "/calendar" else 800}
                        )
                        page.goto(url + address)
                        page.wait_for_load_state("networkidle")
                        language = name[-2:]
                        shoot(page, IMAGES / f"web{path.replace('/', '-')}-{language}.webp")


if __name__ == "__main__":
    main()
