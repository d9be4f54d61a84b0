"""English and Japanese say the same things, with the same places to fill in."""

import re
from string import Formatter

import pytest

from meshibot.web.words import WORDS, preferred


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_have_the_same_fields() -> None:
    for key, (english, japanese) in WORDS.items():
        assert fields(english) == fields(japanese), key
        assert english.strip() == english != ""
        assert japanese.strip() == japanese != ""


def test_every_text_of_a_template_is_there() -> None:
    from importlib import resources

    folder = resources.files("meshibot.web").joinpath("templates")
    used = {
        key
        for file in folder.iterdir()
        for key in re.findall(r"(?:\bt|call\.say)\('([a-z0-9_-]+)'[,)]", file.read_text("utf-8"))
    }
    assert used
    assert used <= set(WORDS)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("ja", "ja"),
        ("en-GB,en;q=0.9,ja;q=0.8", "en"),
        ("fr, ja;q=0.5, en;q=0.4", "ja"),
        ("fr", None),
        ("", None),
        ("ja;q=0, en;q=0.1", "en"),
        ("ja;q=x,en", "en"),
    ],
)
def test_the_language_that_a_browser_likes_best(accepted: str, language: str | None) -> None:
    assert preferred(accepted) == language
