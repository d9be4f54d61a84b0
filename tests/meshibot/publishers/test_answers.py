"""A table of answers: the first row that fits says what an answer means, and an unknown one means no good."""

import re
from datetime import UTC, datetime

import pytest
from requests import Response

from meshibot.publishers.answers import (
    TROUBLE,
    Answer,
    NoAnswer,
    Row,
    Step,
    http_date,
    json_of,
    meaning,
    one_line,
    without_answer,
)
from meshibot.publishers.base import AccountStopped, PublishError, Rejected, RetryLater, Unclear

AT = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)
TABLE = (
    Row(429, RetryLater, "{network}: a pause{until}."),
    *TROUBLE,
    Row(400, RetryLater, "Later: {said}.", about=re.compile("ExpiredToken"), step="send"),
    Row((401, 403), AccountStopped, "Refused ({status}: {said}).", "Log in at {network}."),
    Row(range(400, 500), Rejected, "{network} refuses {doing} ({said})."),
)


@pytest.mark.parametrize(
    ("step", "answer", "kind", "says"),
    [
        (
            "send",
            Answer(429, "", at=AT),
            RetryLater,
            "B: a pause until 2026-11-24 23:30:00 UTC.",
        ),
        ("read", Answer(429, ""), RetryLater, "B: a pause."),
        ("send", Answer(502, "gone"), Unclear, "B answered 502 to the post and may have made it: gone."),
        ("upload", Answer(408, "slow"), RetryLater, "B answered 408 to uploading the picture: slow."),
        ("send", Answer(400, "old", kinds="ExpiredToken"), RetryLater, "Later: old."),
        (
            "read",
            Answer(400, "old", kinds="ExpiredToken"),
            Rejected,
            "B refuses reading the account (old).",
        ),
        ("delete", Answer(403, "no {braces}"), AccountStopped, "Refused (403: no {braces}). Log in at B."),
        (
            "send",
            Answer(302, "gone"),
            Unclear,
            "B answered 302 to the post and may have made it: gone.",
        ),
        ("read", Answer(302, "gone"), RetryLater, "B answered 302 to reading the account: gone."),
    ],
)
def test_the_first_row_that_fits_counts(
    step: Step, answer: Answer, kind: type[PublishError], says: str
) -> None:
    error = meaning(TABLE, "B", step, answer)
    assert type(error) is kind
    assert (str(error), error.http_status) == (says, answer.status)
    assert getattr(error, "at", None) == answer.at


@pytest.mark.parametrize(
    ("step", "sent", "kind"),
    [("send", True, Unclear), ("send", False, RetryLater), ("read", True, RetryLater)],
)
def test_only_a_post_that_may_have_left_is_unclear(step: Step, sent: bool, kind: type[PublishError]) -> None:
    error = without_answer("B", step, NoAnswer("the connection was cut", sent=sent))
    assert type(error) is kind
    assert "(the connection was cut)" in str(error)


def test_what_a_network_says_becomes_one_line() -> None:
    assert one_line(" two\n lines ") == "two lines"
    assert one_line("a\x1b[2J\x00\udce9") == "a\ufffd[2J\ufffd\ufffd"
    assert one_line("a" * 301) == "a" * 299 + "…"


def test_what_no_database_keeps_is_taken_out_of_an_answer() -> None:
    """Halves of a character and zeros, in keys as well; what is whole stays."""
    answer = Response()
    answer._content = rb'{"a\ud800": ["\u0000\u001b[2J", {"b": "\ud83c\udf5c\r\n"}], "c": 1}'
    assert json_of(answer) == {"a\ufffd": ["\ufffd\ufffd[2J", {"b": "🍜\r\n"}], "c": 1}
    answer._content = b"[" * 100_000 + b"]" * 100_000
    assert json_of(answer) is None


def test_a_moment_as_http_writes_it() -> None:
    assert http_date("Tue, 24 Nov 2026 23:30:00 GMT") == AT
    assert http_date("Tue, 24 Nov 2026 23:30:00") == AT
    assert http_date("soon") is None
