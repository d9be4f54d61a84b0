"""Writes the reference of every command and setting from the code: `python docs/generate.py`.

A test compares, so that what is written here can't drift from what there is.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import typer.main

from meshibot.config.effective import _plain
from meshibot.config.models import Settings, account_fields, account_model, general_fields, secret_names
from meshibot.layered import Layered, variable

HERE = Path(__file__).parent
INTRO = {
    ("commands", "en"): """# Commands

What `--help` says, of every command. Written by `docs/generate.py`.
""",
    ("commands", "ja"): """# コマンド

すべてのコマンドの `--help` です。`docs/generate.py` が書き出します。
""",
    ("settings", "en"): """# Settings

Every setting, as in the environment or `.env`; in `meshibot.toml` without `MESHIBOT_` and in small letters.
[.env.example](../.env.example) says more of each. Secrets stand in the environment, credentials or `.env`
only. Written by `docs/generate.py`.
""",
    ("settings", "ja"): """# 設定

すべての設定です。環境変数か `.env` にはこのまま、`meshibot.toml` には `MESHIBOT_` を除いて小文字で書きます。
説明は [.env.example](../.env.example) にあります。秘密の値は環境変数・資格情報・`.env` だけに書けます。
`docs/generate.py` が書き出します。
""",
}
HEADS = {
    "en": ("For the bot", "For each account", "| setting | takes | default |", "a secret"),
    "ja": ("ボット全体", "アカウントごと", "| 設定 | 値 | 既定値 |", "秘密"),
}


def pages() -> dict[Path, str]:
    """Every page that is generated, and its text."""
    made = {}
    for language, ending in (("en", ""), ("ja", ".ja")):
        made[HERE / f"commands{ending}.md"] = INTRO["commands", language] + "".join(_commands())
        made[HERE / f"settings{ending}.md"] = INTRO["settings", language] + "".join(_settings(language))
    return made


def _commands() -> Iterator[str]:
    for program in ("meshibot", "trainer"):
        root: Any = typer.main.get_command(import_module(f"{program}.cli").app)
        yield f"\n## {program}\n"
        yield from _of(root, program, click.Context(root, info_name=program))


def _of(command: Any, name: str, context: click.Context) -> Iterator[str]:
    """A command with those below it."""
    if hasattr(command, "commands"):
        for each in command.commands.values():
            below = click.Context(each, info_name=each.name, parent=context)
            yield from _of(each, f"{name} {each.name}", below)
        return
    yield f"\n### {name}\n\n```text\n{_help(command, context)}\n```\n"


def _help(command: Any, context: click.Context) -> str:
    """Plain, as a command without rich shows it, 80 columns wide."""
    formatter = click.HelpFormatter(width=80)
    command.format_usage(context, formatter)
    click.Command.format_help_text(command, context, formatter)
    click.Command.format_options(command, context, formatter)
    return "\n".join(line.rstrip() for line in formatter.getvalue().strip().splitlines())


def _settings(language: str) -> Iterator[str]:
    general, own, head, secret = HEADS[language]
    for title, model, fields in (
        (general, Settings, general_fields()),
        (own, account_model(), account_fields()),
    ):
        yield f"\n## {title}\n\n{head}\n|---|---|---|\n"
        for field in fields:
            yield _row(model, field, secret)


def _row(model: type[Layered], field: str, secret: str) -> str:
    said = model.model_fields[field]
    default = said.default if said.default_factory is None else None
    shown = "" if default is None or repr(default) == "PydanticUndefined" else f"`{_plain(default)}`"
    description = (said.description or "").replace("|", "\\|")
    marked = f"{description} ({secret})" if field in secret_names() else description
    return f"| `{variable(field)}` | {marked} | {shown} |\n"


if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text, "utf-8")
