"""What the captions promise: a serial, an honest label, no link, and never more than X takes."""

import itertools
from datetime import datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.captions import (
    Captions,
    Language,
    Said,
    load_captions,
    marker,
    serials_in,
    with_marker,
    words_for_one,
)
from meshibot.errors import UsageError
from meshibot.kinds import Kind
from meshibot.publishers.base import contains_marker
from meshibot.publishers.x.text import MAX_WEIGHT, has_link, weighted_length

NIGHT = datetime(2026, 11, 24, 23, 30)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("language", get_args(Language))
def test_every_line_of_ours_is_labelled_and_plain(language: Language, kind: Kind) -> None:
    captions = load_captions(language)
    said = [captions.caption(serial, NIGHT + timedelta(hours=31 * serial), kind) for serial in range(1, 2000)]
    assert len(set(said)) == len(said), "X refuses a text that it has already"
    assert len({text.splitlines()[0] for text in said}) == len(captions.lines)
    for text in said:
        assert "AI" in text
        assert not has_link(text)
        assert "#" not in text
        assert "@" not in text
        assert weighted_length(text) <= MAX_WEIGHT


@pytest.mark.parametrize("kind", list(Kind))
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


@pytest.mark.parametrize("language", get_args(Language))
@pytest.mark.parametrize("hour", range(24))
def test_a_line_suits_the_hour(language: Language, hour: int) -> None:
    """Nobody goes to bed at noon; and no hour has so few lines that they soon repeat."""
    captions = load_captions(language)
    at = NIGHT.replace(hour=hour)
    said = {captions.caption(serial, at).splitlines()[0] for serial in range(100)}
    assert len(said) >= 8
    nightly = ("寝る前", "深夜", "こんな時間", "before bed", "Late-night", "asleep")
    if 5 <= hour < 21:
        assert not [line for line in said if any(word in line for word in nightly)]
    if 5 <= hour < 17:
        assert not [line for line in said if "今夜" in line or "onight" in line]


@pytest.mark.parametrize("language", get_args(Language))
def test_a_line_suits_the_day_and_the_season(language: Language) -> None:
    captions = load_captions(language)
    friday = captions.lines[[line.when for line in captions.turns].index("friday")]
    winter = captions.lines[[line.when for line in captions.turns].index("winter")]
    new_year = captions.lines[[line.when for line in captions.turns].index("new year")]

    def moments(line: str, zone: str = "Asia/Tokyo") -> set[datetime]:
        days = [datetime(2026, 1, 1, 12, tzinfo=ZoneInfo(zone)) + timedelta(days=day) for day in range(365)]
        serials = range(len(captions.lines))
        return {day for day in days if any(captions.caption(n, day).startswith(line) for n in serials)}

    assert {day.weekday() for day in moments(friday)} == {4}
    assert {day.month for day in moments(winter)} == {12, 1, 2}
    assert {day.month for day in moments(winter, "Australia/Sydney")} == {6, 7, 8}
    assert sorted((day.month, day.day) for day in moments(new_year)) == [(1, 1), (1, 2), (1, 3), (12, 31)]


def follow(captions: Captions, apart: int, posts: int, step: timedelta) -> list[str]:
    """The captions of an account that remembers its last posts."""
    lately: list[Said] = []
    for serial in range(1, posts + 1):
        at = NIGHT + step * serial
        lately.insert(0, Said(captions.caption(serial, at, Kind.GRID, lately[:apart]), serial, at, Kind.GRID))
    return [said.caption for said in reversed(lately)]


@pytest.mark.parametrize("language", get_args(Language))
@pytest.mark.parametrize("hours", [24, 36, 5])
def test_no_line_is_repeated_within_ten_posts_of_a_year(language: Language, hours: int) -> None:
    texts = follow(load_captions(language), 10, 400, timedelta(hours=hours))
    said = [text.splitlines()[0] for text in texts]
    assert all(line not in said[max(0, place - 10) : place] for place, line in enumerate(said))


def test_an_owners_templates_are_kept_apart_whatever_is_filled_in() -> None:
    templates = [f"{name} AI at {{time}} on {{date}}" for name in ("one", "two", "three", "four", "five")]
    said = [text.split()[0] for text in follow(load_captions(templates), 3, 60, timedelta(hours=7))]
    assert all(word not in said[max(0, place - 3) : place] for place, word in enumerate(said))


def test_with_fewer_lines_than_are_to_be_kept_apart_the_oldest_comes_again() -> None:
    said = [
        text.split()[0] for text in follow(load_captions(["one AI", "two AI"]), 10, 20, timedelta(days=1))
    ]
    assert all(one != other for one, other in itertools.pairwise(said))


def test_each_account_has_an_order_of_its_own() -> None:
    orders = {load_captions("ja", account=name).lines for name in ("main", "tokyo", "paris")}
    assert len(orders) == 3
    assert len({frozenset(order) for order in orders}) == 1
    assert load_captions("ja", account="tokyo").lines in orders


def test_lines_take_turns() -> None:
    captions = load_captions(["one AI", "two AI", "three AI"])
    said = [captions.caption(serial, NIGHT).split()[0] for serial in range(1, 7)]
    assert said[:3] == said[3:]
    assert len(set(said)) == 3


@pytest.mark.parametrize("kind", list(Kind))
def test_another_food_is_named_and_nothing_of_ours_is_about_ramen(kind: Kind) -> None:
    for language, food in (("ja", "カレー"), ("en", "curry")):
        captions = load_captions(language, subject=food)
        for text in (*captions.widest(), captions.alt_text(kind)):
            assert not any(word in text for word in ("ラーメン", "替え玉", "🍜", "ramen", "broth"))
        assert food in captions.caption(1, NIGHT, kind)
        assert food in captions.alt_text(kind)
    assert load_captions("{subject} {marker}", subject="curry").caption(1, NIGHT) == "curry No.0001"
    assert load_captions("{subject} {marker}").caption(1, NIGHT) == "ramen No.0001"
    assert load_captions("{subject}の夜 {marker}").caption(1, NIGHT) == "ラーメンの夜 No.0001"
    assert load_captions("{subject} {marker}", subject="{x}").caption(1, NIGHT) == "{x} No.0001"


def test_the_alt_text_may_be_the_owners() -> None:
    captions = load_captions("en", alt_text="A plate of {subject} made by AI.", subject="curry")
    assert captions.alt_text(Kind.GRID) == "A plate of curry made by AI."
    with pytest.raises(UsageError, match=r"MESHIBOT_ALT_TEXT has \{marker\}: it may use \{subject\}"):
        load_captions("en", alt_text="{marker}")


@pytest.mark.parametrize(
    ("setting", "meant"), [("JA", "ja"), ("jp", "ja"), ("日本語", "ja"), ("English", "en"), ("en_US", "en")]
)
def test_a_language_that_is_nearly_named_is_asked_for(setting: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {meant}\\?"):
        load_captions(setting)


@pytest.mark.parametrize("glued", ["ramen{marker}", "{marker}{date}", "{serial}{marker}", "{marker}{marker}"])
def test_a_marker_that_touches_a_letter_is_refused_at_once(glued: str) -> None:
    with pytest.raises(UsageError, match=r"touches \{marker\}"):
        load_captions(glued)


@pytest.mark.parametrize("other", ["like No.0001 {marker}", "No.{date} {marker}"])
def test_a_number_that_would_be_taken_for_another_posts_is_refused(other: str) -> None:
    with pytest.raises(UsageError, match="by which another post is found"):
        load_captions(other)


@pytest.mark.parametrize(("subject", "says"), [("curry @ramen", "mentions an"), ("No.0001", "another post")])
def test_so_it_is_in_the_name_of_the_food(subject: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"MESHIBOT_SUBJECT .*{says}"):
        load_captions("en", subject=subject)


@pytest.mark.parametrize(
    ("caption", "says"),
    [
        ("hello @ramen", "mentions an account"),
        ("like No.0001", "another post"),
        ("a\x1b[2J", "no network shows"),
        ("caf\udce9", "no network shows"),
    ],
)
def test_what_a_person_writes_for_one_post_is_looked_at_as_well(caption: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"The caption .*{says}"):
        words_for_one(caption)


@pytest.mark.parametrize(
    "caption", ["A bowl", "A bowl {marker}", "bowl{marker}", "{a} 50 % {", "夜食{marker}!"]
)
def test_what_a_person_wrote_is_found_again(caption: str) -> None:
    assert words_for_one(f"\ufeff {caption}\n") == caption
    assert serials_in(with_marker(caption, 42)) == (42,)


@pytest.mark.parametrize(
    "alone", ["今夜の一杯{marker}!", "({marker})", "{marker}、どうぞ", "x{marker} {marker}"]
)
def test_a_marker_beside_japanese_is_found_again(alone: str) -> None:
    assert contains_marker(load_captions(alone).caption(42, NIGHT), marker(42))


@pytest.mark.parametrize(
    "template",
    [
        "今夜の一杯@ramen_taro",
        "ラーメン＠ramen_taro",
        "café@ramen_taro",
        "RT@ramen_taro",
        "rt:@ramen_taro",
        "@{serial}",
        "(@ramen)",
        "one\n@ramen",
        "@a_name_of_more_than_twenty_letters",
    ],
)
def test_what_x_takes_for_a_mention_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="mentions an account"):
        load_captions(f"{template} {{marker}}")


@pytest.mark.parametrize(
    "template", ["夜食@自宅", "chef@example", "&@ramen", "@名前", "@@", "@ramené", "@x://y"]
)
def test_what_x_takes_for_none_is_accepted(template: str) -> None:
    assert load_captions(template).caption(1, NIGHT).startswith(template)


def test_a_byte_order_mark_is_taken_out() -> None:
    assert load_captions("\ufeffA bowl\ufeff {marker}").caption(1, NIGHT) == "A bowl No.0001"


@pytest.mark.parametrize("bad", ["caf\udce9", "a\x00b", "a\x1b[2J", "\ufffe", "\uffff"])
def test_what_no_network_shows_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="a character that no network shows"):
        load_captions(bad)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("A bowl {marker}", False),
        ("It was fair {marker}", False),
        ("made by AI {marker}", True),
        ("AIが描いた一杯 {marker}", True),
        ("生成した一杯 {marker}", True),
        ("A.I. bowl {marker}", True),
    ],
)
def test_a_template_that_does_not_say_what_made_the_picture_is_warned_of(template: str, says: bool) -> None:
    said = list(load_captions(template).cautions())
    assert len(said) == (0 if says else 1)
    assert list(load_captions("ja").cautions()) == []
