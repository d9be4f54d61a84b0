"""What pages show and do, asked without a browser."""

import json
import math
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlparse

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from starlette.testclient import TestClient

from meshibot.agenda import upcoming
from meshibot.database import (
    Account,
    AccountState,
    Daemon,
    Event,
    Picture,
    PictureState,
    Post,
    PostMetrics,
    PostPicture,
    PostState,
    Slot,
    SlotState,
    Verdict,
)
from meshibot.errors import MeshibotError
from meshibot.kinds import Kind, Mix
from meshibot.slots import changes
from meshibot.web.app import PAGES
from meshibot.web.pictures import MISSING
from meshibot.web.site import Site
from testbed.homes import locked

EVIL = "\"><script>alert('飯')</script><img src=x onerror=alert(1)>"


def make_post(
    site: Site, state: PostState, picture: int | None = 1, words: str = "A bowl.", serial: int = 1
) -> int:
    """A post of this state, with a slot that is taken."""
    due = datetime.now(UTC) - timedelta(hours=1)
    with site.database.write() as session:
        slot = Slot(account="main", key=f"main|2026-11-24T23:{serial:02d}", due_at=due, local=words)
        slot.state, slot.reason = SlotState.TAKEN, words
        session.add(slot)
        session.flush()
        post = Post(
            account="main",
            publisher="folder",
            slot_id=slot.id,
            serial=serial,
            kind=Kind.SINGLE,
            state=state,
            caption=words,
            alt_text=words,
            url=words,
            reason=words,
            remote_id=f"r{serial}",
            not_before=due,
            due_at=due,
            deadline=due,
            created_at=due,
            sent_at=due,
            posted_at=due,
            pictures=[PostPicture(picture_id=picture, position=0)] if picture else [],
        )
        session.add(post)
        session.flush()
        return post.id


def token_fields(page: str, action: str) -> dict[str, str]:
    """The hidden fields of the first form of a page that goes to an address."""
    form = re.search(rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', page, re.S)
    assert form is not None, page
    return dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form[1]))


def where(answer: Any) -> tuple[str, dict[str, list[str]]]:
    """Where an answer leads: path and query."""
    assert answer.status_code == 303, answer.text
    parts = urlparse(answer.headers["location"])
    return parts.path, parse_qs(parts.query)


# ---- the start page -----------------------------------------------------------------------------


def test_what_needs_a_person_is_settled_by_its_two_buttons(client: TestClient, site: Site) -> None:
    there, absent = (make_post(site, PostState.NEEDS_PERSON, picture, serial=picture) for picture in (1, 2))
    page = client.get("/").text
    assert page.count("It is there") == page.count("It is not there") == 2
    folder = site.settings.posts_folder
    folder.mkdir(parents=True)
    where(client.post("/resolve", data={"post": there, "said": "posted", "address": "main-0001"}))
    where(client.post("/resolve", data={"post": absent, "said": "absent"}))
    with site.database.read() as session:
        assert session.get_one(Post, there).state is PostState.POSTED
        assert session.get_one(Post, absent).state is PostState.MISSED
        assert {event.actor for event in session.scalars(select(Event))} == {"web page"}
    assert client.post("/resolve", data={"post": absent, "said": "absent"}).status_code == 400
    assert "Nothing needs you." in client.get("/").text


def test_a_database_that_came_back_is_no_slot_that_was_planned_again(client: TestClient, site: Site) -> None:
    """Both leave an event called restore; only a slot can be taken back."""
    with site.database.write() as session:
        at = datetime.now(UTC)
        session.add(Event(at=at, actor="somebody", action="restore", account="main", note=at.isoformat()))
    page = client.get("/").text
    assert "somebody" in page
    assert "planned slot" not in page
    assert 'action="/undo"' not in page
    assert client.post("/undo", data={"event": 1, "next": "/"}).status_code == 400
    assert client.post("/undo", data={"event": "9" * 5000, "next": "/"}).status_code == 400


def test_a_stopped_account_and_a_dead_daemon_are_said(client: TestClient, site: Site) -> None:
    now = datetime.now(UTC)
    with site.database.write() as session:
        account = session.get_one(Account, "main")
        account.state, account.stopped_reason = AccountState.STOPPED, "The credits are used up."
        session.add(
            Daemon(id="a", host="h", pid=1, version="0", started_at=now, seen_at=now - timedelta(hours=2))
        )
    page = client.get("/").text
    assert "main is stopped" in page
    assert "meshibot resume --account main" in page
    assert "does not run, seen 2 h ago" in page
    assert client.get("/healthz").status_code == 503
    with site.database.write() as session:
        session.get_one(Daemon, "a").seen_at = datetime.now(UTC)
    assert "runs, seen now" in client.get("/").text
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["database"]) == (200, "ok")


def test_too_few_approved_pictures_are_said_in_time(
    client: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Only approved pictures are posted" not in client.get("/").text
    required = site.settings.accounts[0].model_copy(update={"review": "required"})
    monkeypatch.setitem(site.settings.__dict__, "accounts", (required,))
    page = client.get("/").text
    assert "0 pictures approved, and the next 24 hours need 1" in page
    assert "Review 4 pictures" in page


@pytest.mark.parametrize("state", list(PostState))
def test_every_state_of_a_post_can_be_looked_at(client: TestClient, site: Site, state: PostState) -> None:
    make_post(site, state)
    for path in ("/", "/gallery", "/pictures/1", "/calendar", "/slot?account=main&slot=1"):
        assert client.get(path).status_code == 200, path


@pytest.mark.parametrize(
    ("of", "english", "japanese"),
    [
        ({"action": "write", "picture_id": 1}, "wrote words for picture 1", "画像 1 の文を編集"),
        ({"action": "restore", "slot_id": 1}, "planned slot 1 again", "枠 1 を予定に戻した"),
        ({"action": "restore"}, "restored main from a backup", "main をバックアップから復元"),
        ({"action": "take in"}, "took in what main had posted", "main のその後の投稿を取り込み"),
        ({"action": "resume"}, "let main go on", "main を再開"),
        ({"action": "cancel", "post_id": 1}, "withdrew post 1", "投稿 1 を取り下げ"),
        ({"action": "second post", "post_id": 1}, "saw post 1 twice", "投稿 1 が二重に"),
        ({"action": "of another version"}, "of another version", "of another version"),
    ],
    ids=lambda value: value["action"] if isinstance(value, dict) else "",
)
def test_what_people_did_is_told_in_words(
    client: TestClient, site: Site, of: dict[str, Any], english: str, japanese: str
) -> None:
    make_post(site, PostState.POSTED)
    with site.database.write() as session:
        session.add(Event(at=site.now(), actor="somebody", account="main", **of))
    for language, says in (("en", english), ("ja", japanese)):
        assert says in client.get("/", headers={"Accept-Language": language}).text


# ---- other people's text ------------------------------------------------------------------------


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_no_field_of_any_page_becomes_markup(client: TestClient, site: Site) -> None:
    make_post(site, PostState.NEEDS_PERSON, 1, EVIL, 1)
    make_post(site, PostState.POSTED, 2, EVIL, 2)
    make_post(site, PostState.POSTED, 3, "javascript:alert(1)", 3)
    soon = datetime.now(UTC) + timedelta(hours=5)
    with site.database.write() as session:
        account = session.get_one(Account, "main")
        account.state, account.stopped_reason, account.publisher = AccountState.STOPPED, EVIL, EVIL
        for picture in session.scalars(select(Picture)):
            picture.checkpoint, picture.reason, picture.verdict_reason = EVIL, EVIL, EVIL
        session.get_one(Picture, 3).verdict = Verdict.REJECTED
        session.get_one(Picture, 3).state = PictureState.REJECTED
        session.add(Slot(account="main", key=f"main|{EVIL}", due_at=soon, local=EVIL, reason=EVIL))
        missed = soon - timedelta(hours=9)
        session.add(
            Slot(account="main", key="main|x", due_at=missed, local=EVIL, reason=EVIL, state=SlotState.MISSED)
        )
        session.add(Event(at=missed, actor=EVIL, action=EVIL, note=EVIL))
    own = ["/", "/review", "/review?view=grid", "/review?show=rejected", "/gallery", "/calendar"]
    own += [f"/pictures/{number}" for number in (1, 2, 3)]
    own += [f"/slot?account=main&slot={number}" for number in (1, 4)]
    said = ["gallery?checkpoint={}", "gallery?month={}", "slot?account={}&slot=1", "review?show={}"]
    said += ["login?once={}", "{}", "?done={}&refused={}", "calendar?at={}&view={}"]
    paths = [*own, *("/" + path.format(EVIL, EVIL) for path in said)]
    for path in paths:
        for language in ("en", "ja"):
            page = client.get(path, headers={"Accept-Language": language}).text
            for tag, attributes in Elements(page).found:
                assert not any(name.startswith("on") or name == "style" for name in attributes), path
                assert tag not in ("script", "style") or attributes.get("src") == "/static/meshibot.js", path
                for name in ("href", "src", "action"):
                    value = attributes.get(name) or "/"
                    assert value.startswith("/") or value == "#main", (path, value)
    assert "&lt;script&gt;" in client.get("/pictures/2").text


def test_no_secret_is_on_any_page(client: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydantic import SecretStr

    account = site.settings.accounts[0].model_copy(update={"x_access_token": SecretStr("very-secret-value")})
    monkeypatch.setitem(site.settings.__dict__, "accounts", (account,))
    make_post(site, PostState.POSTED)

    def fails(*_: object, **__: object) -> None:
        raise MeshibotError("The network said: very-secret-value.")

    monkeypatch.setattr("meshibot.web.pages.review.review.judge", fails)
    failed = client.post("/review", data={"picture": "1:2", "said": "approved"})
    assert (failed.status_code, "The network said: [redacted]." in failed.text) == (409, True)
    for method, path, _ in PAGES:
        if method == "GET":
            answer = client.get(path.format(picture=1, sha256="0", side=256, step=1))
            assert "very-secret-value" not in answer.text
            assert site.access.token not in answer.text


# ---- review -------------------------------------------------------------------------------------


def test_a_word_on_a_picture_leads_to_the_next_and_can_be_undone(client: TestClient, site: Site) -> None:
    page = client.get("/review").text
    assert 'value="1:2"' in page
    path, query = where(
        client.post("/review", data={"picture": "1:2", "said": "rejected:blurred", "show": "waiting"})
    )
    after = client.get(f"{path}?after={query['after'][0]}&done={query['done'][0]}").text
    assert "Rejected." in after
    assert 'value="2:2"' in after
    undone = client.post("/undo", data={"event": query["done"], "next": "/review?show=waiting&done=9"})
    path, query = where(undone)
    assert (path, query["show"]) == ("/review", ["waiting"])
    assert "Undone." in client.get(undone.headers["location"]).text
    with site.database.read() as session:
        picture = session.get_one(Picture, 1)
        assert (picture.state, picture.verdict) == (PictureState.APPROVED, None)


def test_two_reviewers_meet_as_a_message(client: TestClient) -> None:
    said = {"picture": "1:2", "show": "waiting"}
    where(client.post("/review", data=said | {"said": "rejected"}))
    late = client.post("/review", data=said | {"said": "approved"})
    assert late.status_code == 409
    assert "was changed meanwhile" in late.text


def test_of_many_each_has_its_own_outcome(client: TestClient, site: Site) -> None:
    with site.database.write() as session:
        session.get_one(Picture, 3).state = PictureState.POSTED
    many = {"picture": ["1:2", "2:2", "3:2"], "said": "approved", "show": "waiting", "view": "grid"}
    answer = client.post("/review", data=many)
    page = client.get(answer.headers["location"]).text
    assert "2 changed." in page
    assert "1 were not changed: 3: posted" in page


def test_a_picture_gets_its_words_for_a_slot(client: TestClient, site: Site) -> None:
    page = client.get("/review").text
    slot = re.search(r'<option value="(main [^"]+)"', page)
    assert slot is not None
    words = {
        "do": "put",
        "picture": 2,
        "from": "review",
        "slot_of": slot[1],
        "alt_text": "",
        "caption": "Mine.\r\nTwo",
    }
    path, query = where(client.post("/slot", data=words))
    assert (path, query["after"]) == ("/review", ["2"])
    with site.database.read() as session:
        post = session.scalars(select(Post)).one()
        assert (post.caption, post.alt_text, post.state) == ("Mine.\nTwo", None, PostState.APPROVED)
    refused = client.post("/slot", data=words | {"picture": 3, "caption": "hello @somebody"})
    assert (refused.status_code, "take the @ out" in refused.text) == (400, True)


def test_words_that_are_saved_for_a_slot_are_said_of_the_picture_that_is_shown(
    client: TestClient, site: Site
) -> None:
    """Not of the first one of the stock: an earlier slot shows that."""
    with site.database.read() as session:
        now = site.now()
        schedule = site.schedule("main")
        coming = upcoming(session, "main", schedule, now, 2, reviewed=False)
    later = coming[1]
    page = client.get("/slot", params={"account": "main", "slot": later.reference}).text
    words = next(form for form in re.findall(r"<form.*?</form>", page, re.S) if 'name="caption"' in form)
    fields = token_fields(words, "/slot")
    client.post("/slot", data=fields | {"do": "put", "caption": "Mine.", "alt_text": ""})
    with site.database.read() as session:
        post = session.scalars(select(Post)).one()
        assert [link.picture_id for link in post.pictures] == [later.pictures[0].id] == [2]


# ---- calendar -----------------------------------------------------------------------------------


def test_a_slot_is_changed_by_its_page_and_by_its_version(client: TestClient, site: Site) -> None:
    when = (datetime.now(UTC) + timedelta(days=2)).replace(hour=3, minute=0)
    path, query = where(client.post("/calendar", data={"account": "main", "at": f"{when:%Y-%m-%dT%H:%M}"}))
    assert path == "/calendar"
    page = client.get(f"{path}?at={query['at'][0]}&done={query['done'][0]}").text
    assert "Added." in page
    fields = {"account": "main", "slot": "1", "version": "2"}
    with site.database.read() as session:
        fields["version"] = str(session.get_one(Slot, 1).version)
    put = client.post("/slot", data=fields | {"do": "put", "picture": 3})
    assert "The slot has its picture." in client.get(put.headers["location"]).text
    late = client.post("/slot", data=fields | {"do": "skip"})
    assert late.status_code == 409
    fields = token_fields(client.get("/slot?account=main&slot=1").text, "/slot")
    skipped = client.post("/slot", data=fields | {"do": "skip"})
    page = client.get(skipped.headers["location"]).text
    assert "Skipped." in page
    assert "Plan again" in page
    assert client.post("/slot", data={"account": "main", "slot": "1", "do": "dance"}).status_code == 400


def test_slots_that_are_not_written_yet_are_in_the_calendar_and_lead_to_their_page(
    client: TestClient,
) -> None:
    later = datetime.now(UTC) + timedelta(days=40)
    page = client.get(f"/calendar?at={later:%Y-%m-%d}").text
    links = re.findall(r'href="(/slot\?account=main&amp;slot=[^"]+)"', page)
    assert len(links) >= 28
    assert client.get(links[0].replace("&amp;", "&")).status_code == 200


def test_clock_changes_and_quiet_hours_are_drawn(
    client: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoneinfo import ZoneInfo

    from meshibot.quiet import QuietHours

    changed = {"timezone": ZoneInfo("Europe/Berlin"), "schedule": "30 2 * * *; 0 4 * * *",
               "quiet_hours": QuietHours.parse("03:45-06:00")}  # fmt: skip
    account = site.settings.accounts[0].model_copy(update=changed)
    monkeypatch.setitem(site.settings.__dict__, "accounts", (account,))
    page = client.get("/calendar?at=2027-03-28&view=week").text
    assert "Clocks go forward by 60 minutes" in page
    assert "meant for 02:30" in page
    assert "Quiet hours 03:45-06:00" in page
    assert "is-quiet" in page
    assert "Clocks go back by 60 minutes" in client.get("/calendar?at=2027-10-31&view=week").text


# ---- gallery, pictures and their files ----------------------------------------------------------


def test_the_gallery_is_paged_by_key_and_filtered_by_its_address(
    client: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meshibot.web.pages import gallery

    monkeypatch.setattr(gallery, "PAGE", 2)
    for picture in (1, 2, 3):
        make_post(site, PostState.POSTED, picture, serial=picture)
    page = client.get("/gallery").text
    assert re.findall(r'<a href="/pictures/(\d)">', page) == ["3", "2"]
    assert "before=2" in page
    assert re.findall(r'<a href="/pictures/(\d)">', client.get("/gallery?before=2").text) == ["1"]
    with site.database.write() as session:
        session.get_one(Picture, 2).checkpoint = "another"
    assert re.findall(r'<a href="/pictures/(\d)">', client.get("/gallery?checkpoint=another").text) == ["2"]
    assert "No post is like that." in client.get("/gallery?month=2001-01").text
    assert "No post is like that." in client.get("/gallery?account=nobody").text


def test_a_pictures_page_tells_posts_reactions_and_the_nearest(client: TestClient, site: Site) -> None:
    post = make_post(site, PostState.POSTED)
    with site.database.write() as session:
        session.add(PostMetrics(post_id=post, measured_at=datetime.now(UTC), likes=12, reposts=None))
    page = client.get("/pictures/1").text
    assert "12 likes" in page
    assert "reposts" not in page
    assert "Nothing is posted yet." in page  # besides itself
    assert "of 64 bits differ" in client.get("/pictures/2").text
    assert client.get("/pictures/99").status_code == 404


def test_the_nearest_is_found_where_a_posts_id_was_another_ones_before(
    client: TestClient, site: Site
) -> None:
    """What is written ahead is deleted when another picture is put in its place, which then has its id."""
    make_post(site, PostState.POSTED, picture=1)
    desk = site.desk("main")
    slot = changes.add(desk, datetime.now() + timedelta(days=2)).slot
    for picture in (2, 3):
        changes.put(desk, slot, picture)
        assert "of 64 bits differ" in client.get("/pictures/4").text
    with site.database.write() as session:
        post = session.scalars(select(Post).where(Post.slot_id == slot)).one()
        assert post.id == 2, "as before"
        post.serial, post.state = 2, PostState.POSTED
        session.get_one(Picture, 4).phash = session.get_one(Picture, 3).phash ^ 1
    assert re.search(r"\b1 of 64 bits differ", client.get("/pictures/4").text)


@pytest.mark.parametrize(("kind", "shown"), [(Kind.SINGLE, 1), (Kind.GRID, 4), (Kind.GRID_OF_NINE, 0)])
def test_the_next_slots_show_all_that_they_will_take(
    client: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch, kind: Kind, shown: int
) -> None:
    account = site.settings.accounts[0].model_copy(update={"kinds": Mix(kind)})
    monkeypatch.setitem(site.settings.__dict__, "accounts", (account,))
    coming = client.get("/").text.partition('id="coming"')[2].partition("<section")[0]
    assert coming.count("/256.webp") == (4 if shown else 0)  # so many are in stock
    assert coming.count("shown of-4") == (shown == 4)
    assert coming.count("no picture waits") == {1: 0, 4: 3, 0: 4}[shown]
    slot = re.search(r'href="(/slot[^"]*)"', coming)
    assert slot is not None
    figure = client.get(slot[1].replace("&amp;", "&")).text.partition("<figure>")[2].partition("</figure>")[0]
    assert figure.count("<img") == shown


def test_words_are_kept_with_a_picture(client: TestClient, site: Site) -> None:
    with site.database.read() as session:
        version = str(session.get_one(Picture, 1).version)
    words = {"caption": f"Mine {EVIL}", "alt_text": "A bowl", "version": version}
    answer = client.post("/pictures/1/words", data=words | {"from": "review", "show": "waiting"})
    assert answer.headers["location"].startswith("/review?show=waiting&picture=1&done=")
    page = client.get(answer.headers["location"]).text
    assert "The words are kept." in page
    assert "Mine &#34;&gt;&lt;script&gt;" in page
    assert client.post("/pictures/1/words", data=words).status_code == 409  # another version by now
    assert client.post("/pictures/99/words", data=words).status_code == 400
    assert "mentions an account" in client.post("/pictures/2/words", data={"caption": "@all"}).text
    with site.database.read() as session:
        assert session.get_one(Picture, 2).caption is None


def test_insights_are_drawn_to_one_scale(client: TestClient, site: Site) -> None:
    empty = client.get("/insights").text
    assert "Nobody can answer to a post of main where it is" in empty  # in a folder
    assert "counted yet" not in empty
    for serial, likes in enumerate((4, 8, 30), 1):
        post = make_post(site, PostState.POSTED, picture=serial, serial=serial)
        with site.database.write() as session:
            row = session.get_one(Post, post)
            row.posted_at = row.sent_at = datetime.now(UTC) - timedelta(days=2 if serial < 3 else 400)
            session.add(
                PostMetrics(post_id=post, measured_at=row.posted_at + timedelta(days=1.1), likes=likes)
            )
    page = client.get("/insights").text
    assert "2 of 2 posts are counted" in page
    assert "<b>6.0</b>" in page
    assert "<b>14.0</b>" in client.get("/insights?span=all").text
    assert "MESHIBOT_REACTIONS" not in page
    ends = [float(end) for end in re.findall(r'class="interval" d="M[0-9.]+ 6H([0-9.]+)M', page)]
    bars = [float(width) for width in re.findall(r'class="rate"[^>]* width="([0-9.]+)"', page)]
    assert len(ends) == len(bars) >= 5
    assert max(ends) == 100.0
    assert all(0 < bar < end for bar, end in zip(bars, ends, strict=True))
    japanese = client.get("/insights", headers={"Accept-Language": "ja"}).text
    assert "一枚" in japanese
    assert client.get("/insights?account=nobody").status_code == 400


def test_a_training_that_went_back_is_drawn_as_it_goes_on(
    client: TestClient, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is no number is left out: JSON as Python writes it may have some."""
    monkeypatch.setitem(vars(site), "run", tmp_path)
    assert "The run has written nothing yet." in client.get("/training").text
    losses = [(100, 3.0), (200, math.inf), (300, 9.0)]
    lines: list[dict[str, object]] = [_tick(step, loss) for step, loss in losses]
    lines += [{"kind": "guard", "step": 300, "decision": "go back", "to_step": 100}, _tick(200, 2.0)]
    (tmp_path / "metrics.jsonl").write_text(
        "".join(f"{json.dumps(line)}\n" for line in lines) + '{"kind": "ti'
    )
    page = client.get("/training").text
    (curve,) = re.findall(r'<polyline class="line-1" points="([^"]*)"', page)
    assert [float(point.partition(",")[0]) for point in curve.split()] == [160, 320]
    assert "from 3 at step 100 to 2 at step 200" in page
    assert "Step 200 of ?" in page


def _tick(step: int, loss: float) -> dict[str, object]:
    return {"kind": "tick", "step": step, "images_per_s": 8.0, "critic_loss": loss}


def test_a_file_is_made_once_kept_for_good_and_answered_by_its_tag(client: TestClient, site: Site) -> None:
    with site.database.read() as session:
        sha256 = session.get_one(Picture, 1).sha256
    for side in (256, 512, 1024):
        answer = client.get(f"/images/{sha256}/{side}.webp")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
        assert "immutable" in answer.headers["cache-control"]
        again = client.get(f"/images/{sha256}/{side}.webp", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert client.head(f"/images/{sha256}/256.webp").content == b""
    assert client.get(f"/images/{sha256}/300.webp").status_code == 404


@pytest.mark.parametrize("fault", ["gone", "broken", "outside", "a link"])
def test_a_picture_without_a_usable_file_has_a_placeholder(
    client: TestClient, site: Site, tmp_path: Path, fault: str
) -> None:
    outside = tmp_path / "outside.png"
    with site.database.write() as session:
        picture = session.get_one(Picture, 1)
        file = site.settings.home / picture.file
        outside.write_bytes(file.read_bytes())
        file.unlink()
        if fault == "broken":
            file.write_bytes(b"\x89PNG no picture")
        elif fault == "outside":
            picture.file = "../outside.png"
        elif fault == "a link":
            file.symlink_to(outside)
        sha256 = picture.sha256
    answer = client.get(f"/images/{sha256}/256.webp")
    assert (answer.status_code, answer.content) == (404, MISSING)
    assert client.get("/pictures/1").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../meshibot.sqlite3",
        "/static/%2e%2e/words.py",
        "/static/..%2fwords.py",
        "/images/..%2f..%2fx/256.webp",
        "/images/a/../256.webp",
        "/training/samples/..%2f1.png",
        "/static//etc/passwd",
        "/static/",
    ],
)
def test_no_path_leads_out_of_its_folder(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_errors_and_reasons_are_said_in_the_language_of_the_page(client: TestClient, site: Site) -> None:
    make_post(site, PostState.POSTED, words="The stock was empty.")
    japanese = {"Accept-Language": "ja"}
    page = client.get("/gallery?before=x", headers=japanese)
    assert page.status_code == 400
    assert "before の番号 &#39;x&#39; に当たるものはありません。" in page.text
    assert "<h1>入力を確認してください</h1>" in client.get("/review?show=x", headers=japanese).text
    assert '<p lang="en">show is none of' in client.get("/review?show=x", headers=japanese).text
    assert "<h1>before is &#39;x&#39;," in client.get("/gallery?before=x").text
    assert "在庫がありませんでした。" in client.get("/slot?account=main&slot=1", headers=japanese).text
    assert "そのページはありません。" in client.get("/nowhere", headers=japanese).text


def test_a_locked_database_is_a_sentence_and_later(client: TestClient, site: Site) -> None:
    file = site.settings.home / "meshibot.sqlite3"
    site.database.close()
    fast = site.database.url.update_query_dict({"timeout": "0.1"})
    from meshibot.database import Database

    object.__setattr__(site, "database", Database(fast))
    with locked(file) as process:
        answer = client.post("/review", data={"picture": "1:2", "said": "approved"})
        assert (answer.status_code, "is locked" in answer.text) == (503, True)
        assert client.get("/review").status_code == 200  # who only reads need not wait
        assert process.stdin is not None
        process.stdin.close()


def test_figures_are_what_prometheus_reads(client: TestClient, site: Site) -> None:
    make_post(site, PostState.POSTED)
    with site.database.write() as session:
        session.execute(text("UPDATE accounts SET name = name"))
    lines = client.get("/metrics").text.splitlines()
    assert 'meshibot_posts_total{account="main",publisher="folder",state="posted"} 1' in lines
    assert "meshibot_pictures_in_stock 4" in lines
    assert 'meshibot_slots_missed_total{account="main"} 0' in lines
    sample = re.compile(r'meshibot_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [-+0-9.e]+')
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)


# ---- whatever comes -----------------------------------------------------------------------------

VALUES = st.one_of(
    st.text(max_size=12),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["1", "1:1", "main", "main 1 1", "waiting", "approved", "rejected:blurred", "grid"]),
    st.sampled_from(["2026-11-27", "2026-11-27T23:00", "9999-12-31T23:59", "0001-01-01", "2026-13"]),
    st.sampled_from(["../..", EVIL, "\x00"]),
)  # fmt: skip
NAMES = (
    *(
        "account",
        "network",
        "month",
        "checkpoint",
        "before",
        "after",
        "picture",
        "show",
        "view",
        "at",
        "slot",
    ),
    *(
        "do",
        "to",
        "with",
        "version",
        "said",
        "event",
        "next",
        "post",
        "address",
        "size",
        "slot_of",
        "caption",
    ),
    *("alt_text", "done", "refused", "once", "token", "language", "from"),
)
FORMS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6)


@hypothesis_settings(
    max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(page=st.sampled_from(PAGES), place=VALUES, form=FORMS)
def test_whatever_is_sent_nothing_breaks(
    client: TestClient, page: tuple[str, str, object], place: str, form: dict[str, str]
) -> None:
    method, path, _ = page
    inner = quote(place, safe="") or "-"
    address = path.format(picture=inner, sha256=inner, side=inner, step=inner)
    if path.endswith("/again"):
        form = form | {"size": form.get("size", "5000")}  # nothing is sampled here
    data = {"params": form} if method == "GET" else {"data": form}
    answer = client.request(method, address, **data)  # type: ignore[arg-type]
    assert answer.status_code < 500 or address == "/healthz", (method, address, form)


@hypothesis_settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    page=st.sampled_from(PAGES),
    form=FORMS,
    logged_in=st.booleans(),
    site_said=st.sampled_from(["", "same-site", "cross-site", "none"]),
)
def test_without_login_and_same_origin_nothing_is_written(
    site: Site, client: TestClient, stranger: TestClient, page: tuple[str, str, object], form: dict[str, str],
    logged_in: bool, site_said: str,
) -> None:  # fmt: skip
    _, path, _ = page
    address = path.format(picture=1, sha256="0", side=256, step=1)
    sender = client if logged_in else stranger
    headers = {"Sec-Fetch-Site": site_said} if site_said else {"Sec-Fetch-Site": "", "Origin": "null"}
    before = contents(site)
    sender.post(address, data=form, headers=headers)
    sender.get(address, params=form)
    assert contents(site) == before


def contents(site: Site) -> list[tuple[Any, ...]]:
    """All that a person can change."""
    with site.database.read() as session:
        return [
            tuple(row)
            for table in ("pictures", "slots", "posts", "events", "accounts")
            for row in session.execute(text(f"SELECT * FROM {table}"))  # noqa: S608
        ]
