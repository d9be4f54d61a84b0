"""X counts and links a text by the rules of twitter-text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.captions import load_captions
from meshibot.publishers.x.text import has_link, weighted_length


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("This is a test.", 15),
        ("ラーメン", 8),
        ("저찀쯿쿿", 8),
        ("cafe\u0301", 4),
        ("\u201cquoted\u201d", 8),
        ("🍜", 2),
        ("👨‍👩‍👧‍👦", 2),
        ("👍🏽", 2),
        ("🇯🇵", 2),
        ("1\ufe0f\u20e3", 2),
        ("❤️", 2),
        ("http://test.com", 23),
        ("test.com", 23),
        ("Test https://test.com test https://test.com test.com test", 86),
        ("今夜はhttps://example.com/ramenで", 6 + 23 + 2),
        ("https://example.com/" + "a" * 100, 23),
        ("のれん\n出ました", 15),
    ],
)
def test_weighted_length_counts_as_x_does(text: str, weight: int) -> None:
    """Expectations from the conformance cases of twitter-text, and its configuration v3."""
    assert weighted_length(text) == weight


@given(st.text(alphabet=st.characters(exclude_characters="."), max_size=80), st.text(max_size=20))
def test_weight_never_shrinks_when_a_separate_word_is_added(text: str, more: str) -> None:
    assert weighted_length(f"{text} {more}") >= weighted_length(text)


def test_own_template_with_a_link_is_known_to_cost_more() -> None:
    assert any(map(has_link, load_captions("menu: example.com {marker}").lines))
    assert not any(map(has_link, load_captions("ja").lines))


@pytest.mark.parametrize(
    "text",
    [
        "今夜example.com",
        "今夜はexample.com/ramenで",
        "café.com",
        "ramen.みんな",
        "https://ラーメン.jp",
        "HTTPS://EXAMPLE.COM",
        "（example.com）",
    ],
)
def test_a_link_is_found_where_x_finds_it(text: str) -> None:
    assert has_link(text)


@pytest.mark.parametrize(
    "text", ["No.0042", "me@example.com", "#example.com", "ラーメン.みんな", "3.14", "一杯。"]
)
def test_what_x_does_not_link_is_none(text: str) -> None:
    assert not has_link(text)
