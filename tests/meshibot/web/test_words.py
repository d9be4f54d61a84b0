"""English and Japanese say the same things, with the same places to fill in."""

import re
from pathlib import Path
from string import Formatter

import pytest

import meshibot
from meshibot.web import words
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


def test_every_text_is_used() -> None:
    """By its name, or by one that is put together, such as `'slot_' ~ state` and f"did_{action}"."""
    files = [file for file in Path(meshibot.__file__).parent.rglob("*.*") if file.suffix in (".html", ".py")]
    text = "\n".join(file.read_text("utf-8") for file in files if file != Path(words.__file__))
    together = tuple(re.findall(r"""['"]([a-z]+_)(?:' ~|\{)""", text))
    assert "slot_" in together
    named = set(re.findall(r"""['"]([a-z0-9_-]+)['"]""", text))
    assert [key for key in WORDS if key not in named and not key.startswith(together)] == []


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
