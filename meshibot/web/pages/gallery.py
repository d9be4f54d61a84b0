"""What was posted, newest first."""

from datetime import UTC, date, datetime, timedelta

from sqlalchemy.orm import Session
from starlette.responses import Response

from meshibot import gallery
from meshibot.errors import UsageError
from meshibot.gallery import Filter
from meshibot.web import times
from meshibot.web.site import Call

PAGE = 48
_MONTHS = 240


def show(call: Call) -> Response:
    """A page of posts; filters and place are in the address."""
    chosen = {name: call.text(name)[:200] for name in ("account", "network", "month", "checkpoint")}
    which = _filter(call, chosen)
    before = call.number("before")
    with call.site.database.read() as session:
        posts = gallery.page(session, which, PAGE + 1, before)
        choices = {
            "account": [account.name for account in call.site.settings.accounts],
            "network": gallery.networks(session),
            "month": _months(call, session),
            "checkpoint": gallery.checkpoints(session),
        }
    more = posts[PAGE - 1].id if len(posts) > PAGE else None
    return call.render(
        "gallery.html",
        posts=posts[:PAGE],
        chosen=chosen,
        choices=choices,
        filtered=any(chosen.values()),
        before=before,
        older=more,
        month_name=lambda text: times.month(call.language, _month(text)),
    )


def _filter(call: Call, chosen: dict[str, str]) -> Filter:
    begin = end = None
    if chosen["month"]:
        first = _month(chosen["month"])
        last = (first + timedelta(days=32)).replace(day=1)
        zone = call.zone_of(chosen["account"])
        begin, end = (datetime(day.year, day.month, 1, tzinfo=zone).astimezone(UTC) for day in (first, last))
    return Filter(
        chosen["account"] or None, chosen["network"] or None, begin, end, chosen["checkpoint"] or None
    )


def _month(text: str) -> date:
    try:
        month = datetime.strptime(text, "%Y-%m").date()
    except ValueError:
        raise UsageError(f"month is {text[:20]!r}: write it like 2026-11.") from None
    if not 1900 <= month.year < 3000:
        raise UsageError(f"month is {text[:20]!r}: write a year between 1900 and 2999.")
    return month


def _months(call: Call, session: Session) -> list[str]:
    """Every month from the last post to the first."""
    ends = gallery.span(session)
    if ends is None:
        return []
    first, last = (end.astimezone(call.zone).date().replace(day=1) for end in ends)
    months: list[str] = []
    while last >= first and len(months) < _MONTHS:
        months.append(f"{last:%Y-%m}")
        last = (last - timedelta(days=1)).replace(day=1)
    return months
