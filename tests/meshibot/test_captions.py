"""What the captions promise: a serial, an honest label, no link, and never more than X takes."""

from datetime import datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.captions import Kind, Language, load_captions, marker
from meshibot.errors import UsageError
from meshibot.publishers.base import contains_marker
from meshibot.publishers.x.text import MAX_WEIGHT, has_link, weighted_length

NIGHT = datetime(2026, 11, 24, 23, 30)


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("language", get_args(Language))
def test_every_line_of_ours_is_labelled_and_plain(language: Language, kind: Kind) -> None:
    captions = load_captions(language)
    said = [captions.caption(serial, NIGHT, kind) for serial in range(1, 3 * len(captions.lines))]
    assert len(set(said)) == len(said), "X refuses a text that it has already"
    assert len({text.splitlines()[0] for text in said}) == len(captions.lines)
    for serial, text in enumerate(said, start=1):
        assert contains_marker(text, marker(serial))
        assert "AI" in text
        assert not has_link(text)
        assert "#" not in text
        assert "@" not in text
        assert weighted_length(text) <= MAX_WEIGHT


@pytest.mark.parametrize("kind", get_args(Kind))
def test_alt_text_says_what_it_is_in_the_language_of_the_caption(kind: Kind) -> None:
    assert "neural network" in load_captions("en").alt_text(kind)
    assert "no real dish" in load_captions("en").alt_text(kind) or "a real dish" in load_captions(
        "en"
    ).alt_text(kind)
    assert "ニューラルネットワーク" in load_captions("ja").alt_text(kind)
    assert "実在の料理" in load_captions("ja").alt_text(kind)
    assert load_captions("{time}の一杯").alt_text(kind) == load_captions("ja").alt_text(kind)
    assert load_captions("A bowl at {time}").alt_text(kind) == load_captions("en").alt_text(kind)


def test_own_template_is_filled_and_gets_its_marker() -> None:
    assert (
        load_captions("{marker}: {date} {time}, #{serial}").caption(42, NIGHT)
        == "No.0042: 2026-11-24 23:30, #42"
    )
    assert load_captions("Midnight bowl").caption(42, NIGHT) == "Midnight bowl No.0042"
    assert load_captions("{{broth}} {marker}").caption(7, NIGHT) == "{broth} No.0007"
    assert load_captions("{{marker}}").caption(7, NIGHT) == "{marker} No.0007"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("", "is empty"),
        ("{chef} {marker}", r"\{chef\}"),
        ("{0} {marker}", r"\{0\}"),
        ("{marker.__class__}", r"may use"),
        ("{marker!r}", r"may use"),
        ("{marker", "can't be read"),
        ("{serial:Q} {marker}", r"\{serial:Q\}: it may use"),
        ("{serial:999999999999} {marker}", "may use"),
        ("{marker:.2}", "may use"),
        ("marker}", "can't be read"),
        ("thanks @ramen {marker}", "mention"),
    ],
)
def test_bad_template_is_one_sentence(template: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        load_captions(template)
    assert "\n" not in str(refused.value)
    assert "MESHIBOT_CAPTIONS" in str(refused.value)


@given(st.integers(min_value=1, max_value=10**7))
def test_marker_names_one_serial_only(serial: int) -> None:
    text = f"麺{marker(serial)}杯目"
    assert contains_marker(text, marker(serial))
    assert not contains_marker(text, marker(serial * 10))
    assert not contains_marker(f"{marker(serial)}1", marker(serial))
    assert not has_link(text)


def test_marker_has_four_digits_or_more() -> None:
    assert (marker(1), marker(42), marker(12345)) == ("No.0001", "No.0042", "No.12345")
