"""What people read: tables, pairs, sentences."""

import io
import sys

import pytest

from meshibot.display import outcome, print_pairs, print_table


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_columns_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "b"), [(1, "two\nlines"), (None, "[red]x[/red]")])
    assert capsys.readouterr().out == "a\tb\n1\ttwo lines\n\t[red]x[/red]\n"


def test_a_terminal_gets_a_table_and_no_markup_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_table(("name", "caption"), [("main", "[red]ラーメン[/red]")])
    assert "[red]ラーメン[/red]" in terminal.getvalue()
    assert "───" in terminal.getvalue()


def test_values_of_several_lines_stay_in_their_column(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs([("caption", "one\ntwo"), ("url", None), ("id", 3)])
    assert capsys.readouterr().out == "caption  one\n         two\nid       3\n"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("posted", "is posted."),
        ("missed", "was given up: Why."),
        ("rejected", "was rejected: Why."),
        ("unknown", "may have been posted: Why. `meshibot run` finds out"),
        ("retry", "is not posted yet: Why. `meshibot run` goes on with it."),
    ],
)
def test_what_became_of_a_post_is_one_sentence(state: str, said: str) -> None:
    post = {"id": 3, "serial": 7, "account": "main", "state": state, "reason": "Why."}
    assert outcome(post) == f"Post 3 (No.0007, main) {said}" + (
        ", or `meshibot resolve`." if state == "unknown" else ""
    )
