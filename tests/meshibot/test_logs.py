"""Whatever is logged, no secret is in it: not in arguments, tracebacks, extra fields, nor by any library."""

import http.client
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
import tweepy
from hypothesis import given
from hypothesis import strategies as st

from meshibot.logs import HIDDEN, JsonFormatter, Redactor, TextFormatter, configure_logging
from meshibot.publishers.base import Unclear
from meshibot.publishers.transport import Timeouts
from meshibot.publishers.x import XPublisher
from testbed.fakes.x import CREDENTIALS, FakeX
from tests.meshibot.publishers.test_contract import make_draft

SECRETS = CREDENTIALS.secrets()


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where a test's logging goes; afterwards the root logger is as before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # Taken off, so that configure_logging doesn't close what belongs to pytest.
    root.handlers.clear()
    yield io.StringIO()
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("meshibot").setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


def forms(secret: str) -> set[str]:
    """How a secret may be written: as it is, and percent-encoded once or twice, as OAuth signs it."""
    once = quote(secret, safe="")
    return {secret, once, quote(once, safe="")}


def assert_clean(text: str) -> None:
    for secret in SECRETS:
        for form in forms(secret):
            assert form not in text


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_library_gets_a_secret_into_the_log(
    fake_x: FakeX, tmp_path: Path, stream: io.StringIO, form: str
) -> None:
    configure_logging(logging.DEBUG, form, secrets=SECRETS, stream=stream)  # type: ignore[arg-type]
    draft = make_draft(tmp_path, 42)
    x = XPublisher(CREDENTIALS, api_base=fake_x.url, timeouts=Timeouts(5.0, 1.0))
    x.find(draft, x.upload(draft)[0].expires_at or pytest.fail("an upload expires"))
    fake_x.set_fault("tweets", "commit_then_reset")
    try:
        x.send(draft, x.upload(draft))
    except Unclear:
        logging.getLogger("meshibot.outbox").exception("Held %s with %s", draft.marker, SECRETS)
    x.close()
    raw = stream.getvalue()
    assert_clean(raw)
    assert_clean(raw.replace("\\\\", "\\").replace('\\"', '"'))
    assert "requests_oauthlib" in raw or "oauthlib" in raw, "the libraries did speak"
    assert "Held No.0042" in raw
    assert "Traceback" in raw


def test_what_tweepy_itself_logs_is_clean_even_with_unknown_secrets(
    fake_x: FakeX, stream: io.StringIO
) -> None:
    """By their shape alone: nobody told the redactor these values."""
    configure_logging(logging.DEBUG, stream=stream)
    client = tweepy.Client(
        bearer_token="AAAAbearer0123456789",
        consumer_key=SECRETS[0],
        consumer_secret=SECRETS[1],
        access_token=SECRETS[2],
        access_token_secret=SECRETS[3],
        return_type=requests.Response,
    )
    adapter = XPublisher(CREDENTIALS, api_base=fake_x.url)._client.adapter
    client.session.mount("https://api.twitter.com", adapter)
    client.get_me(user_auth=True)
    with pytest.raises(tweepy.Unauthorized):
        client.get_me(user_auth=False)
    client.session.close()
    said = stream.getvalue()
    assert "Making API request" in said
    assert_clean(said)
    assert "AAAAbearer0123456789" not in said
    assert HIDDEN in said


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_is_longer_than_can_be_read(stream: io.StringIO, form: str) -> None:
    """And what is cut off hid no secret in halves."""
    configure_logging(logging.DEBUG, form, secrets=SECRETS, stream=stream)  # type: ignore[arg-type]
    logging.getLogger("library").debug("body %s%s%s", "x" * 1990, SECRETS[1], "y" * 400_000)
    (line,) = stream.getvalue().splitlines()
    assert len(line) < 2_300
    assert "more characters)" in line
    assert SECRETS[1][:4] not in line


def test_a_picture_that_is_uploaded_is_not_in_the_log(
    fake_x: FakeX, tmp_path: Path, stream: io.StringIO
) -> None:
    configure_logging(logging.DEBUG, stream=stream)
    x = XPublisher(CREDENTIALS, api_base=fake_x.url)
    x.upload(make_draft(tmp_path, 42))
    x.close()
    said = stream.getvalue()
    assert "POST /2/media/upload: 20" in said
    assert "JFIF" not in said
    assert "Updated body" not in said


def test_a_log_that_cannot_be_written_says_nothing_of_what_it_would_have_written(
    capsys: pytest.CaptureFixture[str], stream: io.StringIO
) -> None:
    """Python's own words of that hold the bare arguments."""

    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    configure_logging(logging.DEBUG, secrets=SECRETS, stream=Full())
    logging.getLogger("library").error("the token is %s", SECRETS[2])
    logging.getLogger().handlers.clear()
    assert capsys.readouterr().err == ""


def test_the_scheduler_is_heard_only_where_it_fails(stream: io.StringIO) -> None:
    configure_logging(logging.DEBUG, stream=stream)
    scheduler = logging.getLogger("apscheduler.scheduler")
    scheduler.warning("Run time of job was missed by 0:00:40")
    scheduler.debug("Looking for jobs to run")
    scheduler.error("Job raised an exception")
    assert stream.getvalue().count("apscheduler") == 1


def test_arguments_extra_fields_and_tracebacks(stream: io.StringIO) -> None:
    configure_logging(form="json", secrets=SECRETS, stream=stream)
    log = logging.getLogger("meshibot.test")
    try:
        raise RuntimeError(f"no luck with {SECRETS[1]}")
    except RuntimeError:
        log.exception("tried %s %r", SECRETS[0], {"token": SECRETS[2]}, extra={"post": 42, "key": SECRETS[3]})
    log.debug("not at this level")
    (line,) = stream.getvalue().splitlines()
    assert_clean(line)
    entry = json.loads(line)
    assert entry["message"] == f"tried {HIDDEN} {{'token': '{HIDDEN}'}}"
    assert entry["key"] == HIDDEN
    assert entry["post"] == "42"
    assert entry["level"] == "ERROR"
    assert entry["logger"] == "meshibot.test"
    assert entry["time"].endswith("+00:00")
    assert f"RuntimeError: no luck with {HIDDEN}" in entry["exception"]


@pytest.mark.parametrize(
    "line",
    [
        'Authorization: OAuth oauth_nonce="x", oauth_token="S3CRETVALUE"',
        "authorization: Bearer S3CRETVALUE",
        "{'User-Agent': 'x', 'Authorization': 'Bearer S3CRETVALUE'}",
        "{'Authorization': b'OAuth oauth_token=\"S3CRETVALUE\", oauth_x=\"S3CRETVALUE\"', 'n': 1}",
        '{"Authorization": "Basic S3CRETVALUE"}',
        "send: b'GET / HTTP/1.1\\r\\nAuthorization: OAuth oauth_token=\"S3CRETVALUE\"\\r\\n'",
        "[('oauth_token', 'S3CRETVALUE'), ('oauth_version', '1.0')]",
        "oauth_token=S3CRETVALUE&oauth_version=1.0",
        "GET&https%3A%2F%2Fapi&oauth_token%3DS3CRETVALUE%26oauth_version%3D1.0",
        "GET&https%253A%252F%252Fapi&oauth_signature%253DS3CRETVALUE%2526oauth_version",
        '{"oauth_token_secret": "S3CRETVALUE"}',
        "postgresql+psycopg://bot:S3CRETVALUE@db.example/meshibot",
    ],
)
def test_what_looks_like_a_secret_is_taken_out_by_its_shape(line: str) -> None:
    said = Redactor()(f"before {line} ")
    assert "S3CRETVALUE" not in said
    assert said.startswith("before ")
    assert HIDDEN in said


@pytest.mark.parametrize(
    "line",
    [
        "posted No.0042 to https://x.com/i/web/status/1",
        "oauth_signature_method HMAC-SHA1",
        "Basic ramen, OAuth authentication and Bearer of bowls",
        "Set oauth up first; authorization is asked for",
        "sqlite:////home/me/meshibot.db",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert Redactor(["", "abc"])(line) == line


@given(st.text(min_size=4, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_a_known_secret_never_stays(secret: str, before: str, after: str) -> None:
    redact = Redactor([secret])
    # Whatever is left between two marks is no longer the secret; the mark itself may happen to be.
    for text in (before + secret + after, before + quote(secret, safe="") + after):
        assert all(secret not in rest for rest in redact(text).split(HIDDEN))


def test_the_longer_of_two_secrets_is_hidden_whole() -> None:
    assert Redactor(["token", "token-and-more"])("x token-and-more y") == f"x {HIDDEN} y"
    assert "token" not in repr(Redactor(["token"]))


def test_a_line_for_people_and_a_line_for_machines() -> None:
    record = logging.makeLogRecord({"name": "meshibot.cli", "levelno": 20, "levelname": "INFO", "msg": "飯"})
    assert TextFormatter(Redactor()).format(record).endswith(" INFO    meshibot.cli: 飯")
    assert json.loads(JsonFormatter(Redactor()).format(record))["message"] == "飯"


def test_a_file_is_written_as_well_and_libraries_are_quiet(tmp_path: Path, stream: io.StringIO) -> None:
    file = tmp_path / "logs" / "meshibot.log"
    configure_logging(secrets=SECRETS, stream=stream, file=file)
    logging.getLogger("meshibot.daemon").info("awake with %s", SECRETS[0])
    logging.getLogger("urllib3.connectionpool").info("chatter")
    assert file.read_text("utf-8") == stream.getvalue()
    assert "awake" in stream.getvalue()
    assert "chatter" not in stream.getvalue()
    assert_clean(stream.getvalue())


def test_http_client_stays_silent() -> None:
    """Its debug output goes to print, past all logging: nothing of ours may turn it on."""
    assert http.client.HTTPConnection.debuglevel == 0
