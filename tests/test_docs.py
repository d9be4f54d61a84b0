"""The pages: every link leads somewhere, what is generated is as it would be, and what they type works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.generate import pages
from testbed.command import ROOT, Command
from tests.checkpoints import make_checkpoint

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)


def anchors(page: Path) -> set[str]:
    """As forges make them of headings."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = _CODE.sub("", page.read_text("utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_in_the_site() -> None:
    named = set(re.findall(r"[\w.-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    assert named == {page.name for page in (ROOT / "docs").glob("*.md")}


def test_every_module_is_in_the_table_of_the_architecture() -> None:
    """But for those of which there is one each of many: figures, pages."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text))))
    modules = [
        file
        for room in ("meshibot", "trainer")
        for file in (ROOT / room).rglob("*.py")
        if not file.stem.startswith("__") and file.parent.name not in ("metrics", "pages")
    ]
    assert {str(file.relative_to(ROOT)) for file in modules if file.stem not in named} == set()


@pytest.mark.parametrize("file", list(pages()), ids=lambda file: file.name)
def test_the_reference_is_what_the_code_says(file: Path) -> None:
    assert file.read_text("utf-8") == pages()[file], "run python docs/generate.py"


@pytest.mark.long
@pytest.mark.parametrize("name", ["first-post.md", "first-post.ja.md"])
def test_what_the_first_page_types_works(name: str, tmp_path: Path) -> None:
    """Every block, in order, in one shell, in a home that nothing has touched."""
    checkpoint = make_checkpoint(tmp_path / "tiny.safetensors", training_hashes=("0" * 16,))
    bot = Command(tmp_path, {"CHECKPOINT": str(checkpoint), "MIN_QUANTILE": "0"})
    text = (ROOT / "docs" / name).read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M)
    assert len(blocks) == 3
    wrapper = tmp_path / "bin" / "meshibot"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m meshibot "$@"\n')
    wrapper.chmod(0o755)
    environment = bot.environment()
    environment["PATH"] = f"{wrapper.parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=bot.here, env=environment, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [post["state"] for post in bot.json("history")] == ["posted"] * 2
    assert list((bot.home / "backups").iterdir())
