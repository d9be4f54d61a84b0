"""Bluesky: at most once by its key, sessions that last, facets to the byte, and what each answer means."""

import json
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.errors import UsageError
from meshibot.publishers.base import (
    AccountStopped,
    Draft,
    MediaGone,
    PublishError,
    Rejected,
    RetryLater,
    Unclear,
)
from meshibot.publishers.bluesky import (
    BlueskyPublisher,
    BlueskySettings,
    KeptSession,
    fingerprint,
    record_of,
    rkey_of,
)
from meshibot.publishers.text import facets
from testbed.fakes.bluesky import DID, HANDLE, PASSWORD
from testbed.fakes.network import Fake, Fakes
from tests.meshibot.publishers.trials import NOW, QUICK, a_draft, outcome, post, without_tls


@pytest.fixture
def fake(fakes: Fakes) -> Fake:
    return fakes("bluesky")


def opened(fake: Fake, kept: KeptSession | None = None) -> BlueskyPublisher:
    return BlueskyPublisher(HANDLE, PASSWORD, fake.url, kept, timeouts=QUICK)


@pytest.fixture
def bluesky(fake: Fake) -> Iterator[BlueskyPublisher]:
    publisher = opened(fake)
    yield publisher
    publisher.close()


# ---- one record ---------------------------------------------------------------------------------


def test_the_record_is_what_the_draft_says(bluesky: BlueskyPublisher, fake: Fake, tmp_path: Path) -> None:
    sent = post(bluesky, a_draft(tmp_path, "麺🍜 #らーめん https://example.com/x No.0042"))
    (made,) = fake.posts()
    record = made["record"]
    assert (record["createdAt"], record["langs"]) == ("2026-11-24T12:00:00.000Z", ["ja"])
    (image,) = record["embed"]["images"]
    assert image["alt"] == "Generated; no real dish."
    assert image["aspectRatio"] == {"width": 40, "height": 30}
    tag, link = record["facets"]
    assert tag["index"] == {"byteStart": 8, "byteEnd": 21}
    assert tag["features"] == [{"$type": "app.bsky.richtext.facet#tag", "tag": "らーめん"}]
    assert link["index"] == {"byteStart": 22, "byteEnd": 43}
    assert sent.url == f"https://bsky.app/profile/{DID}/post/{sent.remote_id}"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.sampled_from(["麺", "🍜", "a"]))
def test_facets_mark_whole_characters_of_any_text(text: str, before: str) -> None:
    caption = f"{text} {before} #飯bot http://example.com/{before} No.0042"
    draft = a_draft_without_file(caption)
    whole = caption.encode()
    found = record_of(draft, ())["facets"]
    marked = [whole[f["index"]["byteStart"] : f["index"]["byteEnd"]].decode() for f in found]
    assert "#飯bot" in marked
    assert f"http://example.com/{before}" in marked


def a_draft_without_file(caption: str = "No.0042", **how: Any) -> Draft:
    said: dict[str, Any] = {
        "account": "main",
        "serial": 42,
        "marker": "No.0042",
        "caption": caption,
        "alt_text": "",
        "media": (),
        "idempotency_key": "main-0042",
        "created_at": NOW,
        "slot": "main|2026-11-24T23:30",
        "facets": facets(caption),
    }
    return Draft(**(said | how))


def test_the_key_comes_from_the_slot_alone() -> None:
    key = rkey_of(a_draft_without_file())
    assert re.fullmatch("[2-7a-j][2-7a-z]{12}", key)
    later = a_draft_without_file("other words No.0107", serial=107, created_at=NOW + timedelta(days=3))
    assert rkey_of(later) == key
    assert rkey_of(a_draft_without_file(slot="main|2026-11-24T23:31")) > key
    assert rkey_of(a_draft_without_file(account="other", slot="other|2026-11-24T23:30")) != key
    by_hand = a_draft_without_file(slot=None)
    assert rkey_of(by_hand) == rkey_of(replace(by_hand, caption="again No.0042"))
    assert rkey_of(by_hand) != rkey_of(replace(by_hand, created_at=NOW + timedelta(seconds=1)))


@given(st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)), st.text(max_size=10))
def test_keys_are_tids_and_sort_by_the_slots_time(moment: datetime, account: str) -> None:
    one, two = (
        rkey_of(a_draft_without_file(account=account, slot=f"{account}|{at:%Y-%m-%dT%H:%M}"))
        for at in (moment, moment + timedelta(minutes=1))
    )
    assert re.fullmatch("[2-7a-j][2-7a-z]{12}", one)
    assert one < two


def test_the_same_record_again_changes_nothing(bluesky: BlueskyPublisher, fake: Fake, tmp_path: Path) -> None:
    draft = a_draft(tmp_path)
    assert post(bluesky, draft) == post(bluesky, draft)
    assert len(fake.posts()) == 1


def test_another_record_of_the_slot_is_never_overwritten(
    bluesky: BlueskyPublisher, fake: Fake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    draft = a_draft(tmp_path)
    sent = post(bluesky, draft)
    other = replace(draft, caption="other words No.0107", marker="No.0107", serial=107)
    assert post(bluesky, other) == sent
    (made,) = fake.posts()
    assert made["text"] == draft.caption
    assert "was posted by another try, or another database" in caplog.text


def test_a_look_is_the_truth_at_once(bluesky: BlueskyPublisher, fake: Fake, tmp_path: Path) -> None:
    draft = a_draft(tmp_path)
    fake.set_fault("put", "commit_then_drop")
    outcome(lambda: post(bluesky, draft), Unclear)
    (found,) = bluesky.find(draft, datetime.now(UTC))
    assert found.remote_id == rkey_of(draft)
    assert bluesky.latest(5) == (draft.caption,)


# ---- sessions -----------------------------------------------------------------------------------


def test_one_login_serves_many_posts_and_is_refreshed(fakes: Fakes, tmp_path: Path) -> None:
    fake = fakes("bluesky", access_lasts=7200)
    bluesky = opened(fake)
    for number in range(4):
        fake.advance(3 * 3600)
        post(bluesky, a_draft(tmp_path, slot=f"main|2026-11-24T2{number}:00"))
    assert len(fake.posts()) == 4
    assert fake.requests("login") == 1
    assert fake.requests("refresh") == 3


def test_a_token_that_ends_at_the_post_itself_costs_nothing(
    bluesky: BlueskyPublisher, fake: Fake, tmp_path: Path
) -> None:
    draft = a_draft(tmp_path)
    media = bluesky.upload(draft)
    fake.set_fault("put", "expired")
    bluesky.send(draft, media)
    assert len(fake.posts()) == 1
    assert fake.requests("refresh") == 1


def test_a_refused_refresh_is_a_new_login(bluesky: BlueskyPublisher, fake: Fake, tmp_path: Path) -> None:
    bluesky.check()
    fake.set_fault("refresh", "expired")
    fake.set_fault("upload", "expired")
    post(bluesky, a_draft(tmp_path))
    assert (fake.requests("login"), len(fake.posts())) == (2, 1)


def test_a_network_that_fails_at_the_refresh_keeps_the_session(
    bluesky: BlueskyPublisher, fake: Fake, tmp_path: Path
) -> None:
    bluesky.check()
    fake.set_fault("upload", "expired")
    fake.set_fault("refresh", "status", status=502)
    outcome(lambda: post(bluesky, a_draft(tmp_path)), RetryLater)
    post(bluesky, a_draft(tmp_path))
    assert fake.requests("login") == 1


def test_the_session_is_kept_for_the_next_process_and_read_by_nobody_else(fake: Fake, tmp_path: Path) -> None:
    kept = KeptSession(tmp_path / "servers" / "bluesky-main.session", fingerprint(fake.url, HANDLE, PASSWORD))
    opened(fake, kept).check()
    assert stat.S_IMODE(kept.file.stat().st_mode) == 0o600
    assert PASSWORD not in kept.file.read_text()
    post(opened(fake, kept), a_draft(tmp_path))
    assert fake.requests("login") == 1
    assert KeptSession(kept.file, fingerprint(fake.url, HANDLE, "another")).read() is None
    kept.file.write_text(json.dumps({"of": kept.of, "session": {"did": "x"}}))
    assert kept.read() is None


def test_a_revoked_password_is_seen_by_check_though_a_session_is_kept(fake: Fake, tmp_path: Path) -> None:
    kept = KeptSession(tmp_path / "servers" / "s", "f")
    opened(fake, kept).check()
    fake.set_fault("refresh", "expired")
    fake.set_fault("login", "revoked")
    assert "refuses the handle or the app password" in outcome(opened(fake, kept).check, AccountStopped)


# ---- answers ------------------------------------------------------------------------------------

SENDING: list[tuple[str, dict[str, Any], type[PublishError], str]] = [
    ("status", {"status": 500}, Unclear, "answered 500 to the post and may have made it"),
    ("html", {}, Unclear, "answered 502 to the post and may have made it"),
    ("commit_then_html", {}, Unclear, "answered 502 to the post"),
    ("commit_then_hang", {"seconds": 3}, Unclear, "no whole answer came back"),
    ("drip", {"seconds": 3}, Unclear, "no whole answer came back"),
    ("garbage", {}, Unclear, "its answer names no post"),
    ("rate_limited", {}, RetryLater, "rate limit is used up for posting until 20"),
    ("redirect", {}, RetryLater, "a redirect that is not followed; look at MESHIBOT_BLUESKY_SERVICE"),
    ("validation", {}, Rejected, "refuses posting (400: Invalid app.bsky.feed.post record)"),
    ("too_large", {}, Rejected, "The picture is too large for this server"),
    ("blob_gone", {}, MediaGone, "no longer has the uploaded picture"),
    ("revoked", {}, AccountStopped, "refuses the handle or the app password (401"),
    ("suspended", {}, AccountStopped, "has stopped the account (401: Account has been taken down)"),
    ("deactivated", {}, AccountStopped, "has stopped the account (401: Account is deactivated)"),
    ("not_bluesky", {}, AccountStopped, "is another program (404, a page for people)"),
    ("unknown_call", {}, Unclear, "answered 501 to the post"),
]


@pytest.mark.parametrize(("fault", "how", "kind", "says"), SENDING)
def test_what_an_answer_to_a_post_means(
    bluesky: BlueskyPublisher,
    fake: Fake,
    tmp_path: Path,
    fault: str,
    how: dict[str, Any],
    kind: type[PublishError],
    says: str,
) -> None:
    draft = a_draft(tmp_path)
    media = bluesky.upload(draft)
    fake.set_fault("put", fault, **how)
    assert says in outcome(lambda: bluesky.send(draft, media), kind)
    assert fake.requests("put") == 1


CHECKING: list[tuple[str, type[PublishError], str]] = [
    ("revoked", AccountStopped, "Make a new app password at https://bsky.app/settings/app-passwords"),
    ("main_password", AccountStopped, "the account's own password was given"),
    ("suspended", AccountStopped, "Log in at bsky.app and follow what it says"),
    ("not_bluesky", AccountStopped, "Set MESHIBOT_BLUESKY_SERVICE right"),
    ("garbage", RetryLater, "something that no Bluesky server says"),
    ("drop", RetryLater, "can't be reached for reading the account (the connection was cut)"),
    ("rate_limited", RetryLater, "rate limit is used up for reading the account until"),
]


@pytest.mark.parametrize(("fault", "kind", "says"), CHECKING)
def test_what_a_check_says(
    bluesky: BlueskyPublisher, fake: Fake, fault: str, kind: type[PublishError], says: str
) -> None:
    fake.set_fault("login", fault)
    assert says in outcome(bluesky.check, kind)


@pytest.mark.parametrize("status", ["takendown", "suspended", "deactivated"])
def test_an_account_that_is_not_active_is_stopped(fakes: Fakes, status: str) -> None:
    bluesky = opened(fakes("bluesky", status=status))
    assert f"it is {status}" in outcome(bluesky.check, AccountStopped)


def test_a_wrong_password_a_wrong_server_and_one_without_tls(fake: Fake) -> None:
    wrong = BlueskyPublisher(HANDLE, "wrong-planted", fake.url, timeouts=QUICK)
    assert "refuses the handle or the app password" in outcome(wrong.check, AccountStopped)
    elsewhere = BlueskyPublisher(HANDLE, PASSWORD, f"{fake.url}/blog", timeouts=QUICK)
    assert "is another program (404" in outcome(elsewhere.check, AccountStopped)
    with without_tls() as address:
        plain = BlueskyPublisher(HANDLE, PASSWORD, address, timeouts=QUICK)
        assert "no safe connection (TLS) could be made" in outcome(plain.check, RetryLater)


def test_the_bot_label_is_read_from_the_profile(fakes: Fakes) -> None:
    (about,) = opened(fakes("bluesky")).remarks()
    assert "takes 300 characters" in about.says
    _, flag = opened(fakes("bluesky", labels=[])).remarks()
    assert flag.warning
    assert "The profile has no bot label" in flag.says


# ---- settings, names ----------------------------------------------------------------------------


def test_characters_and_bytes_are_counted() -> None:
    family, flag = "👨‍👩‍👧‍👦", "🇯🇵"
    of_characters, of_bytes = BlueskyPublisher.count(f"{family}{flag}か\u3099麺", BlueskyPublisher.limits)
    assert (of_characters.used, of_characters.limit) == (4, 300)
    assert (of_bytes.used, of_bytes.limit) == (25 + 8 + 6 + 3, 3000)


def test_what_is_missing_or_no_handle_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lacks MESHIBOT_BLUESKY_HANDLE, MESHIBOT_BLUESKY_APP_PASSWORD"):
        BlueskyPublisher.open(BlueskySettings(name="main", sole=True), tmp_path)
    assert BlueskySettings(name="main", bluesky_handle="@ramen.bsky.social").bluesky_handle == (
        "ramen.bsky.social"
    )
    with pytest.raises(ValueError, match="bluesky_handle"):
        BlueskySettings(name="main", bluesky_handle="me@example.com")


@pytest.mark.parametrize(
    "said",
    [
        "3mfabcdefgh2i",
        "https://bsky.app/profile/ramen.bsky.social/post/3mfabcdefgh2i",
        "at://did:plc:x/app.bsky.feed.post/3mfabcdefgh2i",
        " https://bsky.app/profile/ramen.bsky.social/post/3mfabcdefgh2i?ref=1 ",
    ],
)
def test_a_post_is_named_by_key_or_address(bluesky: BlueskyPublisher, said: str) -> None:
    assert bluesky.named(said).remote_id == "3mfabcdefgh2i"


@pytest.mark.parametrize("said", ["", "42", "https://bsky.app/profile/x", "https://x.com/a/3mfabcdefgh2i"])
def test_what_names_no_post_is_refused(bluesky: BlueskyPublisher, said: str) -> None:
    with pytest.raises(UsageError, match="is no post on Bluesky"):
        bluesky.named(said)
