"""What can happen between the bot and X, and what it means: not sent, refused, stopped, or unclear.

The assertions that matter are made on the fake's own ledger.
"""

import dataclasses
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import tweepy

from meshibot.errors import UsageError
from meshibot.publishers.base import (
    AccountStopped,
    Draft,
    MediaGone,
    MediaRef,
    PossibleDuplicate,
    PublishError,
    Rejected,
    RetryLater,
    Sent,
    Unclear,
    unfenced,
)
from meshibot.publishers.credentials import OAuth1Credentials
from meshibot.publishers.transport import Timeouts
from meshibot.publishers.x import XPublisher
from meshibot.publishers.x.client import Client
from testbed.fakes.x import CREDENTIALS, FakeX
from tests.meshibot.publishers.test_contract import make_draft, make_gif

QUICK = Timeouts(connect=5.0, answer=1.0)
UPLOADED = (MediaRef("1990000000000000001"),)


@pytest.fixture
def x(fake_x: FakeX) -> Iterator[XPublisher]:
    publisher = XPublisher(CREDENTIALS, api_base=fake_x.url, timeouts=QUICK)
    yield publisher
    publisher.close()


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    return make_draft(tmp_path, 42)


@contextmanager
def at_address(base: str, timeouts: Timeouts = QUICK) -> Iterator[XPublisher]:
    """A publisher that talks to some other address."""
    publisher = XPublisher(CREDENTIALS, api_base=base, timeouts=timeouts)
    try:
        yield publisher
    finally:
        publisher.close()


def soon() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=1)


def test_reactions_are_asked_for_as_x_documents_it(x: XPublisher, fake_x: FakeX, draft: Draft) -> None:
    sent = x.send(draft, x.upload(draft))
    (found,) = x.reactions([sent.remote_id]).values()
    assert (found.likes, found.reposts, found.replies, found.views) == (5, 3, 3, 120)
    fake_x.set_fault("lookup", "empty")
    with pytest.raises(RetryLater, match="can't be read"):
        x.reactions([sent.remote_id])
    assert fake_x.ledger("broken", "refused") == [], fake_x.ledger("broken", "refused")


def test_a_post_carries_picture_label_and_alt_text(x: XPublisher, fake_x: FakeX, draft: Draft) -> None:
    sent = x.send(draft, x.upload(draft))
    (post,) = fake_x.posts()
    (upload,) = fake_x.ledger("upload")
    assert post["id"] == sent.remote_id
    assert post["text"] == draft.caption
    assert post["media_ids"] == [upload["id"]]
    assert post["made_with_ai"] is True
    assert upload["size"] == draft.media[0].stat().st_size
    assert fake_x.ledger("metadata")[0]["alt_text"] == draft.alt_text
    assert sent.url == f"https://x.com/i/web/status/{sent.remote_id}"


@pytest.mark.parametrize(
    "said",
    [
        "1993412345678901234",
        " 1993412345678901234\n",
        "https://x.com/meshi_bot/status/1993412345678901234",
        "https://x.com/i/web/status/1993412345678901234",
        "x.com/meshi_bot/status/1993412345678901234/photo/1",
        "https://mobile.twitter.com/meshi_bot/status/1993412345678901234?s=20",
    ],
)
def test_a_person_names_a_post_by_number_or_address(said: str) -> None:
    assert XPublisher.named(said) == Sent(
        "1993412345678901234", "https://x.com/i/web/status/1993412345678901234"
    )


@pytest.mark.parametrize(
    "said",
    ["", "yes", "No.0042", "https://x.com/meshi_bot", "https://example.com/a/status/1", "１２３", "9" * 20],
)
def test_what_is_no_post_on_x_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match="address, or the number"):
        XPublisher.named(said)


def test_bodies_and_answers_fit_the_official_openapi_document(
    x: XPublisher, fake_x: FakeX, draft: Draft
) -> None:
    if not fake_x.checks_schemas:
        pytest.skip("X's OpenAPI document is not at hand: name it in MESHIBOT_X_OPENAPI")
    sent = x.send(draft, x.upload(draft))
    x.find(draft, soon())
    x.delete(sent.remote_id)
    assert fake_x.ledger("broken", "refused") == [], fake_x.ledger("broken", "refused")
    with at_address(fake_x.url) as publisher:
        unknown = publisher._client.request("POST", "/2/tweets", json={"text": "No.0043", "made_by_ai": True})
    assert unknown.status_code == 400, "the fake has to notice what X would refuse"


def test_the_client_is_tweepys(x: XPublisher) -> None:
    assert isinstance(x._client, tweepy.Client)
    assert issubclass(Client, tweepy.Client)
    assert x._client.wait_on_rate_limit is False


# What happened to the POST of a post -> was it made, and what it is called.
UNCLEAR_AFTER_COMMIT = [
    ("commit_then_hang", "took too long"),
    ("commit_then_reset", "was cut"),
    ("commit_then_drop", "was cut"),
    ("commit_then_drip", "took too long"),
    ("commit_then_status", "answered 503"),
    ("garbage", "names no post"),
    ("list", "names no post"),
    ("empty", "names no post"),
    ("truncated", "no whole answer"),
]
UNCLEAR_BEFORE_COMMIT = [
    ("drop", "was cut"),
    ("reset", "was cut"),
    ("hang", "took too long"),
    ("drip", "took too long"),
    ("status", "answered 500"),
]


@pytest.mark.parametrize(("fault", "says"), UNCLEAR_AFTER_COMMIT)
def test_a_post_that_was_made_without_a_clear_answer_is_unclear_and_found(
    x: XPublisher, fake_x: FakeX, draft: Draft, fault: str, says: str
) -> None:
    media = x.upload(draft)
    fake_x.set_fault("tweets", fault)
    with pytest.raises(Unclear, match=says) as unclear:
        x.send(draft, media)
    assert not isinstance(unclear.value, PossibleDuplicate)
    (post,) = fake_x.posts()
    assert [found.remote_id for found in x.find(draft, soon())] == [post["id"]]
    assert fake_x.requests("tweets") == 1, "nothing sent it again"


@pytest.mark.parametrize(("fault", "says"), UNCLEAR_BEFORE_COMMIT)
def test_a_post_that_left_and_was_not_made_is_unclear_and_not_found(
    x: XPublisher, fake_x: FakeX, draft: Draft, fault: str, says: str
) -> None:
    media = x.upload(draft)
    fake_x.set_fault("tweets", fault)
    with pytest.raises(Unclear, match=says):
        x.send(draft, media)
    assert fake_x.posts() == []
    assert x.find(draft, soon()) == ()
    x.send(draft, media)
    assert len(fake_x.posts()) == 1


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_server_that_drips_does_not_hold_the_bot(
    x: XPublisher, fake_x: FakeX, draft: Draft, part: str
) -> None:
    """Dripping goes on for a minute; the answer's second is over long before, or the test's time would be."""
    fake_x.set_fault("tweets", "commit_then_drip", part=part, seconds=3600)
    media = x.upload(draft)
    with pytest.raises(Unclear, match="took too long"):
        x.send(draft, media)


@pytest.mark.parametrize("endpoint", ["upload", "metadata", "me", "timeline", "delete"])
@pytest.mark.parametrize("fault", ["drop", "reset", "drip", "status", "commit_then_reset", "truncated"])
def test_what_makes_no_post_may_simply_be_repeated(
    x: XPublisher, fake_x: FakeX, draft: Draft, endpoint: str, fault: str
) -> None:
    post = x.send(draft, x.upload(draft)).remote_id

    def ask() -> None:
        if endpoint == "delete":
            x.delete(post)
        elif endpoint in ("upload", "metadata"):
            x.upload(draft)
        else:
            x.find(draft, soon())

    fake_x.set_fault(endpoint, fault)
    with pytest.raises(RetryLater) as later:
        ask()
    assert later.value.at is None
    ask()


REFUSED: list[tuple[str, type[PublishError], str]] = [
    ("no_credits", AccountStopped, r"credits.*Buy credits at console\.x\.com"),
    ("revoked", AccountStopped, r"credentials \(401.*clock.*fresh values"),
    ("suspended", AccountStopped, r"suspended.*Log in at x\.com"),
    ("locked", AccountStopped, r"temporarily locked.*Log in at x\.com"),
    ("missing_scope", AccountStopped, r"oauth1 app permissions.*'Read and write'"),
    ("duplicate", PossibleDuplicate, "duplicate content"),
    ("list_error", Rejected, "Bad request in a list"),
    ("redirect", RetryLater, "MESHIBOT_X_API_BASE"),
]


@pytest.mark.parametrize(("fault", "meaning", "says"), REFUSED)
def test_a_refusal_is_what_the_table_says(
    x: XPublisher, fake_x: FakeX, draft: Draft, fault: str, meaning: type[PublishError], says: str
) -> None:
    media = x.upload(draft)
    fake_x.set_fault("tweets", fault)
    with pytest.raises(meaning, match=says) as refused:
        x.send(draft, media)
    assert type(refused.value) is meaning
    assert "\n" not in str(refused.value)
    assert refused.value.http_status in (307, 400, 401, 402, 403)
    assert fake_x.posts() == []


@pytest.mark.parametrize("fault", ["no_credits", "revoked", "suspended", "locked", "missing_scope"])
def test_a_stopped_account_is_seen_by_a_check(x: XPublisher, fake_x: FakeX, fault: str) -> None:
    fake_x.set_fault("me", fault)
    with pytest.raises(AccountStopped) as stopped:
        x.check()
    assert stopped.value.exit_status == 4
    assert stopped.value.what_to_do.endswith("`meshibot resume`.")


@pytest.mark.parametrize("status", [400, 404, 405, 413, 415, 422])
def test_other_refusals_are_final_and_say_what_x_said(
    x: XPublisher, fake_x: FakeX, draft: Draft, status: int
) -> None:
    body = {
        "title": "Invalid Request",
        "errors": [{"detail": "The soup is too hot."}],
        "detail": "See errors.",
    }
    fake_x.set_fault("tweets", "status", status=status, body=body)
    media = x.upload(draft)
    with pytest.raises(Rejected, match=r"The soup is too hot; See errors") as rejected:
        x.send(draft, media)
    assert rejected.value.http_status == status


def test_a_refusal_in_no_json_is_still_a_sentence(x: XPublisher, fake_x: FakeX, draft: Draft) -> None:
    for body in ("plain", ["a", 1], {"errors": "none"}, {"errors": [1, {}]}, 7, None):
        fake_x.set_fault("upload", "status", status=400, body=body)
        with pytest.raises(Rejected, match=r"^X refuses uploading the picture \(400: \w.*\)\.$"):
            x.upload(draft)


def test_a_secret_that_x_echoes_is_not_repeated(x: XPublisher, fake_x: FakeX, draft: Draft) -> None:
    detail = "Bad " + " and ".join(CREDENTIALS.secrets())
    fake_x.set_fault("upload", "status", status=400, body={"detail": detail})
    with pytest.raises(Rejected, match=r"Bad \[redacted\] and \[redacted\]") as rejected:
        x.upload(draft)
    for secret in CREDENTIALS.secrets():
        assert secret not in str(rejected.value)


RATE_LIMITS: list[tuple[dict[str, str], float | None]] = [
    ({}, None),
    ({"retry-after": "90"}, 90),
    ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "+300"}, 300),
    ({"x-rate-limit-reset": "+300"}, 300),
    ({"x-rate-limit-remaining": "5", "x-rate-limit-reset": "+300"}, None),
    (
        {
            "x-rate-limit-remaining": "0",
            "x-rate-limit-reset": "+300",
            "x-user-limit-24hour-remaining": "0",
            "x-user-limit-24hour-reset": "+40000",
        },
        40_000,
    ),
    (
        {
            "retry-after": "30",
            "x-app-limit-24hour-remaining": "0",
            "x-app-limit-24hour-reset": "+7200",
            "x-user-limit-24hour-remaining": "9",
            "x-user-limit-24hour-reset": "+80000",
        },
        7200,
    ),
    ({"retry-after": "soon", "x-rate-limit-reset": "never"}, None),
    ({"x-rate-limit-reset": "99999999999999999999"}, None),
    ({"x-rate-limit-reset": "\xb3"}, None),
    ({"x-rate-limit-reset": "9999999999"}, 86_400),
    ({"retry-after": "\xb2"}, None),
    ({"retry-after": "-5"}, None),
    ({"retry-after": "9999999999"}, 86_400),
    ({"retry-after": "Wed, 21 Oct 9999 07:28:00 GMT"}, 86_400),
]


@pytest.mark.parametrize(("headers", "seconds"), RATE_LIMITS)
@pytest.mark.parametrize("skew", [0, 5_000])
def test_a_rate_limit_names_its_end(
    x: XPublisher, fake_x: FakeX, draft: Draft, headers: dict[str, str], seconds: float | None, skew: int
) -> None:
    """Also where the two clocks differ by more than an hour: what counts is how long X says to wait."""
    media = x.upload(draft)
    fake_x.advance(skew)
    now = datetime.now(UTC)
    server = int(now.timestamp()) + skew
    sent = {k: str(server + int(v[1:])) if v.startswith("+") else v for k, v in headers.items()}
    fake_x.set_fault("tweets", "rate_limited", headers=sent)
    with pytest.raises(RetryLater, match="rate limit") as later:
        x.send(draft, media)
    if seconds is None:
        assert later.value.at is None
    else:
        assert later.value.at is not None
        assert abs((later.value.at - now).total_seconds() - seconds) < 10
    assert fake_x.requests("tweets") == 1, "no waiting and no trying again in here"
    x.send(draft, media)


def test_a_used_up_window_is_a_rate_limit(x: XPublisher, fake_x: FakeX, draft: Draft) -> None:
    fake_x.set_window(1)
    with pytest.raises(RetryLater, match="used up for uploading the picture until") as later:
        x.upload(draft)
    assert later.value.at is not None


def test_nothing_left_when_the_connection_is_refused(draft: Draft) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with at_address(f"http://127.0.0.1:{port}") as x, pytest.raises(RetryLater, match="refused"):
        x.send(draft, UPLOADED)


def test_nothing_left_when_the_name_is_unknown(draft: Draft) -> None:
    with (
        at_address("http://no-such-host.invalid") as x,
        pytest.raises(RetryLater, match="name can't be looked up"),
    ):
        x.send(draft, UPLOADED)


def test_nothing_left_when_there_is_no_safe_connection(fake_x: FakeX, draft: Draft) -> None:
    secure = fake_x.url.replace("http://", "https://")
    with at_address(secure) as x, pytest.raises(RetryLater, match=r"TLS"):
        x.send(draft, UPLOADED)
    assert fake_x.posts() == []


def test_nothing_left_when_connecting_takes_too_long(draft: Draft) -> None:
    """A listener whose queue is full answers no handshake."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(address)
        timeouts = Timeouts(connect=0.3, answer=0.3)
        try:
            with (
                at_address(f"http://127.0.0.1:{address[1]}", timeouts) as x,
                pytest.raises(RetryLater, match="connecting took too long"),
            ):
                x.send(draft, UPLOADED)
        finally:
            for one in crowd:
                one.close()


def test_a_connection_that_is_cut_while_sending_is_unclear(draft: Draft) -> None:
    """The server closes as soon as it is reached: how much of the request arrived, nobody knows."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_at_once() -> None:
            connection, _ = server.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=close_at_once)
        thread.start()
        with (
            at_address(f"http://127.0.0.1:{server.getsockname()[1]}") as x,
            pytest.raises(Unclear, match="was cut"),
        ):
            x.send(draft, UPLOADED)
        thread.join()


def test_no_connection_is_used_twice(x: XPublisher, fake_x: FakeX, draft: Draft) -> None:
    """The fake would keep them open; one that has just been closed there would make the next post unclear."""
    x.send(draft, x.upload(draft))
    x.find(draft, soon())
    ports = [entry["port"] for entry in fake_x.ledger("request")]
    assert len(set(ports)) == len(ports) == 5


def test_a_timeline_that_lags_shows_the_post_at_a_later_look(
    x: XPublisher, fake_x: FakeX, draft: Draft
) -> None:
    media = x.upload(draft)
    fake_x.set_fault("timeline", "late", times=2)
    x.send(draft, media)
    assert [len(x.find(draft, soon())) for _ in range(3)] == [0, 0, 1]


def test_the_look_goes_through_every_page(x: XPublisher, fake_x: FakeX, tmp_path: Path) -> None:
    first = make_draft(tmp_path, 1)
    media = x.upload(first)
    fake_x.set_window(1000)
    x.send(first, media)
    for serial in range(2, 104):
        x._client.post(f"No.{serial:04d}", [media[0].id], unfenced)
    assert len(fake_x.posts()) == 103
    assert x.find(first, soon())
    assert fake_x.requests("timeline") == 2


def test_the_look_ends_where_the_attempt_began(x: XPublisher, fake_x: FakeX, draft: Draft) -> None:
    """An hour is left for clocks that differ; an older post of the same serial is another life's."""
    x.send(draft, x.upload(draft))
    assert x.find(draft, datetime.now(UTC) + timedelta(minutes=50))
    assert x.find(draft, datetime.now(UTC) + timedelta(hours=2)) == ()


def test_what_the_account_reposts_is_no_post_of_its_own(x: XPublisher, fake_x: FakeX, draft: Draft) -> None:
    """Another bot's No.0042, say."""
    fake_x.repost(f"RT @another: {draft.caption}")
    assert x.find(draft, soon()) == ()
    assert x.latest(5) == ()


def test_how_old_a_post_is_is_told_by_xs_own_clock(x: XPublisher, fake_x: FakeX, draft: Draft) -> None:
    x.send(draft, x.upload(draft))
    fake_x.advance(7200)
    (found,) = x.find(draft, soon())
    assert found.age is not None
    assert timedelta(hours=2) <= found.age < timedelta(hours=2, minutes=2)


def test_who_the_account_is_is_asked_each_time_and_for_a_look_once(
    x: XPublisher, fake_x: FakeX, draft: Draft
) -> None:
    """Credentials that were accepted once may be refused by now."""
    x.find(draft, soon())
    x.find(draft, soon())
    assert fake_x.requests("me") == 1
    x.check()
    fake_x.set_fault("me", "revoked")
    with pytest.raises(AccountStopped) as refused:
        x.check()
    assert refused.value.may_mend


@pytest.mark.parametrize("endpoint", ["upload", "metadata"])
def test_a_picture_that_x_does_not_know_yet_is_no_rejection(
    x: XPublisher, fake_x: FakeX, draft: Draft, endpoint: str
) -> None:
    fake_x.set_fault(endpoint, "status", status=404, body={"title": "Not Found", "detail": "Not Found"})
    with pytest.raises(RetryLater, match="does not know the picture yet"):
        x.upload(draft)
    assert x.upload(draft)


def test_a_refusal_under_a_clock_that_is_off_names_the_clock(
    x: XPublisher, fake_x: FakeX, draft: Draft
) -> None:
    """Signatures carry the time: it mends itself as soon as the clock is right."""
    media = x.upload(draft)
    fake_x.advance(1200)
    fake_x.set_fault("tweets", "revoked")
    with pytest.raises(RetryLater, match="clock is 20 minutes slow: set it right"):
        x.send(draft, media)


def test_an_app_that_may_only_read_is_no_working_account(
    x: XPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X says so with every answer; else an account that was stopped for it would start again and again."""
    ask = x._client.get_me

    def read_only(**options: object) -> object:
        answer = ask(**options)
        answer.headers["x-access-level"] = "read"
        return answer

    monkeypatch.setattr(x._client, "get_me", read_only)
    with pytest.raises(AccountStopped, match="'Read and write'") as stopped:
        x.check()
    assert not stopped.value.may_mend


@pytest.mark.parametrize("fault", ["garbage", "empty", "list"])
def test_a_timeline_that_cannot_be_read_is_no_absence(
    x: XPublisher, fake_x: FakeX, draft: Draft, fault: str
) -> None:
    x.send(draft, x.upload(draft))
    fake_x.set_fault("timeline", fault)
    with pytest.raises(RetryLater, match="can't be read"):
        x.find(draft, soon())


UNREADABLE: list[dict[str, object]] = [
    {},
    {"meta": {}},
    {"meta": {"result_count": 1}},
    {"meta": {"result_count": 0}, "errors": [{"title": "Over capacity"}]},
    {"data": [{"id": "1", "text": "A bowl."}]},
    {"data": "none", "meta": {"result_count": 1}},
    {"errors": [{"title": "Authorization Error", "detail": "Sorry, you may not see this user's posts."}]},
]


@pytest.mark.parametrize("page", UNREADABLE)
def test_an_answer_of_200_that_does_not_list_the_posts_is_no_absence(
    x: XPublisher, fake_x: FakeX, draft: Draft, page: dict[str, object]
) -> None:
    x.send(draft, x.upload(draft))
    fake_x.set_fault("timeline", "status", status=200, body=page)
    with pytest.raises(RetryLater, match="can't be read") as later:
        x.find(draft, soon())
    if len(page) == 1 and "errors" in page:
        assert "you may not see this user's posts" in later.value.reason


def test_text_that_x_has_already_is_a_possible_duplicate(x: XPublisher, fake_x: FakeX, draft: Draft) -> None:
    media = x.upload(draft)
    x.send(draft, media)
    with pytest.raises(PossibleDuplicate):
        x.send(draft, media)
    assert len(fake_x.posts()) == 1


def test_expired_media_are_uploaded_again(x: XPublisher, fake_x: FakeX, draft: Draft) -> None:
    media = x.upload(draft)
    assert media[0].expires_at is not None
    assert timedelta(hours=23) < media[0].expires_at - datetime.now(UTC) <= timedelta(hours=24)
    fake_x.advance(86_401)
    with pytest.raises(MediaGone, match="no longer knows"):
        x.send(draft, media)
    with pytest.raises(MediaGone, match="has expired"):
        x.send(draft, (dataclasses.replace(media[0], expires_at=datetime.now(UTC)),))
    assert fake_x.requests("tweets") == 1
    x.send(draft, x.upload(draft))


@pytest.mark.parametrize("field", ["consumer_key", "consumer_secret", "access_token", "access_token_secret"])
def test_one_wrong_value_stops_the_account(fake_x: FakeX, field: str) -> None:
    wrong = dataclasses.replace(CREDENTIALS, **{field: "mistyped"})
    publisher = XPublisher(wrong, api_base=fake_x.url, timeouts=QUICK)
    with pytest.raises(AccountStopped, match="401"):
        publisher.check()
    publisher.close()


def test_credentials_show_nothing_and_forgive_a_newline() -> None:
    assert str(CREDENTIALS) == repr(CREDENTIALS) == "OAuth1Credentials(…)"
    pasted = OAuth1Credentials(*(f" {value}\n" for value in CREDENTIALS.secrets()))
    assert pasted == CREDENTIALS
    with pytest.raises(UsageError, match="MESHIBOT_X_ACCESS_TOKEN is missing"):
        dataclasses.replace(CREDENTIALS, access_token=" ")


@pytest.mark.parametrize("base", ["api.x.com", "ftp://api.x.com", "https://", ""])
def test_an_address_that_is_none_is_wrong_usage(base: str) -> None:
    with pytest.raises(UsageError, match="MESHIBOT_X_API_BASE"):
        XPublisher(CREDENTIALS, api_base=base)


def test_a_ledger_outlives_its_server(tmp_path: Path, draft: Draft) -> None:
    with FakeX.begin(tmp_path) as fake, at_address(fake.url) as x:
        sent = x.send(draft, x.upload(draft))
    with FakeX.begin(tmp_path) as fake, at_address(fake.url) as x:
        assert x.find(draft, soon()) == (sent,)


def test_neither_torch_nor_scipy_comes_along() -> None:
    script = (
        "import sys, meshibot.publishers.x; print(*{'torch', 'scipy', 'numpy', 'PIL'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ""


def test_a_gif_goes_up_in_parts_and_is_waited_for(fake_x: FakeX, tmp_path: Path) -> None:
    draft = dataclasses.replace(make_draft(tmp_path, 42), media=(make_gif(tmp_path / "walk.gif"),))
    with draft.media[0].open("ab") as file:  # bytes after its end are no part of the picture
        file.write(bytes(2_500_000))
    slept: list[float] = []
    fake_x.work(3)
    x = XPublisher(CREDENTIALS, api_base=fake_x.url, timeouts=QUICK, sleep=slept.append)
    media = x.upload(draft)
    assert slept == [1.0, 1.0, 1.0]
    assert [fake_x.requests(step) for step in ("begin", "append", "finish", "state", "upload")] == [
        1,
        3,
        1,
        3,
        0,
    ]
    assert fake_x.ledger("metadata")[0]["alt_text"] == draft.alt_text
    sent = x.send(draft, media)
    assert fake_x.posts()[0]["media_ids"] == [media[0].id]
    assert x.find(draft, datetime.now(UTC) - timedelta(minutes=1)) == (sent,)
    x.close()


def test_a_gif_that_takes_long_is_posted_later_and_not_uploaded_again(fake_x: FakeX, tmp_path: Path) -> None:
    draft = dataclasses.replace(make_draft(tmp_path, 42), media=(make_gif(tmp_path / "walk.gif"),))
    fake_x.work(32)
    x = XPublisher(CREDENTIALS, api_base=fake_x.url, timeouts=QUICK, sleep=lambda _: None)
    stored = MediaRef.from_json(x.upload(draft)[0].to_json())
    with pytest.raises(RetryLater, match="still working"):
        x.send(draft, (stored,))
    assert fake_x.posts() == []
    sent = x.send(draft, (stored,))
    assert [post["id"] for post in fake_x.posts()] == [sent.remote_id]
    assert fake_x.requests("begin") == 1
    fake_x.reset(tmp_path / "forgetful.jsonl")
    with pytest.raises(MediaGone):
        x.send(draft, (stored,))
    x.close()


def test_a_gif_that_x_can_not_use_is_refused(x: XPublisher, fake_x: FakeX, tmp_path: Path) -> None:
    draft = dataclasses.replace(make_draft(tmp_path, 42), media=(make_gif(tmp_path / "walk.gif"),))
    fake_x.work(0, fails=True)
    with pytest.raises(Rejected, match="can't make a GIF"):
        x.upload(draft)
    tall = make_gif(tmp_path / "tall.gif", side=1100)
    with pytest.raises(Rejected, match="1100 by 1100"):
        x.upload(dataclasses.replace(draft, media=(tall,)))


@pytest.mark.parametrize("step", ["begin", "append", "finish", "state"])
@pytest.mark.parametrize("fault", ["status", "drop", "garbage", "no_credits"])
def test_whatever_befalls_a_gif_on_its_way_no_post_is_unclear(
    step: str, fault: str, fake_x: FakeX, tmp_path: Path
) -> None:
    draft = dataclasses.replace(make_draft(tmp_path, 42), media=(make_gif(tmp_path / "walk.gif"),))
    x = XPublisher(CREDENTIALS, api_base=fake_x.url, timeouts=QUICK, sleep=lambda _: None)
    fake_x.work(1)
    fake_x.set_fault(step, fault)
    if (step, fault) == ("append", "garbage"):  # what X says of a part is not needed
        assert x.upload(draft)
        return
    with pytest.raises(AccountStopped if fault == "no_credits" else RetryLater):
        x.upload(draft)
    assert fake_x.posts() == []
    assert x.send(draft, x.upload(draft)).remote_id
