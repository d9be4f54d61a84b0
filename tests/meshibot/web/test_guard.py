"""Who is let in, from where, and what every answer says to the browser: each rule a test."""

import resource
import stat
from pathlib import Path
from typing import cast

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from meshibot.config import Settings
from meshibot.errors import MeshibotError, UsageError
from meshibot.web import guard
from meshibot.web.access import LINK_LASTS, SESSION_LASTS, Access, read_token, token_file
from meshibot.web.app import PAGES
from meshibot.web.guard import (
    CONTENT_SECURITY_POLICY,
    PICTURE_POLICY,
    Guard,
    Rate,
    is_known_host,
    is_same_origin,
)
from meshibot.web.server import OWN_NAMES, Place
from meshibot.web.site import LANGUAGE_COOKIE, Site
from meshibot.web.words import Language, say
from tests.meshibot.web.conftest import ORIGIN, SAME

GETS = [path.format(picture=1, sha256="0", side=256, step=1) for method, path, _ in PAGES if method == "GET"]
POSTS = [path.format(picture=1) for method, path, _ in PAGES if method == "POST"]
OPEN = ("/login", "/healthz", "/favicon.ico", "/language")


# ---- where it listens ---------------------------------------------------------------------------


def test_it_is_for_this_machine_alone_unless_somebody_says_so() -> None:
    Place().require_meant()
    with pytest.raises(UsageError, match="--expose"):
        Place("192.168.1.5").require_meant()
    Place("192.168.1.5", exposed=True).require_meant()
    assert Place("::1").url == "http://[::1]:8742"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:8742", "[::1]:8742", "[::1]", "LocalHost", "localhost."]
)
def test_our_own_names_are_known(host: str) -> None:
    assert is_known_host(host, OWN_NAMES)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost:8742:1",
        "localhost@evil.example",
        "::1",
        ":80",
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert not is_known_host(host, OWN_NAMES)


def test_a_request_by_another_name_gets_nothing(client: TestClient) -> None:
    for path in ("/", "/healthz", "/static/meshibot.css"):
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 400


def test_a_configured_name_is_known_too(site: Site) -> None:
    assert "bot.home.example" in Place(names=["Bot.Home.example"]).hosts


# ---- the token, links and cookies ---------------------------------------------------------------


def test_the_tokens_file_is_its_owners_alone(tmp_path: Path) -> None:
    token = read_token(tmp_path)
    assert stat.S_IMODE(token_file(tmp_path).stat().st_mode) == 0o600
    assert read_token(tmp_path) == token
    assert len(token) >= 40
    token_file(tmp_path).chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        read_token(tmp_path)
    token_file(tmp_path).write_text("short")
    token_file(tmp_path).chmod(0o600)
    with pytest.raises(UsageError, match="too short"):
        read_token(tmp_path)


def test_a_token_that_could_not_be_written_is_written_when_there_is_room(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(MeshibotError, match=r"web-token can't be used \(File too large\): make room"):
            read_token(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(read_token(tmp_path)) >= 40


def test_a_token_that_is_no_text(tmp_path: Path) -> None:
    token_file(tmp_path).write_bytes(b"\xff" * 40)
    token_file(tmp_path).chmod(0o600)
    with pytest.raises(UsageError, match="holds no token: remove it"):
        read_token(tmp_path)


def test_a_link_lets_in_once_and_not_for_long() -> None:
    time = [1000.0]
    access = Access("t" * 43, "home", lambda: time[0])
    code = access.new_link()
    assert access.use_link(code)
    assert not access.use_link(code)
    late = access.new_link()
    time[0] += LINK_LASTS + 1
    assert not access.use_link(late)
    for wrong in ("", ".", "1.2.3", access.new_session(), code[:-1], "9" * 12 + code[10:]):
        assert not access.use_link(wrong)


def test_a_session_ends_and_is_of_one_installation_and_one_token() -> None:
    time = [1000.0]
    access = Access("t" * 43, "home", lambda: time[0])
    session = access.new_session()
    assert access.is_session(session)
    assert not Access("u" * 43, "home", lambda: time[0]).is_session(session)
    other = Access("t" * 43, "elsewhere", lambda: time[0])
    assert not other.is_session(session)
    assert other.cookie != access.cookie
    time[0] += SESSION_LASTS + 1
    assert not access.is_session(session)


def test_a_link_is_used_by_its_form_and_not_by_looking(stranger: TestClient, site: Site) -> None:
    code = site.access.new_link()
    for _ in range(3):
        page = stranger.get(f"/login?once={code}")
        assert (page.status_code, page.headers.get("set-cookie")) == (200, None)
    done = stranger.post("/login", data={"once": code}, headers=SAME)
    assert (done.status_code, done.headers["location"]) == (303, "/")
    cookie = done.headers["set-cookie"]
    assert cookie.startswith(f"{site.access.cookie}=")
    for part in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert part in cookie
    assert stranger.get("/").status_code == 200
    stranger.cookies.clear()
    assert stranger.post("/login", data={"once": code}, headers=SAME).status_code == 403


def test_the_token_lets_in_and_leaving_ends_it(stranger: TestClient, site: Site) -> None:
    assert stranger.post("/login", data={"token": "wrong"}, headers=SAME).status_code == 403
    assert stranger.post("/login", data={"token": f" {site.access.token} "}, headers=SAME).status_code == 303
    assert stranger.get("/gallery").status_code == 200
    assert stranger.post("/logout", headers=SAME).headers["location"] == "/login"
    assert stranger.get("/gallery").status_code == 303


def test_the_cookie_is_secure_behind_https(site: Site) -> None:
    from dataclasses import replace

    from meshibot.web.app import make_app

    app = make_app(replace(site, secure=True), OWN_NAMES)
    client = TestClient(app, base_url=ORIGIN, follow_redirects=False)
    done = client.post("/login", data={"token": site.access.token}, headers=SAME)
    assert "Secure" in done.headers["set-cookie"]
    sent = {"Origin": "https://127.0.0.1:8742"}
    assert client.post("/language", data={"next": "/"}, headers=sent).status_code == 303


def test_nothing_is_shown_to_a_stranger(stranger: TestClient) -> None:
    for path in (path for path in GETS if path not in (*OPEN, "/metrics")):
        for answer in (stranger.get(path), stranger.head(path)):
            assert (answer.status_code, answer.headers["location"]) == (303, "/login"), path


def test_a_stranger_changes_nothing(stranger: TestClient) -> None:
    for path in (path for path in POSTS if path not in OPEN):
        assert stranger.post(path, headers=SAME).status_code == 403, path


def test_figures_want_the_token_or_a_login(stranger: TestClient, client: TestClient, site: Site) -> None:
    assert stranger.get("/metrics").status_code == 401
    assert stranger.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert (
        stranger.get("/metrics", headers={"Authorization": f"Bearer {site.access.token}"}).status_code == 200
    )
    assert client.get("/metrics").status_code == 200
    assert stranger.get("/", headers={"Authorization": f"Bearer {site.access.token}"}).status_code == 303


# ---- where forms come from ----------------------------------------------------------------------


ELSEWHERE: tuple[dict[str, str], ...] = (
    {},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:8743"},
    {"Origin": "https://127.0.0.1:8742"},
    {"Origin": "http://localhost:8742"},
)


def test_a_form_of_another_page_changes_nothing(client: TestClient) -> None:
    del client.headers["Sec-Fetch-Site"]
    for path in POSTS:
        for headers in ELSEWHERE:
            assert client.post(path, headers=headers).status_code == 403, (path, headers)


def test_where_browsers_do_not_say_the_site_the_origin_counts(client: TestClient) -> None:
    del client.headers["Sec-Fetch-Site"]
    said = client.post("/language", data={"language": "ja"}, headers={"Origin": ORIGIN})
    assert said.status_code == 303
    assert is_same_origin(Headers({"origin": "http://BOT:1", "host": "bot:1"}), "http")
    assert not is_same_origin(Headers({"host": "bot:1"}), "http")


def test_no_other_method_is_known(client: TestClient) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"):
        assert client.request(method, "/review").status_code == 405


def test_nobody_is_led_elsewhere(client: TestClient) -> None:
    for path in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:1", ""):
        sent = client.post("/language", data={"language": "en", "next": path})
        assert sent.headers["location"] == "/", path


# ---- how much, and how often --------------------------------------------------------------------


def test_a_large_form_is_refused_whatever_it_says_of_its_length(client: TestClient) -> None:
    large = b"caption=" + b"x" * guard.MOST_BYTES
    assert client.post("/slot", content=large).status_code == 413
    assert client.post("/slot", content=iter([large])).status_code == 413  # without a Content-Length
    many = "&".join(["picture=1:1"] * 2000)
    assert client.post("/review", content=many).status_code == 400


def test_who_guesses_has_to_wait(stranger: TestClient) -> None:
    tries = [stranger.post("/login", data={"token": str(n)}, headers=SAME).status_code for n in range(7)]
    assert tries == [403] * 5 + [429] * 2


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_refusal_speaks_the_language_of_the_page(
    stranger: TestClient, client: TestClient, language: Language
) -> None:
    for browser in (stranger, client):
        browser.headers["Accept-Language"] = language
    refusals = {
        "refused_name": stranger.get("/", headers={"Host": "evil.example"}),
        "refused_elsewhere": stranger.post("/slot"),
        "refused_stranger": stranger.post("/slot", headers=SAME),
        "refused_size": client.post("/slot", content=b"x" * (guard.MOST_BYTES + 1)),
    }
    for _ in range(6):
        refusals["refused_logins"] = stranger.post("/login", data={"token": "?"}, headers=SAME)
    cast(Guard, client.app).writes = Rate(0, 60)
    refusals["refused_writes"] = client.post("/slot")
    assert {key: answer.text.strip() for key, answer in refusals.items()} == {
        key: say(language, key) for key in refusals
    }
    limited = {key for key, answer in refusals.items() if "retry-after" in answer.headers}
    assert limited == {"refused_logins", "refused_writes"}


def test_the_language_that_was_chosen_is_spoken_in_refusals_too(client: TestClient) -> None:
    client.cookies.set(LANGUAGE_COOKIE, "ja")
    assert client.get("/", headers={"Host": "evil.example"}).text.strip() == say("ja", "refused_name")


def test_so_has_who_writes_too_often() -> None:
    time = [0.0]
    rate = Rate(2, 10, lambda: time[0])
    assert [rate.allows() for _ in range(3)] == [True, True, False]
    time[0] = 10.5
    assert rate.allows()


# ---- what every answer says ---------------------------------------------------------------------


def test_every_answer_has_the_headers(client: TestClient) -> None:
    for path in (*GETS, "/static/meshibot.css", "/nowhere", "/static/nowhere"):
        headers = client.get(path).headers
        picture = headers.get("content-type", "").startswith("image/")
        assert headers["content-security-policy"] == (PICTURE_POLICY if picture else CONTENT_SECURITY_POLICY)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert (
            headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        )
        if not path.startswith(("/static/", "/images/")):
            assert headers["cache-control"] == "no-store"


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY
    assert "script" not in PICTURE_POLICY
    for part in ("default-src 'none'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"):
        assert part in CONTENT_SECURITY_POLICY


def test_refusals_have_the_headers_too(stranger: TestClient) -> None:
    for answer in (
        stranger.get("/"),
        stranger.post("/slot"),
        stranger.get("/", headers={"Host": "x.example"}),
    ):
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY


def test_healthz_tells_a_stranger_state_and_nothing_else(stranger: TestClient, settings: Settings) -> None:
    answer = stranger.get("/healthz")
    assert answer.status_code == 503  # no daemon runs
    assert answer.json() == {"database": "ok", "daemon_seen_s": None}


def test_a_guard_lets_only_http_through(site: Site) -> None:
    import asyncio

    async def nothing(*_: object) -> None:
        raise AssertionError

    wrapped = Guard(nothing, site.access, OWN_NAMES)
    asyncio.run(wrapped({"type": "websocket"}, nothing, nothing))  # type: ignore[arg-type]
