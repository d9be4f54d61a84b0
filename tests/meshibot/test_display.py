"""What people read: tables, pairs, sentences."""

import io
import re
import sys

import pytest
from rich.cells import cell_len

from meshibot.display import (
    outcome,
    print_pairs,
    print_table,
    show_insights,
    show_post,
    show_posts,
    show_stock,
)


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


def test_a_post_says_its_critic_score_and_what_that_is_among_photographs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    post = {"picture": "1.png", "caption": "c", "alt_text": "a", "state": "posted", "url": None}
    show_post({**post, "score": -0.25, "quantile": 0.881})
    assert "critic score  -0.250, above 88.1% of held-out photographs\n" in capsys.readouterr().out
    show_post({**post, "score": None, "quantile": None})
    assert "critic" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("has_reactions", "counted", "said"),
    [
        (False, 0, "main (n): nobody can answer to a post there, so there is nothing to count.\n"),
        (True, 0, "main (n): reactions are not read here: see MESHIBOT_REACTIONS.\n"
                  "main (n): 0 of 1 post counted, each when it was a day old.\n"),
        (False, 1, "main (n): nobody can answer to a post there, so there is nothing to count.\n"
                   "main (n): 1 of 1 post counted, each when it was a day old.\n"),
    ],
)  # fmt: skip
def test_insights_name_a_setting_only_where_it_helps(
    capsys: pytest.CaptureFixture[str], has_reactions: bool, counted: int, said: str
) -> None:
    document = {
        "account": "main", "publisher": "n", "has_reactions": has_reactions, "is_read": False, "posts": 1,
        "counted": counted, "level": 0.9, "spent_this_month": 0.0, "most_a_post": 0.0, "by": {},
    }  # fmt: skip
    show_insights(document)
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("posted", "is posted."),
        ("missed", "was given up: Why."),
        ("rejected", "was rejected: Why."),
        ("unknown", "may have been posted: Why. `meshibot run` finds out"),
        (
            "retry",
            "is not posted yet: Why. `meshibot run` goes on with it, `meshibot cancel 3` withdraws it.",
        ),
        ("sending", "is being sent, or its process was ended there: `meshibot run` finds out."),
    ],
)
def test_what_became_of_a_post_is_one_sentence(state: str, said: str) -> None:
    post = {"id": 3, "serial": 7, "account": "main", "state": state, "reason": "Why."}
    assert outcome(post) == f"Post 3 (No.0007, main) {said}" + (
        ", or `meshibot resolve`." if state == "unknown" else ""
    )


def test_posts_fit_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    url = "file:///home/me/.local/share/meshibot/posts/a-folder-that-is-long/main-0007.json"
    post = {
        "id": 12,
        "serial": 7,
        "account": "main",
        "state": "needs_person",
        "created_at": "2026-11-24T14:00:00Z",
        "caption": "深夜の飯テロ、失礼します。" * 9 + "\nNo.0007",
        "url": url,
        "reason": None,
    }
    show_posts([post, post | {"url": None, "reason": "Why."}])
    lines = terminal.getvalue().splitlines()
    assert [line.strip() for line in lines if line.strip() in (url, "Why.")] == [url, "Why."], "whole"
    assert "needs_person" in lines[0]
    assert "2026-11-24 " in lines[0]
    assert all(cell_len(line) <= 80 for line in lines if url not in line)
    assert len(lines) == 6


def test_the_stock_fits_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    file = "/home/me/.local/share/meshibot/pictures/0123456789abcdef.png"
    show_stock([{"id": 1, "quantile": 0.5, "score": 1.25, "checkpoint": "f" * 64, "file": file}])
    assert "0123456789abcdef.png" in terminal.getvalue()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert all(len(line) <= 80 for line in plain.splitlines())
