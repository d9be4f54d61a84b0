"""What the bot says in English is said in Japanese on the page, for as long as it says it so."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import meshibot
from meshibot.slots.planner import QUIET
from meshibot.web.sentences import JAPANESE, in_japanese
from tests.meshibot.web.test_words import fields

PACKAGE = Path(meshibot.__file__).parent


def texts(file: Path) -> Iterator[str]:
    """Every text of a module, with {} for what is put into it."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def shape(text: str) -> str:
    """A text without the names of its fields."""
    return re.sub(r"\{\w*\}", "{}", text)


def test_every_sentence_is_one_that_the_bot_says() -> None:
    own = PACKAGE / "web" / "sentences.py"
    said = {text for file in PACKAGE.rglob("*.py") if file != own for text in texts(file)}
    said = {shape(text) for text in (*said, f"{QUIET} {{}}.")}
    assert {english for english in JAPANESE if shape(english) not in said} == set()


@pytest.mark.parametrize("english", JAPANESE)
def test_a_sentence_keeps_what_was_put_into_it(english: str) -> None:
    values = {name: f"<{name}>" for name in fields(english)}
    assert fields(JAPANESE[english]) == fields(english)
    assert in_japanese(english.format_map(values)) == JAPANESE[english].format_map(values)


def test_states_and_reasons_within_are_japanese_too() -> None:
    assert in_japanese("Slot 7 is skipped: only a planned one can be changed.") == (
        "枠 7 は変更できません(スキップ)。変更できるのは予定の枠だけです。"
    )
    assert in_japanese("Picture 3 is not in the stock: Its file is missing or empty.") == (
        "画像 3 は在庫にありません。ファイルがないか、空です。"
    )
    assert in_japanese("A person rejected it (blurred).") == "人が却下しました (blurred)。"


def test_things_are_named_in_japanese() -> None:
    sentence = in_japanese(
        "The caption has No.0007, by which another post is found: write that number otherwise."
    )
    assert sentence == "本文に No.0007 があります。別の投稿を探す目印なので、書き方を変えてください。"


def test_what_is_not_known_stays() -> None:
    assert in_japanese("The network said: 飯") is None
    assert in_japanese("") is None
