"""What is written in a setting, and what is meant by it."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.config import values


@given(st.integers(0, 365), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.booleans())
def test_durations(days: int, hours: int, minutes: int, seconds: int, parted: bool) -> None:
    expected = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    whole = int(expected.total_seconds())
    text = f"{days}d{hours}h{minutes}m{seconds}s" if parted else str(whole)
    assert values.parse_duration(text) == expected


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("90", 90),
        (90, 90),
        ("1h30m", 5400),
        (" 2D ", 172_800),
        ("1s", 1),
        ("1m1m", 120),
        (timedelta(1), 86_400),
    ],
)
def test_a_duration_is_what_its_parts_say(said: object, seconds: int) -> None:
    assert values.parse_duration(said) == timedelta(seconds=seconds)


@pytest.mark.parametrize("said", ["", "1.5h", "-5", "5x", "h", "1h 5m", True, None, "1234567890", "1234567s"])
def test_what_is_no_duration(said: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        values.parse_duration(said)


def test_a_grace_is_a_minute_at_least() -> None:
    assert values.grace("1m") == timedelta(minutes=1)
    with pytest.raises(ValueError, match="too short"):
        values.grace("59s")


@pytest.mark.parametrize(
    ("said", "hours"),
    [
        ("7", (7,)),
        ("23, 0", (0, 23)),
        ("18-20", (18, 19, 20)),
        ("22-1", (0, 1, 22, 23)),
        ("5-5", (5,)),
        ("9-8", tuple(range(24))),
        ([12, "7-8", 7], (7, 8, 12)),
    ],
)
def test_hours_go_over_midnight(said: object, hours: tuple[int, ...]) -> None:
    assert values.hours(said) == hours


@pytest.mark.parametrize("said", ["24", "7-24", "", "seven", "7--8", [], "-1"])
def test_what_are_no_hours(said: object) -> None:
    with pytest.raises(ValueError, match="hour"):
        values.hours(said)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (" 0  23 * * * ;; ", "0 23 * * *"),
        (["0 1 * * *", " ", "0 2 * * *"], "0 1 * * *; 0 2 * * *"),
        (" AUTO ", "auto"),
    ],
)
def test_a_schedule_is_cleaned_of_what_means_nothing(said: object, meant: str) -> None:
    assert values.schedule(said) == meant
    with pytest.raises(ValueError, match="no line"):
        values.schedule(" ; ")


@pytest.mark.parametrize(
    "address",
    [
        *(
            "sqlite:///home/x.db",
            "postgresql://u:p@h:5432/d",
            "postgresql://u:p@[::1]:5432/d",
            "postgresql:///d",
        ),
        "postgresql://u:a%40b@h/d?sslmode=require",
        7,
    ],
)
def test_a_databases_address_has_a_host_and_a_port(address: object) -> None:
    assert values.database_address(address) == address


@pytest.mark.parametrize(
    "address", ["postgresql://u:p@[::1/d", "postgresql://u:p@h:port/d", "postgresql://h:1:2/d"]
)
def test_what_is_no_host(address: str) -> None:
    with pytest.raises(ValueError, match="no host and port"):
        values.database_address(address)


@pytest.mark.parametrize("said", [True, False, "nan", "inf", "1e999", float("nan"), float("-inf")])
def test_what_is_no_finite_number(said: object) -> None:
    with pytest.raises(ValueError, match="not a number"):
        values.finite(said)
    assert [values.finite(number) for number in ("1.5", 2, 0.0)] == ["1.5", 2, 0.0]


def test_a_web_address_is_whole() -> None:
    assert values.web_address(" https://example.org/x ") == "https://example.org/x"
    for wrong in ("ftp://x", "http://", "http:// x", "http://a b", "example.org", "x https://a"):
        with pytest.raises(ValueError, match="not an address"):
            values.web_address(wrong)


def test_captions_are_a_text_several_or_a_file(tmp_path: Path) -> None:
    assert values.captions("ja") == "ja"
    assert values.captions(["a", "b"]) == ("a", "b")
    assert values.captions(str(tmp_path / "lines.txt")) == tmp_path / "lines.txt"
    assert values.captions(f"{tmp_path / 'lines.txt'}\r") == tmp_path / "lines.txt"
    assert values.captions(" en\r") == "en"
    assert values.captions("{marker}.txt") == "{marker}.txt"
    assert values.captions("a\nb.txt") == "a\nb.txt"
    for wrong in ([], ["a", 1], 7, None):
        with pytest.raises(ValueError, match="not texts"):
            values.captions(wrong)


def test_words_say_something() -> None:
    assert values.words(None) is None
    assert values.words(" curry ") == "curry"
    for wrong in ("", "  ", 7):
        with pytest.raises(ValueError, match="not a text"):
            values.words(wrong)


def test_a_path_is_absolute_and_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert values.path("pictures") == tmp_path / "pictures"
    assert values.path("~/bot") == Path("/home/somebody/bot")
    assert values.path(" /var/lib/bot \r") == Path("/var/lib/bot")
    for wrong in ("", " ", "a\0b", 7, None, "\udce9", "~nobody-of-this-name/x"):
        with pytest.raises(ValueError, match=r"not a path|no such user|surrogates"):
            values.path(wrong)


def test_variables_in_a_path_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`$HOME/bot` in .env made a folder of the name `$HOME`."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("NOWHERE", raising=False)
    assert values.path("$HOME/bot") == values.path("${HOME}/bot") == Path("/home/somebody/bot")
    assert values.path("/prices/5$") == Path("/prices/5$")
    for wrong in ("$NOWHERE/bot", "/a/${NOWHERE}", "${HOME"):
        with pytest.raises(ValueError, match="no such variable"):
            values.path(wrong)


def test_none_keeps_no_backup() -> None:
    assert values.backup_keep(" None ") is None
    assert str(values.backup_keep("7d 4w")) == "7d 4w 0m"


def test_a_zone_has_a_name() -> None:
    assert values.zone(" Asia/Tokyo ").key == "Asia/Tokyo"
    for wrong in ("", "Asia", "Nowhere/At_All", "../etc", 7):
        with pytest.raises(ValueError, match=r"not a name|no such zone|normalized|keys"):
            values.zone(wrong)
