"""Misskey: files by their bytes, markup that is none, a drive that fills, and what each answer means."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from meshibot.errors import UsageError
from meshibot.publishers.base import (
    AccountStopped,
    MediaGone,
    PublishError,
    Rejected,
    RetryLater,
    Unclear,
    WordsRejected,
)
from meshibot.publishers.misskey import MisskeyPublisher, MisskeySettings
from meshibot.publishers.server import Notes
from testbed.fakes.misskey import TOKEN
from testbed.fakes.network import Fake, Fakes
from tests.meshibot.publishers.trials import QUICK, a_draft, outcome, post, without_tls

SINCE = datetime.now(UTC) - timedelta(minutes=5)


@pytest.fixture
def fake(fakes: Fakes) -> Fake:
    return fakes("misskey")


def opened(fake: Fake, notes: Notes | None = None) -> MisskeyPublisher:
    return MisskeyPublisher(fake.url, TOKEN, notes, timeouts=QUICK)


@pytest.fixture
def misskey(fake: Fake) -> Iterator[MisskeyPublisher]:
    publisher = opened(fake)
    yield publisher
    publisher.close()


def test_a_note_is_what_its_draft_says(misskey: MisskeyPublisher, fake: Fake, tmp_path: Path) -> None:
    post(misskey, a_draft(tmp_path, visibility="unlisted"))
    (made,) = fake.posts()
    assert (made["visibility"], made["noExtractMentions"]) == ("home", True)


@pytest.mark.parametrize("caption", ["$[spin 麺] No.0042", "**太い** No.0042", ":ramen: No.0042"])
def test_markup_is_shown_letter_by_letter(
    misskey: MisskeyPublisher, fake: Fake, tmp_path: Path, caption: str
) -> None:
    draft = a_draft(tmp_path, caption)
    sent = post(misskey, draft)
    assert fake.posts()[0]["text"] == f"<plain>{caption}</plain>"
    (found,) = misskey.find(draft, SINCE)
    assert found == sent


def test_the_same_bytes_are_uploaded_once_and_by_force_where_their_words_are_others(
    misskey: MisskeyPublisher, fake: Fake, tmp_path: Path
) -> None:
    draft = a_draft(tmp_path)
    assert misskey.upload(draft) == misskey.upload(draft)
    assert len(fake.ledger("upload")) == 1
    other = misskey.upload(replace(draft, alt_text="Another text."))
    assert other != misskey.upload(draft)
    assert [entry["alt"] for entry in fake.ledger("upload")] == [draft.alt_text, "Another text."]
    hidden = misskey.upload(replace(draft, sensitive=True))
    assert hidden != misskey.upload(draft)


def test_a_repeat_that_is_still_processing_is_unclear(fakes: Fakes, tmp_path: Path) -> None:
    fake = fakes("misskey", fork=True)
    misskey, draft = opened(fake), a_draft(tmp_path)
    sent = post(misskey, draft)
    said = outcome(lambda: post(misskey, draft), Unclear)
    assert said == "Misskey answered 202 to the post and names none PROCESSING."
    assert misskey.find(draft, SINCE) == (sent,)
    assert len(fake.posts()) == 1


def test_the_timeline_is_read_over_pages(misskey: MisskeyPublisher, fake: Fake, tmp_path: Path) -> None:
    draft = a_draft(tmp_path)
    sent = post(misskey, draft)
    media = misskey.upload(draft)
    for serial in range(100, 201):
        marker = f"No.{serial:04d}"
        misskey.send(replace(draft, caption=marker, marker=marker), media)
    assert misskey.find(draft, SINCE) == (sent,)
    assert fake.requests("timeline") == 2
    assert misskey.latest(1) == ("No.0200",)


SENDING: list[tuple[str, dict[str, Any], type[PublishError], str]] = [
    ("status", {"status": 500}, Unclear, "answered 500 to the post and may have made it"),
    ("commit_then_html", {}, Unclear, "answered 502 to the post"),
    ("commit_then_hang", {"seconds": 3}, Unclear, "no whole answer came back"),
    ("processing", {}, Unclear, "answered 202 to the post and names none PROCESSING"),
    ("garbage", {}, Unclear, "its answer names no post"),
    ("rate_limited", {}, RetryLater, "rate limit is used up for posting until 20"),
    ("redirect", {}, RetryLater, "a redirect that is not followed; look at MESHIBOT_MISSKEY_SERVER"),
    ("prohibited", {}, WordsRejected, "refuses the words of the post: Cannot post because"),
    ("file_gone", {}, MediaGone, "no longer has the uploaded picture"),
    ("revoked", {}, AccountStopped, "refuses the token (401"),
    ("revoked_as_before", {}, AccountStopped, "refuses the token (403"),
    ("suspended", {}, AccountStopped, "has stopped the account (403: Your account has been suspended."),
    ("moved", {}, AccountStopped, "has stopped the account (403: You have moved"),
    ("missing_scope", {}, AccountStopped, "its token or its role lacks a right"),
    ("role", {}, AccountStopped, "its token or its role lacks a right"),
    ("not_misskey", {}, AccountStopped, "is another program (404, a page for people)"),
]


@pytest.mark.parametrize(("fault", "how", "kind", "says"), SENDING)
def test_what_an_answer_to_a_post_means(
    misskey: MisskeyPublisher,
    fake: Fake,
    tmp_path: Path,
    fault: str,
    how: dict[str, Any],
    kind: type[PublishError],
    says: str,
) -> None:
    draft = a_draft(tmp_path)
    media = misskey.upload(draft)
    fake.set_fault("note", fault, **how)
    assert says in outcome(lambda: misskey.send(draft, media), kind)
    assert fake.requests("note") == 1


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("too_large", Rejected, "The picture is too large for this server (413"),
        ("wrong_type", Rejected, "of a type that it does not take"),
        ("inappropriate", Rejected, "INAPPROPRIATE"),
        ("full", AccountStopped, "The account's drive is full"),
        ("html", RetryLater, "answered 502 to uploading the picture"),
    ],
)
def test_what_an_answer_to_a_picture_means(
    misskey: MisskeyPublisher, fake: Fake, tmp_path: Path, fault: str, kind: type[PublishError], says: str
) -> None:
    fake.set_fault("upload", fault)
    assert says in outcome(lambda: misskey.upload(a_draft(tmp_path)), kind)


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("revoked", AccountStopped, "Make a new one under Settings, API"),
        ("suspended", AccountStopped, "Log in there and follow what it says"),
        ("not_misskey", AccountStopped, "Set MESHIBOT_MISSKEY_SERVER right"),
        ("garbage", RetryLater, "something that no Misskey server says"),
        ("drop", RetryLater, "can't be reached for reading the account (the connection was cut)"),
    ],
)
def test_what_a_check_says(
    misskey: MisskeyPublisher, fake: Fake, fault: str, kind: type[PublishError], says: str
) -> None:
    fake.set_fault("me", fault)
    assert says in outcome(misskey.check, kind)


def test_a_wrong_token_a_suspended_account_and_a_server_without_tls(fakes: Fakes) -> None:
    fake = fakes("misskey", suspended=True)
    wrong = MisskeyPublisher(fake.url, "wrong-planted", timeouts=QUICK)
    assert "refuses the token (401" in outcome(wrong.check, AccountStopped)
    assert "Misskey has suspended the account" in outcome(opened(fake).check, AccountStopped)
    with without_tls() as address:
        plain = MisskeyPublisher(address, TOKEN, timeouts=QUICK)
        assert "no safe connection (TLS) could be made" in outcome(plain.check, RetryLater)


def test_a_servers_own_limits_are_learned_and_kept(fakes: Fakes, tmp_path: Path) -> None:
    fake = fakes("misskey", max_text=20, max_file_mb=2)
    notes = Notes.of(tmp_path, "misskey", "misskey.example")
    long = a_draft(tmp_path, "a longer caption than this server takes No.0042")
    said = outcome(lambda: opened(fake, notes).upload(long), WordsRejected)
    assert "has 47 of the 20 characters that Misskey allows" in said
    limits = opened(fake, notes).limits
    assert (limits.caption, limits.image_bytes) == (20, 2_000_000)
    assert fake.requests("meta") == 1


def test_remarks_tell_the_drives_room_the_bot_flag_and_rules(fakes: Fakes, tmp_path: Path) -> None:
    fake = fakes(
        "misskey", bot=False, capacity=2_000_000, rules=["BOTは禁止です。自動投稿はやめてください。"]
    )
    about, drive, flag, rule = opened(fake).remarks()
    assert "runs misskey 2025.10.0; it takes 3000 characters, 512 of alt text" in about.says
    assert (drive.warning, "there is room for about 10 more posts" in drive.says) == (True, True)
    assert "turn on 'This account is a bot'" in flag.says
    assert "自動投稿はやめてください" in rule.says
    calm = opened(fakes("misskey"))
    assert [remark.warning for remark in calm.remarks()] == [False, False, False]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lacks MESHIBOT_MISSKEY_SERVER, MESHIBOT_MISSKEY_TOKEN"):
        MisskeyPublisher.open(MisskeySettings(name="main", sole=True), tmp_path)


def test_a_post_is_named_by_id_or_address(misskey: MisskeyPublisher, fake: Fake) -> None:
    assert misskey.named(f"{fake.url}/notes/9fabcdefgh01").remote_id == "9fabcdefgh01"
    assert misskey.named("9fabcdefgh01").url == f"{fake.url}/notes/9fabcdefgh01"
    for said in ("", "https://other.example/notes/9fabcdefgh01", "a b"):
        with pytest.raises(UsageError, match="give its address there, or the id at its end"):
            misskey.named(said)
