"""What the page of `trainer prepare` shows, made ready for its template (templates/prepare.html.j2).

The page is self-contained HTML in English and Japanese, and lies beside the pictures.
"""

from collections import Counter
from dataclasses import dataclass, field

from trainer.templates import render as fill
from trainer.templates import text_of


@dataclass(frozen=True)
class LeftOutRow:
    path: str
    reason: str
    thumbnail: str
    """A data URI, or nothing; so below."""


@dataclass(frozen=True)
class DuplicateRow:
    path: str
    kept: str
    distance: int
    thumbnail: str
    kept_thumbnail: str


@dataclass(frozen=True)
class CutRow:
    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Page:
    source: str
    written: int
    left_out: list[LeftOutRow]
    duplicates: list[DuplicateRow]
    cut: list[CutRow]
    untypical: list[LeftOutRow] = field(default_factory=list)
    """Left out by `--keep`, the least typical first."""


@dataclass(frozen=True)
class _Group:
    """Files that were left out for one kind of reason."""

    kind: str
    title: str
    japanese: str
    rows: list[LeftOutRow]


_PACKAGE = "trainer.prepare"

# By the beginning of the reason: what the section is called. What follows (sizes, a system's message) is
# shown with each file.
_TITLES = {
    "truncated": ("Truncated", "途中で切れている"),
    "damaged": ("Damaged", "壊れている"),
    "zero bytes": ("Zero bytes", "0バイト"),
    "not a picture": ("Not a picture", "画像ではない"),
    "smaller than": ("Too small", "小さすぎる"),
    "an absurd pixel count": ("An absurd pixel count", "画素数が異常に多い"),
    "hidden": ("Hidden", "隠しファイル"),
    "larger than": ("Too large a file", "ファイルが大きすぎる"),
    "not a regular file": ("Not a regular file", "通常のファイルではない"),
    "unreadable": ("Unreadable", "読み込めない"),
    "HEIC": ("HEIC", "JPEGに変換するか、pillow-heifを入れてください"),
    "JPEG XL": ("JPEG XL", "JPEGかPNGに変換してください"),
    "AVIF": ("AVIF", "JPEGかPNGに変換してください"),
    "a system's own folder": ("A system's own folder", "システムのフォルダー"),
    "a run of the trainer": ("A run of the trainer", "学習の記録"),
    "too large for the memory": ("Too large for the memory", "メモリが足りない"),
    "a name that the archive has twice": ("A name twice in the archive", "同じ名前が二つある"),
}


def render(page: Page) -> str:
    """The page as HTML. Every name comes from a stranger's disk and is escaped by the template."""
    numbers = [
        (page.written, "written", "書き出した"),
        (len(page.left_out), "left out", "使わなかった"),
        (len(page.duplicates), "duplicates", "重複"),
        (len(page.cut), "bars cut", "黒帯を除去"),
    ]
    if page.untypical:
        numbers.insert(2, (len(page.untypical), "least typical", "ほかと似ていない"))
    return fill(
        _PACKAGE,
        "prepare.html.j2",
        page=page,
        numbers=numbers,
        groups=_groups(page.left_out),
        style=text_of(_PACKAGE, "prepare.css"),
    )


def _groups(rows: list[LeftOutRow]) -> list[_Group]:
    """By reason, the most frequent first."""
    kinds = Counter(_kind(row.reason) for row in rows)
    return [
        _Group(kind, *_TITLES.get(kind, (kind, "")), [row for row in rows if _kind(row.reason) == kind])
        for kind, _ in kinds.most_common()
    ]


def _kind(reason: str) -> str:
    return next((beginning for beginning in _TITLES if reason.startswith(beginning)), reason)
