"""A page in this process, on a real database; and a browser, where there is one."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from meshibot.config import Settings, load_settings
from meshibot.database import Account
from meshibot.database.migrate import upgrade
from meshibot.web.app import make_app
from meshibot.web.guard import Rate
from meshibot.web.server import OWN_NAMES, open_site
from meshibot.web.site import Site
from testbed import browser as driver
from testbed.homes import draw_stock

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ORIGIN = "http://127.0.0.1:8742"
SAME = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHIBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESHIBOT_TIMEZONE", "Asia/Tokyo")
    monkeypatch.setenv("MESHIBOT_CHECKPOINT", str(tmp_path / "none.safetensors"))
    return load_settings()


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    """The parts of the page, with four pictures in stock."""
    settings.home.mkdir()
    upgrade(settings.database_address)  # or a process would be started for it, for each test
    with ExitStack() as stack:
        site = open_site(settings, stack)
        draw_stock(site.database, settings.home, 4)
        with site.database.write() as session:
            session.add(Account(name="main", publisher="folder"))
        yield site


def client_of(site: Site) -> TestClient:
    """A browser that nobody logged in."""
    app = make_app(site, OWN_NAMES)
    app.logins = Rate(5, 60)
    client = TestClient(app, base_url=ORIGIN, follow_redirects=False, raise_server_exceptions=False)
    client.headers["Accept-Language"] = "en"
    return client


@pytest.fixture
def stranger(site: Site) -> TestClient:
    """Somebody who is not logged in."""
    return client_of(site)


@pytest.fixture
def client(site: Site) -> TestClient:
    """Somebody who is logged in, and whose browser says that forms come from our own pages."""
    client = client_of(site)
    client.cookies.set(site.access.cookie, site.access.new_session())
    client.headers.update(SAME)
    return client


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """The browser of a whole run."""
    if driver.where() is None:
        if os.environ.get("MESHIBOT_BROWSER") == "required":
            pytest.fail("There is no Chromium, and MESHIBOT_BROWSER says that there has to be one.")
        pytest.skip("There is no Chromium: apt-get install chromium, or set MESHIBOT_CHROMIUM.")
    with driver.chromium() as browser:
        yield browser
