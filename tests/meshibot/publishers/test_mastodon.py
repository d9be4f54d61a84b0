"""Mastodon and what speaks its API: the three guards, a server's own limits, and what each answer means."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from meshibot.errors import UsageError
from meshibot.publishers.base import (
    AccountStopped,
    MediaGone,
    PossibleDuplicate,
    PublishError,
    Rejected,
    RetryLater,
    Unclear,
    WordsRejected,
)
from meshibot.publishers.mastodon import MastodonPublisher, MastodonSettings
from meshibot.publishers.server import Notes
from testbed.fakes.mastodon import CONFIGURATION, TOKEN
from testbed.fakes.network import Fake, Fakes
from tests.meshibot.publishers.trials import QUICK, a_draft, outcome, post, without_tls

SINCE = datetime.now(UTC) - timedelta(minutes=5)


@pytest.fixture
def fake(fakes: Fakes) -> Fake:
    return fakes("mastodon")


def opened(fake: Fake, **how: Any) -> MastodonPublisher:
    return MastodonPublisher(fake.url, TOKEN, timeouts=QUICK, sleep=lambda _: None, **how)


@pytest.fixture
def mastodon(fake: Fake) -> Iterator[MastodonPublisher]:
    publisher = opened(fake)
    yield publisher
    publisher.close()


def restarted(fakes: Fakes, **options: Any) -> tuple[Fake, MastodonPublisher]:
    fake = fakes("mastodon", **options)
    return fake, opened(fake)


def test_a_post_is_what_its_draft_says(mastodon: MastodonPublisher, fake: Fake, tmp_path: Path) -> None:
    post(mastodon, a_draft(tmp_path, visibility="followers", sensitive=True))
    (made,) = fake.posts()
    assert (made["visibility"], made["language"], made["sensitive"]) == ("private", "ja", True)
    assert made["key"] == "main-0042-20261124"
    assert fake.ledger("upload")[0]["alt"] == "Generated; no real dish."


# ---- guards -------------------------------------------------------------------------------------


def test_a_repeat_is_the_same_post_where_the_key_is_kept(
    mastodon: MastodonPublisher, fake: Fake, tmp_path: Path
) -> None:
    draft = a_draft(tmp_path)
    media = mastodon.upload(draft)
    again = mastodon.upload(draft)
    assert mastodon.send(draft, media) == mastodon.send(draft, again)
    assert len(fake.posts()) == 1


def test_a_used_key_that_is_answered_with_500_is_unclear(fakes: Fakes, tmp_path: Path) -> None:
    fake, mastodon = restarted(fakes, version="4.7.1")
    draft = a_draft(tmp_path)
    post(mastodon, draft)
    assert "500" in outcome(lambda: post(mastodon, draft), Unclear)
    assert len(mastodon.find(draft, SINCE)) == 1
    assert len(fake.posts()) == 1


def test_where_keys_are_ignored_attached_pictures_are_the_guard(fakes: Fakes, tmp_path: Path) -> None:
    fake, mastodon = restarted(fakes, software="gotosocial", version="0.20.0")
    draft = a_draft(tmp_path)
    media = mastodon.upload(draft)
    mastodon.send(draft, media)
    said = outcome(lambda: mastodon.send(draft, media), PossibleDuplicate)
    assert "in a post already, or gone" in said
    assert len(fake.posts()) == 1


def test_a_server_that_tells_of_no_picture_is_posted_to_all_the_same(
    mastodon: MastodonPublisher, fake: Fake, tmp_path: Path
) -> None:
    fake.set_fault("probe", "status", times=2, status=404)
    post(mastodon, a_draft(tmp_path))
    assert len(fake.posts()) == 1


def test_a_picture_that_takes_a_while_is_waited_for(fakes: Fakes, tmp_path: Path) -> None:
    fake, mastodon = restarted(fakes, processing=3)
    post(mastodon, a_draft(tmp_path))
    assert fake.requests("probe") == 5


def test_one_that_takes_longer_is_posted_later_without_another_upload(fakes: Fakes, tmp_path: Path) -> None:
    fake, mastodon = restarted(fakes, processing=12)
    draft = a_draft(tmp_path)
    media = mastodon.upload(draft)
    assert "still working on the picture" in outcome(lambda: mastodon.send(draft, media), RetryLater)
    while True:
        try:
            mastodon.send(draft, media)
            break
        except RetryLater:
            continue
    assert (fake.requests("upload"), len(fake.posts())) == (1, 1)


def test_an_upload_that_a_server_forgot_is_made_again(
    mastodon: MastodonPublisher, fake: Fake, tmp_path: Path
) -> None:
    draft = a_draft(tmp_path)
    media = tuple(replace(item, expires_at=SINCE) for item in mastodon.upload(draft))
    outcome(lambda: mastodon.send(draft, media), MediaGone)
    assert fake.requests("status") == 0


# ---- the timeline -------------------------------------------------------------------------------


def test_it_is_found_by_its_serial_in_html_over_pages(
    mastodon: MastodonPublisher, fake: Fake, tmp_path: Path
) -> None:
    draft = a_draft(tmp_path, "see https://example.com/No.0042?a=1&b=2 <b> & more\nNo.0042")
    sent = post(mastodon, draft)
    for serial in range(100, 145):
        later = a_draft(tmp_path, f"No.{serial:04d}", marker=f"No.{serial:04d}", idempotency_key=str(serial))
        post(mastodon, later)
    assert mastodon.find(draft, SINCE) == (sent,)
    assert fake.requests("timeline") == 3, "the last page is empty"
    assert mastodon.latest(2) == ("No.0144", "No.0143")


def test_what_was_made_long_before_is_not_looked_at(
    mastodon: MastodonPublisher, fake: Fake, tmp_path: Path
) -> None:
    draft = a_draft(tmp_path)
    post(mastodon, draft)
    fake.advance(90_000 + 3_700)
    assert mastodon.find(draft, datetime.now(UTC)) == ()
    (sent,) = mastodon.find(draft, datetime.now(UTC) - timedelta(days=2))
    assert sent.age is not None
    assert timedelta(hours=25) < sent.age < timedelta(hours=27)


@pytest.mark.parametrize("fault", ["garbage", "list", "empty", "html", "truncated", "drop"])
def test_a_timeline_that_cant_be_read_is_no_absence(
    mastodon: MastodonPublisher, fake: Fake, tmp_path: Path, fault: str
) -> None:
    draft = a_draft(tmp_path)
    mastodon.check()
    fake.set_fault("timeline", fault)
    outcome(lambda: mastodon.find(draft, SINCE), RetryLater)


# ---- answers ------------------------------------------------------------------------------------

SENDING: list[tuple[str, dict[str, Any], type[PublishError], str]] = [
    ("status", {"status": 500}, Unclear, "answered 500 to the post and may have made it"),
    ("html", {}, Unclear, "answered 502 to the post and may have made it"),
    ("commit_then_html", {}, Unclear, "answered 502 to the post"),
    ("commit_then_hang", {"seconds": 3}, Unclear, "no whole answer came back"),
    ("drip", {"seconds": 3}, Unclear, "no whole answer came back"),
    ("commit_then_reset", {}, Unclear, "the connection was cut"),
    ("garbage", {}, Unclear, "its answer names no post"),
    ("list", {}, Unclear, "its answer names no post"),
    ("rate_limited", {}, RetryLater, "rate limit is used up for posting until 20"),
    ("redirect", {}, RetryLater, "a redirect that is not followed; look at MESHIBOT_MASTODON_SERVER"),
    ("validation", {}, Rejected, "refuses posting (422: Validation failed"),
    ("revoked", {}, AccountStopped, "refuses the token (401: The access token was revoked)"),
    ("suspended", {}, AccountStopped, "may not do this (403: Your login is currently disabled)"),
    ("missing_scope", {}, AccountStopped, "a token needs read:accounts, read:statuses, write:media"),
    ("blocked", {}, AccountStopped, "lets this machine not in (403, a page for people)"),
    ("not_mastodon", {}, AccountStopped, "is another program (404, a page for people)"),
    ("status", {"status": 404}, AccountStopped, "has nothing at that address (404"),
]


@pytest.mark.parametrize(("fault", "how", "kind", "says"), SENDING)
def test_what_an_answer_to_a_post_means(
    mastodon: MastodonPublisher,
    fake: Fake,
    tmp_path: Path,
    fault: str,
    how: dict[str, Any],
    kind: type[PublishError],
    says: str,
) -> None:
    draft = a_draft(tmp_path)
    media = mastodon.upload(draft)
    fake.set_fault("status", fault, **how)
    assert says in outcome(lambda: mastodon.send(draft, media), kind)
    assert fake.requests("status") == 1, "nothing is repeated, and no redirect followed"


UPLOADING: list[tuple[str, dict[str, Any], type[PublishError], str]] = [
    ("too_large", {}, Rejected, "The picture is too large for this server (413"),
    ("thumbnail", {}, RetryLater, "answered 500 to uploading the picture"),
    ("status", {"status": 422}, Rejected, "refuses uploading the picture (422"),
    ("revoked", {}, AccountStopped, "refuses the token"),
    ("garbage", {}, RetryLater, "something that no Mastodon server says"),
]


@pytest.mark.parametrize(("fault", "how", "kind", "says"), UPLOADING)
def test_what_an_answer_to_a_picture_means(
    mastodon: MastodonPublisher,
    fake: Fake,
    tmp_path: Path,
    fault: str,
    how: dict[str, Any],
    kind: type[PublishError],
    says: str,
) -> None:
    fake.set_fault("upload", fault, **how)
    assert says in outcome(lambda: mastodon.upload(a_draft(tmp_path)), kind)


CHECKING: list[tuple[str, type[PublishError], str]] = [
    ("revoked", AccountStopped, "Make a new one under Preferences, Development"),
    ("suspended", AccountStopped, "it is suspended or unconfirmed"),
    ("not_mastodon", AccountStopped, "is another program"),
    ("garbage", RetryLater, "something that no Mastodon server says"),
    ("html", RetryLater, "answered 502 to reading the account"),
    ("drop", RetryLater, "can't be reached for reading the account (the connection was cut)"),
]


@pytest.mark.parametrize(("fault", "kind", "says"), CHECKING)
def test_what_a_check_says(
    mastodon: MastodonPublisher, fake: Fake, fault: str, kind: type[PublishError], says: str
) -> None:
    fake.set_fault("me", fault)
    assert says in outcome(mastodon.check, kind)


def test_a_wrong_token_a_wrong_server_and_one_without_tls(fake: Fake) -> None:
    wrong = MastodonPublisher(fake.url, "another-token-planted", timeouts=QUICK)
    assert "refuses the token (401: The access token is invalid)" in outcome(wrong.check, AccountStopped)
    nobody = MastodonPublisher("https://nobody.invalid", TOKEN, timeouts=QUICK)
    assert "can't be reached for reading the account" in outcome(nobody.check, RetryLater)
    with without_tls() as address:
        plain = MastodonPublisher(address, TOKEN, timeouts=QUICK)
        assert "no safe connection (TLS) could be made" in outcome(plain.check, RetryLater)
    elsewhere = MastodonPublisher(f"{fake.url}/blog", TOKEN, timeouts=QUICK)
    assert "is another program (404" in outcome(elsewhere.check, AccountStopped)


def test_a_reset_counts_by_the_servers_own_clock(
    mastodon: MastodonPublisher, fake: Fake, tmp_path: Path
) -> None:
    draft = a_draft(tmp_path)
    media = mastodon.upload(draft)
    fake.advance(50_000)
    fake.set_fault("status", "rate_limited")
    with pytest.raises(RetryLater) as caught:
        mastodon.send(draft, media)
    assert caught.value.at is not None
    wait = caught.value.at - datetime.now(UTC)
    assert timedelta(minutes=14) < wait < timedelta(minutes=16)


# ---- a server's own limits ----------------------------------------------------------------------


def with_limits(**changes: Any) -> dict[str, Any]:
    return {
        "statuses": CONFIGURATION["statuses"] | {k: v for k, v in changes.items() if k.startswith("max_")},
        "media_attachments": CONFIGURATION["media_attachments"]
        | {k: v for k, v in changes.items() if not k.startswith("max_")},
    }


def test_limits_are_learned_with_the_first_picture_and_kept_for_a_day(fakes: Fakes, tmp_path: Path) -> None:
    fake = fakes("mastodon", configuration=with_limits(max_characters=20))
    notes = Notes.of(tmp_path, "mastodon", "example.social")
    mastodon = opened(fake, notes=notes)
    assert mastodon.limits.caption == 500
    long = a_draft(tmp_path, "a longer caption than this server takes No.0042")
    said = outcome(lambda: mastodon.upload(long), WordsRejected)
    assert "has 47 of the 20 characters that Mastodon allows" in said
    assert fake.requests("upload") == 0
    later = opened(fake, notes=notes)
    assert later.limits.caption == 20, "before anything is asked"
    outcome(lambda: later.upload(long), WordsRejected)
    assert fake.requests("instance") == 1


def test_a_picture_that_was_made_too_large_for_this_server_is_made_anew(fakes: Fakes, tmp_path: Path) -> None:
    _, mastodon = restarted(fakes, configuration=with_limits(image_size_limit=400))
    draft = a_draft(tmp_path)
    said = outcome(lambda: mastodon.upload(draft), RetryLater)
    assert said == "This server takes pictures up to 400 bytes: it is made anew."
    assert mastodon.limits.image_bytes == 400
    assert "Mastodon allows 400" in outcome(lambda: mastodon.upload(draft), Rejected), "and not forever"
    Image.new("L", (1, 1)).save(draft.media[0], quality=1)
    mastodon.upload(draft)


def test_a_link_counts_as_the_server_says(fakes: Fakes) -> None:
    (count,) = MastodonPublisher.count("https://example.com/" + "a" * 200, MastodonPublisher.limits)
    assert (count.used, count.limit, count.note) == (23, 500, "a link counts 23")
    (count,) = MastodonPublisher.count("https://example.com/", replace(MastodonPublisher.limits, link=40))
    assert (count.used, count.note) == (40, "a link counts 40")


def test_remarks_tell_software_limits_rules_and_the_bot_flag(fakes: Fakes) -> None:
    rules = [
        {"id": "1", "text": "Be kind.", "hint": ""},
        {
            "id": "2",
            "text": "Profiles that only post AI-generated content will not be tolerated.",
            "hint": "",
        },
    ]
    _, mastodon = restarted(fakes, rules=rules, bot=False, version="4.6.1")
    about, flag, rule = mastodon.remarks()
    assert "runs mastodon 4.6.1; it takes 500 characters, 1500 of alt text" in about.says
    assert flag.warning
    assert "turn on 'This is an automated account'" in flag.says
    assert rule.warning
    assert "Profiles that only post AI-generated content will not be tolerated." in rule.says
    _, kind = restarted(fakes, rules=rules[:1])
    assert [remark.warning for remark in kind.remarks()] == [False, False]


# ---- settings, names ----------------------------------------------------------------------------


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    settings = MastodonSettings(name="main", sole=True)
    with pytest.raises(
        UsageError, match=r"lacks MESHIBOT_MASTODON_SERVER, MESHIBOT_MASTODON_TOKEN: put it into"
    ):
        MastodonPublisher.open(settings, tmp_path)


@pytest.mark.parametrize("said", ["113000000000000001", "{url}/@meshibot/113000000000000001", "01J9ZC3QK8XY"])
def test_a_post_is_named_by_id_or_address(fake: Fake, mastodon: MastodonPublisher, said: str) -> None:
    named = mastodon.named(said.format(url=fake.url))
    assert re.fullmatch(r"113000000000000001|01J9ZC3QK8XY", named.remote_id)


@pytest.mark.parametrize("said", ["", "https://other.example/@me/113000000000000001", "a b", "x/../y z"])
def test_what_names_no_post_is_refused(mastodon: MastodonPublisher, said: str) -> None:
    with pytest.raises(UsageError, match="give its address there, or the id at its end"):
        mastodon.named(said)


def test_a_name_alone_is_meant_as_https(tmp_path: Path) -> None:
    settings = MastodonSettings(name="main", mastodon_server="example.social")
    assert settings.mastodon_server == "https://example.social"
