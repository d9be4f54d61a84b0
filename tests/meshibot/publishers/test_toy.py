"""A network is one file and a line in the registry: everything else finds what it needs of it there."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshibot import health, posting
from meshibot.config import load_settings
from meshibot.display import show_post
from meshibot.errors import UsageError
from meshibot.kinds import Kind
from meshibot.publishers import PUBLISHERS
from testbed.command import Command
from testbed.homes import stocked
from tests.meshibot.publishers.toy import ToyPublisher

TOKEN = "s3cr3t-planted-toy-token"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyPublisher:
    """An account on the board, with pictures in stock."""
    monkeypatch.setitem(PUBLISHERS, "toy", "tests.meshibot.publishers.toy:ToyPublisher")
    bot = stocked(Command(tmp_path, {"PUBLISHER": "toy", "TOY_TOKEN": TOKEN, "CAPTIONS": "A bowl {marker}"}))
    for name, value in bot.environment().items():
        if name.startswith("MESHIBOT_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(bot.here)
    return ToyPublisher(bot.home / "board.jsonl", TOKEN, 20)


def test_it_posts(board: ToyPublisher) -> None:
    settings = load_settings()
    post, status = posting.post_now(settings, settings.account(None), Kind.SINGLE)
    assert (status, post["state"], post["url"]) == (0, "posted", "toy://board/1")
    (line,) = board.posts()
    assert (line["text"], line["by"]) == ("A bowl No.0001", TOKEN)


def test_its_settings_are_an_accounts_and_its_token_a_secret(
    board: ToyPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings()
    assert settings.warnings == ()
    assert TOKEN in settings.secrets
    assert TOKEN not in repr(settings)
    monkeypatch.setenv("MESHIBOT_TOY_WORDS", "none")
    with pytest.raises(UsageError, match="MESHIBOT_TOY_WORDS is 'none': set it to a whole number of words"):
        load_settings()
    monkeypatch.setenv("MESHIBOT_TOY_WORDS", "")
    monkeypatch.setenv("MESHIBOT_TOY_WORTS", "3")
    assert "did you mean MESHIBOT_TOY_WORDS?" in load_settings().warnings[0]


def test_a_missing_token_is_named(board: ToyPublisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESHIBOT_TOY_TOKEN")
    settings = load_settings()
    with pytest.raises(UsageError, match="posts to the board and lacks MESHIBOT_TOY_TOKEN: put it into"):
        posting.post_now(settings, settings.account(None), Kind.SINGLE)


def test_a_token_in_toml_is_refused_and_one_for_all_serves_none_of_several(
    board: ToyPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = Path.cwd() / "meshibot.toml"
    toml.write_text(f"toy_token = '{TOKEN}'\n")
    with pytest.raises(UsageError, match=r"holds a secret \(toy_token\)"):
        load_settings()
    toml.write_text("[accounts.a]\n[accounts.b]\n")
    assert load_settings().secrets == ()
    monkeypatch.setenv("MESHIBOT_A_TOY_TOKEN", TOKEN)
    assert load_settings().secrets == (TOKEN,)


def test_it_counts_and_prices_a_caption_in_its_own_way(
    board: ToyPublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings()
    post = posting.rehearse(settings, settings.account(None), Kind.SINGLE, NOW, tmp_path)
    assert post["counts"] == [{"unit": "words", "used": 3, "limit": 20}]
    assert post["cost"] == 0.5
    show_post(post)
    assert "words 3 of 20" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setenv("MESHIBOT_CAPTIONS", "see toy://menu {marker}")
    monkeypatch.setenv("MESHIBOT_LINKS", "yes")
    (cost,) = [each for each in health.check(load_settings(), NOW) if each.subject == "account main cost"]
    assert (cost.level, "$2.000 each" in cost.says) == ("warning", True)
    monkeypatch.setenv("MESHIBOT_CAPTIONS", "soup " * 20 + "{marker}")
    with pytest.raises(UsageError, match=r"No\.999999 has 21 of the 20 words that the board allows: shorten"):
        posting.post_now(load_settings(), load_settings().account(None), Kind.SINGLE)
    assert board.posts() == []


def test_a_server_of_its_own_may_take_less(board: ToyPublisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHIBOT_TOY_WORDS", "2")
    settings = load_settings()
    with pytest.raises(UsageError, match=r"has 3 of the 2 words that the board allows: shorten the template"):
        posting.post_now(settings, settings.account(None), Kind.SINGLE)
    assert board.posts() == []
