"""What the process of the page holds in memory for as long as it runs, and what it leaves to children."""

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import requests
from starlette.testclient import TestClient

from meshibot.database import Picture
from meshibot.database.migrate import HEAD
from meshibot.web.app import PAGES
from meshibot.web.shrinker import Shrinker
from meshibot.web.site import Site
from testbed.browser import served
from testbed.command import Command
from testbed.homes import ask, free_port, stocked, wait_for

LEFT_OUT = {
    "PIL", "numpy", "torch",  # pictures are made by children
    "alembic", "mako",  # and a database is brought up to date by one
    "requests", "urllib3", "tweepy",  # a network is asked when a person resolves a post, and not before
    "apscheduler", "apprise", "rich", "pygments",
    "httptools", "uvloop", "websockets",  # uvicorn takes them where they are, unless told otherwise
}  # fmt: skip


def test_the_server_does_without_what_its_children_need(tmp_path: Path) -> None:
    bot = stocked(Command(tmp_path))
    pages = [path for method, path, _ in PAGES if method == "GET" and path != "/favicon.ico"]
    (sha256,) = ask(bot, "SELECT sha256 FROM pictures WHERE id = 1")[0]
    port = free_port()
    with (tmp_path / "imports").open("w") as imports:
        server = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "meshibot", "web", "--port", str(port)],
            cwd=bot.here, env=bot.environment(), stdout=subprocess.DEVNULL, stderr=imports,
        )  # fmt: skip
    try:
        with requests.Session() as session:
            wait_for(lambda: _answers(session, f"http://127.0.0.1:{port}/healthz"))
            token = (bot.home / "web-token").read_text().strip()
            session.post(
                f"http://127.0.0.1:{port}/login", {"token": token}, headers={"Sec-Fetch-Site": "same-origin"}
            )
            statuses = {
                path: session.get(
                    f"http://127.0.0.1:{port}{path.format(picture=1, sha256=sha256, side=256, step=1)}"
                ).status_code
                for path in pages
            }
    finally:
        server.terminate()
        server.wait()
    assert statuses == dict.fromkeys(pages, 200) | {
        "/healthz": 503,  # no daemon lives
        "/slot": 400,  # none was named
        "/training/samples/{step}.png": 404,
    }
    said = (tmp_path / "imports").read_text()
    imported = {
        name.partition(".")[0] for name in re.findall(r"^import time:.*\| +(\S+)$", said, re.MULTILINE)
    }
    assert {"meshibot", "sqlalchemy", "starlette"} <= imported
    assert not imported & LEFT_OUT


def test_the_first_start_makes_the_database(tmp_path: Path) -> None:
    bot = Command(tmp_path)
    with served(bot) as url:
        assert requests.get(f"{url}/healthz", timeout=30).json() == {"database": "ok", "daemon_seen_s": None}
    assert ask(bot, "SELECT version_num FROM alembic_version") == [(HEAD,)]


def _answers(session: requests.Session, url: str) -> bool:
    with suppress(requests.ConnectionError):
        return session.get(url).status_code in (200, 503)
    return False


def test_a_child_that_has_ended_is_started_anew(client: TestClient, site: Site) -> None:
    with site.database.read() as session:
        sha256 = session.get_one(Picture, 1).sha256
    for side in (256, 512):
        assert client.get(f"/images/{sha256}/{side}.webp").status_code == 200
        child = site.pictures._shrinker._child
        assert child is not None
        child.terminate()
        child.wait()


def test_what_can_not_be_made_is_said(tmp_path: Path) -> None:
    shrinker = Shrinker()
    try:
        for content, said in ((b"no picture", "UnidentifiedImageError"), (b"", "UnidentifiedImageError")):
            (tmp_path / "source.png").write_bytes(content)
            assert shrinker.ask(tmp_path / "source.png", tmp_path / "target.webp", 256) == said
        assert shrinker.ask(tmp_path / "none.png", tmp_path / "target.webp", 256) == "FileNotFoundError"
    finally:
        shrinker.close()
    assert not (tmp_path / "target.webp").exists()


def test_the_child_ends_when_nobody_asks(tmp_path: Path) -> None:
    command = "from meshibot.web import shrinking; shrinking.IDLE_SECONDS = 0.1; shrinking.main()"
    child = subprocess.Popen(
        [sys.executable, "-c", command], env=Command(tmp_path).environment(), stdin=subprocess.PIPE
    )
    try:
        assert child.wait(timeout=60) == 0
    finally:
        child.kill()
        child.communicate()
