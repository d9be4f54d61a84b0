"""What the pages tell people to type exists: commands, options, settings, accounts."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from meshibot.cli import app
from meshibot.config import SETTINGS, load_settings
from meshibot.publishers.x import XSettings
from testbed.command import ROOT

OPERATING_PAGE = ROOT / "docs" / "operating.md"
OPERATING = OPERATING_PAGE.read_text("utf-8")
PAGES = sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").glob("*.md")])


def typed(page: Path) -> list[list[str]]:
    """Every `meshibot …` that a page has as code, in words."""
    text = page.read_text("utf-8")
    code = "\n".join(re.findall(r"^ {4}.+$|^```sh\n(?:.*\n)+?```|`meshibot [^`]+`", text, re.M))
    # Not where it is a user or an owner.
    lines = re.findall(r"(?<![\w/-])(?<!-u )(?<!owner )(?:/opt/meshibot/bin/)?meshibot [a-z].*", code)
    ends = re.compile(r"\s#|\s\||&&|\s{3,}|`")
    return [ends.split(line)[0].translate(str.maketrans("", "", "[]\\")).split()[1:] for line in lines]


def parse(words: list[str]) -> str:
    """The command that the words name; fails where the command line would refuse them."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        names = rest[0].split("|") if rest else []
        assert names, f"{words} ends too soon"
        for name in names:
            assert name in command.commands, f"{words}: there is no {name}"
        command = command.commands[names[0]]
        rest = rest[1:]
    options = {spelled for each in command.params for spelled in (*each.opts, *each.secondary_opts)}
    for word in rest:
        assert not word.startswith("--") or word.split("=")[0] in options, f"{words}: there is no {word}"
    return str(command.name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists(page: Path) -> None:
    for words in typed(page):
        assert not words or parse(words)


def test_every_command_there_is_is_explained() -> None:
    explained = {parse(words) for words in typed(OPERATING_PAGE) if words}
    there_is = {
        "run",
        "post-now",
        "status",
        "check",
        "history",
        "plan",
        "resolve",
        "delete",
        "cancel",
        "resume",
        "config",
        "fill",
        "list",
        "show",
        "sheet",
        "drop",
        "clear",
        "backup",
        "restore",
        "hold",
        "notify",
        "init",
    }
    assert there_is | {"upgrade"} <= explained


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_exists(page: Path) -> None:
    text = re.sub(r"MESHIBOT_(NIGHT|LUNCH|SKY|TOOT|NOTE)_", "MESHIBOT_", page.read_text("utf-8"))
    named = set(re.findall(r"MESHIBOT_[A-Z0-9_]*[A-Z0-9]\b", text))
    assert named - {*SETTINGS, "MESHIBOT_ACCOUNTS"} == set()


def test_the_example_of_several_accounts_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", OPERATING, re.S)
    (tmp_path / "meshibot.toml").write_text(example, "utf-8")
    (secrets,) = re.findall(r"carry the account's name.*?\n\n(.*?)\n\n", OPERATING, re.S)
    (tmp_path / ".env").write_text(secrets.replace(" ", "").replace("…", "planted"), "utf-8")
    monkeypatch.chdir(tmp_path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    accounts = {account.name: account for account in load_settings().accounts}
    assert list(accounts) == ["night", "lunch", "archive"]
    assert accounts["night"].schedule == "0 23 * * *; 30 0 * * 6"
    assert accounts["archive"].publisher == "folder"
    assert {str(account.timezone) for account in accounts.values()} == {"Asia/Tokyo"}
    for name in ("night", "lunch"):
        account = accounts[name]
        assert isinstance(account, XSettings)
        assert account.x_credentials.access_token == "planted"
