"""Characters as people see them, links and hashtags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.publishers.text import facets, graphemes, length_with_links


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("ramen", 5),
        ("らーめん", 4),
        ("か\u3099き\u3099", 2),  # a voicing mark of its own
        ("é e\u0301", 3),
        ("🍜", 1),
        ("👨‍👩‍👧‍👦", 1),
        ("👍🏽", 1),
        ("🇯🇵🇫🇷", 2),
        ("1️⃣", 1),
        ("❤️‍🔥", 1),
        ("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", 1),
        ("a\r\nb", 3),
        ("\u0301", 1),
    ],
)
def test_characters_are_counted_as_people_see_them(text: str, count: int) -> None:
    assert graphemes(text) == count


@given(st.text(max_size=30))
def test_there_are_never_more_than_code_points(text: str) -> None:
    assert graphemes(text) <= len(text)
    assert (graphemes(text) == 0) == (text == "")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("no tag, no link", []),
        ("#らーめん", [("tag", "らーめん")]),
        ("夜の＃麺🍜 #飯bot。", [("tag", "飯bot")]),
        ("＃麺 と #麺2", [("tag", "麺"), ("tag", "麺2")]),
        ("#42 is a number, a#b no tag, ## none", []),
        ("see https://example.com/a?b=1. Now", [("link", "https://example.com/a?b=1")]),
        ("「https://example.com/麺」", [("link", "https://example.com/麺")]),
        ("https://example.com/#part", [("link", "https://example.com/#part")]),
    ],
)
def test_links_and_tags_are_found(text: str, found: list[tuple[str, str]]) -> None:
    assert [(facet.kind, facet.value) for facet in facets(text)] == found
    for facet in facets(text):
        assert text[facet.start : facet.end].lstrip("#＃") == facet.value


def test_a_link_counts_as_a_network_says() -> None:
    text = f"a https://example.com/{'x' * 100} b"
    assert length_with_links(text, 23) == 4 + 23
    assert length_with_links(text, None) == len(text)
