"""The same pages on PostgreSQL."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshibot.config import load_settings
from meshibot.database import Account, PostState
from meshibot.web.app import PAGES
from meshibot.web.server import open_site
from testbed.homes import draw_stock
from tests.meshibot.web.conftest import SAME, client_of
from tests.meshibot.web.test_pages import make_post, token_fields


@pytest.mark.postgres
def test_every_page_and_form_works_on_postgresql(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "HOME": str(tmp_path),
        "DATABASE_URL": postgres_url,
        "TIMEZONE": "Asia/Tokyo",
    }.items():
        monkeypatch.setenv(f"MESHIBOT_{name}", value)
    with ExitStack() as stack:
        site = open_site(load_settings(), stack)
        draw_stock(site.database, tmp_path, 4)
        with site.database.write() as session:
            session.add(Account(name="main", publisher="folder"))
        make_post(site, PostState.POSTED)
        client = client_of(site)
        client.cookies.set(site.access.cookie, site.access.new_session())
        client.headers.update(SAME)
        version = token_fields(client.get("/review?picture=2").text, "/review")["picture"]
        judged = client.post("/review", data={"picture": version, "said": "rejected:alike"})
        assert "Rejected." in client.get(judged.headers["location"]).text
        noon = datetime.now(UTC) + timedelta(days=3)
        added = client.post("/calendar", data={"account": "main", "at": f"{noon:%Y-%m-%dT12:30}"})
        assert "Added." in client.get(added.headers["location"]).text
        slot = {"account": "main", "slot": "2"}
        for change in ({"do": "put", "picture": "3", "caption": "Mine"}, {"do": "clear"}, {"do": "skip"}):
            answer = client.post("/slot", data=slot | change)
            assert answer.status_code == 303, answer.text
        undone = client.post("/undo", data={"event": ["5"], "next": "/"})
        assert "Undone." in client.get(undone.headers["location"]).text
        for method, path, _ in PAGES:
            if method == "GET" and path != "/healthz":
                answer = client.get(path.format(picture=1, sha256="0", side=256, step=1))
                assert answer.status_code < 500, (path, answer.text)
        for path in (
            "/gallery?account=main&month=2026-11&checkpoint=c",
            "/review?view=grid",
            "/slot?account=main&slot=2",
        ):
            assert client.get(path).status_code == 200, path
        assert client.get("/gallery?checkpoint=%00c").status_code == 200
