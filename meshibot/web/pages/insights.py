"""How people answered to the posts, with intervals: the tables of `meshibot insights`, drawn."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.responses import Response

from meshibot.insights.tables import WEEKDAYS, summary
from meshibot.web.site import Call
from meshibot.web.words import WEEKDAYS as SHORT
from meshibot.web.words import WORDS

_YEAR = timedelta(days=365)
WIDTH = 100
"""Of a row's drawing, in its own units."""


@dataclass(frozen=True)
class Row:
    """Posts that have something in common, and where their bar and its interval end in a drawing."""

    name: str
    posts: int
    mean: float
    low: float
    high: float
    bar: float
    begin: float
    end: float


def show(call: Call) -> Response:
    """One account's last year, or all of it."""
    account = call.site.account(call.text("account"))
    span = "all" if call.text("span") == "all" else "year"
    now = call.site.now()
    with call.site.database.read() as session:
        found = summary(session, account, now, None if span == "all" else now - _YEAR)
    lines = [line for table in found["by"].values() for line in table]
    scale = max((line["high"] for line in lines), default=1.0) or 1.0
    return call.render(
        "insights.html",
        account=account.name,
        accounts=[each.name for each in call.site.settings.accounts],
        span=span,
        found=found,
        tables={by: [_row(call, by, line, scale) for line in table] for by, table in found["by"].items()},
        usual=_usual(found["by"]["hour"]),
        scale=scale,
        width=WIDTH,
    )


def _usual(lines: list[dict[str, Any]]) -> float:
    """Reactions a post, of all posts together."""
    posts: int = sum(line["posts"] for line in lines)
    return sum(line["mean"] * line["posts"] for line in lines) / posts if posts else 0.0


def _row(call: Call, by: str, line: dict[str, Any], scale: float) -> Row:
    bar, begin, end = (line[name] / scale * WIDTH for name in ("mean", "low", "high"))
    name = _name(call, by, line["value"])
    return Row(name, line["posts"], line["mean"], line["low"], line["high"], bar, begin, end)


def _name(call: Call, by: str, value: str) -> str:
    """What a row is called in the language of the answer."""
    match by:
        case "weekday":
            return SHORT[call.language][WEEKDAYS.index(value)]
        case "kind" if f"kind_{value}" in WORDS:
            return call.say(f"kind_{value}")
        case "score":
            low, _, high = value.partition("-")
            return f"{100 * float(low):.0f}–{float(high):.0%}"
    return value
