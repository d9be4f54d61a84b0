"""A real browser (Debian's Chromium) and `meshibot web` as a process of its own.

`MESHIBOT_CHROMIUM` names another Chromium than the one in the path. Where there is none, tests that want one
are skipped, unless `MESHIBOT_BROWSER=required` says that there has to be one, as CI does.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from playwright.sync_api import Browser, sync_playwright

from testbed.command import Command
from testbed.homes import free_port, wait_for

FLAGS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)


def where() -> str | None:
    """The browser's program; None where there is none."""
    return os.environ.get("MESHIBOT_CHROMIUM") or shutil.which("chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, without a window."""
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=where(), args=flags)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served_process(bot: Command, *arguments: str) -> "Iterator[tuple[str, subprocess.Popen[str]]]":
    """The bot's page: its address, and the process of its own that serves it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, process.communicate()
        try:
            return requests.get(f"{url}/healthz", timeout=5).status_code in (200, 503)
        except requests.ConnectionError:
            return False

    with bot.start("web", "--port", str(port), *arguments) as process:
        try:
            wait_for(answers)
            yield url, process
        finally:
            process.terminate()
            process.communicate(timeout=30)


@contextmanager
def served(bot: Command, *arguments: str) -> Iterator[str]:
    """The bot's page; its address."""
    with served_process(bot, *arguments) as (url, _):
        yield url
