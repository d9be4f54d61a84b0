"""The page in a real browser, served by a process of its own.

In each test: no error on the console, no report of the content security policy, no request to another host.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import select

from meshibot.database import (
    Account,
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
from meshibot.kinds import Kind
from testbed.browser import served
from testbed.command import Command
from testbed.homes import address, ask, due, stocked, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PATIENCE = 20_000
"""Milliseconds."""
NARROW = {"width": 390, "height": 844}
WIDE = {"width": 1280, "height": 860}


@pytest.fixture
def bot(tmp_path: Path) -> Command:
    """A bot with six pictures in stock, and a post that needs a person."""
    bot = stocked(Command(tmp_path, {"SCHEDULE": "0 23 * * *", "CAPTIONS": "en", "REVIEW": "required"}), 6)
    tell(bot)
    return bot


def tell(bot: Command) -> None:
    """Something of everything that pages show."""
    now = datetime.now(UTC)
    with Database.open(address(bot)) as database, database.write() as session:
        session.add(Account(name="main", publisher="folder", next_serial=3))
        session.flush()
        missed = Slot(
            account="main", key="main|2026-01-01T00:00", due_at=now - timedelta(hours=30), local="then"
        )
        missed.state, missed.reason = SlotState.MISSED, "The stock was empty."
        session.add(missed)
        for serial, state in ((1, PostState.POSTED), (2, PostState.NEEDS_PERSON)):
            session.get_one(Picture, serial).state = PictureState.POSTED
            post = Post(account="main", publisher="folder", serial=serial, kind=Kind.SINGLE, state=state)
            post.caption, post.alt_text = f"A bowl. No.{serial:04d}", "A generated bowl."
            post.due_at = post.created_at = post.not_before = now - timedelta(hours=5 * serial)
            post.sent_at = post.posted_at = post.due_at
            post.deadline = now + timedelta(days=1)
            post.pictures = [PostPicture(picture_id=serial, position=0)]
            session.add(post)


@contextmanager
def visitor(
    browser: Browser, url: str, bot: Command, *, expected: tuple[str, ...] = (), **options: Any
) -> Iterator[Page]:
    """Somebody who is logged in; the browser may complain of what is expected alone."""
    faults: list[str] = []
    with browser.new_context(**{"viewport": WIDE, "locale": "en"} | options) as context:
        watch(context, url, faults)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{url}/login")
        page.fill("#token", (bot.home / "web-token").read_text().strip())
        page.click("button.main")
        page.wait_for_url(f"{url}/")
        yield page
    assert [fault for fault in faults if not any(each in fault for each in expected)] == []


def watch(context: BrowserContext, url: str, faults: list[str]) -> None:
    """Note errors on the console, which include what the policy stopped, and whatever leaves this host."""
    context.on(
        "console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None
    )
    context.on("weberror", lambda error: faults.append(str(error.error)))
    context.on("request", lambda sent: None if sent.url.startswith(url) else faults.append(sent.url))


def states(bot: Command) -> list[tuple[Any, ...]]:
    return ask(bot, "SELECT id, state, verdict, verdict_reason FROM pictures ORDER BY id")


def test_what_is_approved_is_posted_by_a_running_daemon_and_seen_in_the_gallery(
    chromium: Browser, bot: Command
) -> None:
    with served(bot) as url, visitor(chromium, url, bot) as page:
        page.goto(f"{url}/review")
        page.get_by_role("button", name="Approve").click()
        expect(page.locator("#note")).to_contain_text("Approved.")
        due(bot, "main")
        with bot.start("run") as daemon:
            try:
                wait_for(lambda: ask(bot, "SELECT count(*) FROM posts WHERE state = 'posted'") == [(2,)])
            finally:
                daemon.terminate()
            daemon.communicate(timeout=60)
        page.goto(f"{url}/gallery")
        expect(page.locator(".wall a").first).to_have_attribute("href", "/pictures/3")
        page.locator(".wall a").first.click()
        expect(page.get_by_role("heading", name="Picture 3")).to_be_visible()
        expect(page.locator("blockquote")).to_contain_text("No.0003")


def test_the_link_that_is_printed_lets_in_once(chromium: Browser, bot: Command) -> None:
    with served(bot) as url:
        line = bot("web", "--link", "--port", url.rpartition(":")[2]).stderr
        link = re.search(r"http://\S+", line)
        assert link is not None
        for works in (True, False):
            with chromium.new_context(locale="en") as context:
                page = context.new_page()
                page.goto(link[0])
                page.get_by_role("button", name="Log in").click()
                if works:
                    expect(page.get_by_role("heading", name="Needs you")).to_be_visible()
                else:
                    expect(page.get_by_role("alert")).to_contain_text("did not let you in")


def test_by_keyboard_alone(chromium: Browser, bot: Command) -> None:
    with served(bot) as url, visitor(chromium, url, bot) as page:
        page.goto(f"{url}/review")
        picture = page.locator("figcaption a")
        expect(picture).to_have_text("Picture 3")
        page.keyboard.press("j")
        expect(picture).to_have_text("Picture 4")
        page.keyboard.press("ArrowLeft")
        expect(picture).to_have_text("Picture 3")
        page.keyboard.press("3")  # blurred
        expect(page.locator("#note")).to_contain_text("Rejected.")
        expect(picture).to_have_text("Picture 4")
        assert states(bot)[2] == (3, "rejected", "rejected", "blurred")
        page.keyboard.press("z")
        expect(page.locator("#note")).to_contain_text("Undone.")
        assert states(bot)[2] == (3, "approved", None, None)
        page.keyboard.press("a")
        expect(page.locator("#note")).to_contain_text("Approved.")
        page.keyboard.press("Control+z")
        expect(page.locator("#note")).to_contain_text("Undone.")
        page.keyboard.press("e")
        expect(page.locator("#caption")).to_be_focused()
        page.keyboard.type("ax1 stay words")
        page.keyboard.press("Escape")
        assert states(bot)[2] == (3, "approved", None, None)
        page.keyboard.press("?")
        expect(page.locator("#keys dl")).to_be_visible()
        page.keyboard.press("g")
        expect(page.locator("ul.grid li")).to_have_count(4)
        for key in ("j", "x", "j", "x"):
            page.keyboard.press(key)
        expect(page.locator("#selected")).to_have_text("2 selected")
        page.keyboard.press("1")
        expect(page.locator("#note")).to_contain_text("2 changed.")
        assert [row[3] for row in states(bot)].count("alike") == 2
        page.keyboard.press("z")
        expect(page.locator("#note")).to_contain_text("Undone.")
        assert [row[3] for row in states(bot)].count("alike") == 0


def test_keys_can_be_switched_off(chromium: Browser, bot: Command) -> None:
    with served(bot) as url, visitor(chromium, url, bot) as page:
        page.goto(f"{url}/review")
        page.keyboard.press("?")
        page.get_by_label("Keys are on").uncheck()
        page.locator("main").focus()
        page.keyboard.press("a")
        page.goto(f"{url}/review")
        page.keyboard.press("a")
        expect(page.locator("figcaption a")).to_have_text("Picture 3")
        assert states(bot)[2] == (3, "approved", None, None)


def test_words_and_slots_are_edited_skipped_swapped_and_taken_back(chromium: Browser, bot: Command) -> None:
    with served(bot) as url, visitor(chromium, url, bot) as page:
        page.goto(f"{url}/review")
        page.locator("#words summary").click()
        page.fill("#caption", "By hand. {marker}")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#note")).to_contain_text("The words are kept.")
        page.get_by_text("Put it into a slot").click()
        page.get_by_role("button", name="Put it there").click()
        expect(page.locator("#note")).to_contain_text("The slot has its picture.")
        page.goto(f"{url}/")
        page.locator(".strip a").first.click()
        expect(page.locator("blockquote")).to_have_text("By hand. {marker}")
        page.locator("#with").select_option(index=0)
        page.get_by_role("button", name="Swap").click()
        expect(page.locator("#note")).to_contain_text("Swapped.")
        expect(page.locator("blockquote")).to_have_count(0)
        page.locator("#note").get_by_role("button", name="Undo").click()
        expect(page.locator("#note")).to_contain_text("Undone.")
        page.get_by_role("button", name="Skip").click()
        expect(page.locator("#note")).to_contain_text("Skipped.")
        page.get_by_role("button", name="Plan again").click()
        expect(page.locator("#note")).to_contain_text("Planned again.")
        page.goto(f"{url}/calendar")
        expect(page.locator(".is-missed .why").last).to_contain_text("The stock was empty.")
        page.fill("#at", f"{datetime.now() + timedelta(days=3):%Y-%m-%dT12:30}")
        page.get_by_role("button", name="Add").click()
        expect(page.locator("#note")).to_contain_text("Added.")
        page.locator("#note").get_by_role("button", name="Undo").click()
        expect(page.locator("#note")).to_contain_text("Undone.")


def test_an_unclear_post_is_resolved(chromium: Browser, bot: Command) -> None:
    with served(bot) as url, visitor(chromium, url, bot) as page:
        page.get_by_role("button", name="It is not there").click()
        expect(page.get_by_text("Nothing needs you.")).to_have_count(0)  # too few are approved
        expect(page.get_by_role("heading", name="No.0002")).to_have_count(0)
    assert ask(bot, "SELECT state FROM posts WHERE serial = 2") == [("retry",)]


def test_two_reviewers_at_once(chromium: Browser, bot: Command) -> None:
    with (
        served(bot) as url,
        visitor(chromium, url, bot) as one,
        visitor(chromium, url, bot, expected=("409 (Conflict)",)) as other,
    ):
        for page in (one, other):
            page.goto(f"{url}/review")
        one.get_by_role("button", name="Reject", exact=True).click()
        expect(one.locator("#note")).to_contain_text("Rejected.")
        other.get_by_role("button", name="Approve").click()
        expect(other.get_by_role("heading", level=1)).to_contain_text("was changed meanwhile")
    assert states(bot)[2][1:3] == ("rejected", "rejected")


def test_everything_works_without_javascript(chromium: Browser, bot: Command) -> None:
    with served(bot) as url, visitor(chromium, url, bot, java_script_enabled=False, viewport=NARROW) as page:
        page.get_by_role("link", name="Review", exact=True).click()
        page.get_by_role("button", name="blurred").click()
        expect(page.locator("#note")).to_contain_text("Rejected.")
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#note")).to_contain_text("Undone.")
        page.locator("#words summary").click()
        page.fill("#caption", "Mine")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#note")).to_contain_text("The words are kept.")
        page.get_by_text("Put it into a slot").click()
        page.get_by_role("button", name="Put it there").click()
        expect(page.locator("#note")).to_contain_text("The slot has its picture.")
        page.get_by_role("link", name="Grid").click()
        page.locator(".pick input").first.check()
        page.get_by_role("button", name="Approve selected").click()
        expect(page.locator("#note")).to_contain_text("Approved.")
        page.get_by_role("link", name="Calendar").click()
        page.locator(".slot.is-planned, .slot.is-expected").last.click()
        page.get_by_role("button", name="Skip").click()
        expect(page.locator("#note")).to_contain_text("Skipped.")
        page.get_by_role("link", name="Gallery").click()
        page.locator(".wall a").first.click()
        expect(page.get_by_role("heading", name="Where it came from")).to_be_visible()
        page.get_by_role("button", name="日本語").click()
        expect(page.get_by_role("heading", name="生成元")).to_be_visible()
        page.get_by_role("button", name="ログアウト").click()
        expect(page.get_by_role("heading", name="ログイン")).to_be_visible()


def axe() -> str:
    """axe-core, from the package that carries it for tests."""
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible_and_fits_a_telephone(
    chromium: Browser, bot: Command, tmp_path: Path, language: str, theme: Any
) -> None:
    slot = bot.json("slots", "put", bot.json("slots", "list")[0]["local"][:16], "--picture", "5")["slot"]
    run = tmp_path / "run"
    run.mkdir()
    lines = [
        {"kind": "tick", "step": step, "critic_loss": -step / 7, "images_per_s": 3.0} for step in (1, 2, 3)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pages = ["/", "/review", "/review?view=grid", "/review?show=rejected", "/gallery", "/calendar"]
    pages += [
        f"/slot?account=main&slot={slot}",
        "/pictures/1",
        "/pictures/4",
        "/calendar?view=week",
        "/insights",
        "/training",
    ]
    with Database.open(address(bot)) as database, database.write() as session:
        for post in session.scalars(select(Post)):
            a_day_later = post.due_at + timedelta(hours=25)
            session.add(PostMetrics(post_id=post.id, measured_at=a_day_later, likes=7, reposts=post.id))
    faults: list[tuple[str, ...]] = []
    with served(bot, "--run", str(run)) as url:
        for viewport in (WIDE, NARROW):
            with visitor(chromium, url, bot, viewport=viewport, locale=language, color_scheme=theme) as page:
                for path in pages:
                    page.goto(url + path)
                    page.evaluate(
                        "document.querySelectorAll('details').forEach(each => { each.open = true; })"
                    )
                    faults += [(path, *fault) for fault in (*violations(page), *small_targets(page))]
                    if page.evaluate("document.documentElement.scrollWidth") > viewport["width"]:
                        faults.append((path, "is too wide for", str(viewport["width"])))
                    assert page.evaluate("document.documentElement.lang") == language
                page.locator(".out button").click()
                page.wait_for_url(f"{url}/login*")  # a click doesn't wait for the page that it leads to
                faults += [("/login", *fault) for fault in violations(page)]
    assert faults == []


def violations(page: Page) -> list[tuple[str, str]]:
    """What axe-core finds, every rule on."""
    page.evaluate(axe())
    found = page.evaluate("axe.run()")["violations"]
    return [
        (rule["id"], node["html"][:120] + node["failureSummary"]) for rule in found for node in rule["nodes"]
    ]


def small_targets(page: Page) -> list[tuple[str, str]]:
    """Buttons and fields of less than 24 by 24 pixels (WCAG 2.5.8)."""
    found: list[str] = page.evaluate(
        """[...document.querySelectorAll('button, input:not([type=hidden]), select, summary, nav a')]
        .filter(each => each.checkVisibility({visibilityProperty: true}))
        .map(each => [each.outerHTML.slice(0, 90), each.getBoundingClientRect()])
        .filter(([_, box]) => box.width && (box.width < 23.9 && box.height < 23.9 || box.height < 17))
        .map(([html]) => html)"""
    )
    return [("is too small", html) for html in found]


def test_a_picture_is_made_again_at_a_size(chromium: Browser, tmp_path: Path) -> None:
    bot = Command(tmp_path, {"MIN_QUANTILE": "0", "STOCK_TARGET": "1", "CAPTIONS": "en"})
    assert bot("stock", "fill").returncode == 0
    with served(bot) as url, visitor(chromium, url, bot) as page:
        page.goto(f"{url}/pictures/1")
        expect(page.get_by_text("Step")).to_be_visible()
        page.fill("#size", "300")
        with page.expect_response(lambda answer: answer.url.endswith("/again"), timeout=60_000) as made:
            page.evaluate("document.querySelector('form[action$=again]').removeAttribute('target')")
            page.get_by_role("button", name="Make it again").click()
        assert made.value.headers["content-type"] == "image/png"
    sizes = bot("stock", "again", "1", "--size", "64", "--to", str(tmp_path / "again.png"))
    assert sizes.returncode == 0, sizes.stderr
    from PIL import Image

    with Image.open(tmp_path / "again.png") as image:
        assert image.size == (64, 64)
