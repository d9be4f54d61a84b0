"""The page that `trainer prepare` leaves beside its pictures: self-contained HTML, English and Japanese."""

from collections import Counter
from dataclasses import dataclass
from html import escape


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
    "HEIC": ("HEIC", "JPEGに変換してください"),
    "too large for the memory": ("Too large for the memory", "メモリが足りない"),
    "a name that the archive has twice": ("A name twice in the archive", "同じ名前が二つある"),
}

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 16px/1.5 system-ui, "Hiragino Sans", "Noto Sans CJK JP", sans-serif; margin: 0 auto;
  max-width: 72rem; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .25rem; }
p { margin: .25rem 0 1rem; } [lang=ja], .quiet { color: var(--quiet); } [lang=ja] { font-size: .9em; }
.numbers { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1.5rem 0; padding: 0; list-style: none; }
.numbers b { display: block; font-size: 1.8rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.rows { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .75rem;
  margin: 0; padding: 0; list-style: none; }
.rows li { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; overflow-wrap: anywhere;
  font-size: .85rem; min-width: 0; }
.pictures { display: flex; gap: .5rem; align-items: center; margin-bottom: .35rem; }
.pictures img { max-width: calc(50% - .8rem); border-radius: .25rem; }
"""


def render(page: Page) -> str:
    """Every name comes from a stranger's disk and is escaped."""
    body = "\n".join(
        [
            "<h1>Photographs prepared</h1>",
            f'<p class="quiet"><span lang="ja">写真の下ごしらえ</span> · {escape(page.source)}</p>',
            _numbers(page),
            *_left_out(page.left_out),
            *_duplicates(page.duplicates),
            *_cut(page.cut),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>Photographs prepared: {page.written:,}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _numbers(page: Page) -> str:
    numbers = [
        (page.written, "written", "書き出した"),
        (len(page.left_out), "left out", "使わなかった"),
        (len(page.duplicates), "duplicates", "重複"),
        (len(page.cut), "bars cut", "黒帯を除去"),
    ]
    items = (
        f'<li><b>{n:,}</b>{text} <span lang="ja">{japanese}</span></li>' for n, text, japanese in numbers
    )
    return f'<ul class="numbers">{"".join(items)}</ul>'


def _section(title: str, japanese: str, explanation: str, items: list[str]) -> list[str]:
    if not items:
        return []
    return [
        f'<h2>{title} <span lang="ja">{japanese}</span></h2>',
        f'<p class="quiet">{explanation}</p>' if explanation else "",
        f'<ul class="rows">{"".join(items)}</ul>',
    ]


def _left_out(rows: list[LeftOutRow]) -> list[str]:
    """Grouped by reason, the most frequent first."""
    kinds = Counter(_kind(row.reason) for row in rows)
    parts: list[str] = []
    for kind, count in kinds.most_common():
        items = [
            f"<li>{_pictures(row.thumbnail)}{escape(row.path)}{_detail(row.reason, kind)}</li>"
            for row in rows
            if _kind(row.reason) == kind
        ]
        title, japanese = _TITLES.get(kind, (kind, ""))
        parts += _section(f"{escape(title)}: {count:,}", japanese, "", items)
    return parts


def _kind(reason: str) -> str:
    return next((beginning for beginning in _TITLES if reason.startswith(beginning)), reason)


def _detail(reason: str, kind: str) -> str:
    return "" if reason == kind else f'<br><span class="quiet">{escape(reason)}</span>'


def _duplicates(rows: list[DuplicateRow]) -> list[str]:
    items = [
        f"<li>{_pictures(row.thumbnail, row.kept_thumbnail)}{escape(row.path)}<br>"
        f'<span class="quiet">= {escape(row.kept)} · {row.distance} / 256 bits</span></li>'
        for row in rows
    ]
    return _section(
        f"Duplicates: {len(rows):,}",
        "重複",
        "Left: left out. Right: the one that was kept, the larger of the two. "
        '<span lang="ja">左を除外し、大きいほう（右）を残しました。</span>',
        items,
    )


def _cut(rows: list[CutRow]) -> list[str]:
    items = [f"<li>{_pictures(row.before, row.after)}{escape(row.path)}</li>" for row in rows]
    return _section(
        f"Bars cut: {len(rows):,}",
        "黒帯を除去",
        'As found, and as written. <span lang="ja">元の写真と、書き出した写真。</span>',
        items,
    )


def _pictures(*uris: str) -> str:
    shown = "".join(f'<img src="{uri}" alt="" loading="lazy">' for uri in uris if uri)
    return f'<div class="pictures">{shown}</div>' if shown else ""
