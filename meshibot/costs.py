"""What posting has cost this month and will have cost by its end, and how much of a day's budget is used."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from meshibot.clock import day_of, month_of
from meshibot.config import Account, Settings
from meshibot.database.queries import begun_between, captions_sent_between, looks_between
from meshibot.publishers import publisher_class
from meshibot.publishers.base import Publisher
from meshibot.slots import Schedule, plan, schedule_of


@dataclass(frozen=True)
class Month:
    """An account's current month, in its own time zone. US dollars."""

    account: str
    posts: int
    spent: float
    """For the posts, and for looking at what people said to them."""
    looked: float
    """Of it what looking has cost."""
    expected_posts: int
    """By the end of the month, as its schedule stands."""
    expected: float
    used_today: int
    daily_budget: int | None


def this_month(session: Session, settings: Settings, now: datetime) -> list[Month]:
    """The month of every account."""
    return [_month(session, account, now) for account in settings.accounts]


def _month(session: Session, account: Account, now: datetime) -> Month:
    schedule = schedule_of(account)
    month = month_of(now, schedule.tz)
    end = month[1].astimezone(schedule.tz)
    publisher = publisher_class(account.publisher)
    captions = captions_sent_between(session, account.name, *month)
    plain = publisher.price.of_post(with_link=False)
    looked = cost_of_looks(session, account, month)
    spent = _cost_of(captions, publisher) + looked
    left = posts_in(schedule, now, (end - now.astimezone(schedule.tz)) / timedelta(days=1))
    used = begun_between(session, account.name, *day_of(now, schedule.tz))
    return Month(
        account.name,
        len(captions),
        spent,
        looked,
        len(captions) + left,
        spent + left * plain,
        used,
        account.daily_budget,
    )


def spent_between(session: Session, account: Account, span: tuple[datetime, datetime]) -> float:
    """What posts, and looks at them, cost in a span of time."""
    captions = captions_sent_between(session, account.name, *span)
    return _cost_of(captions, publisher_class(account.publisher)) + cost_of_looks(session, account, span)


def _cost_of(captions: Sequence[str | None], publisher: type[Publisher]) -> float:
    """Of the posts with these words."""
    plain, linked = (publisher.price.of_post(with_link=link) for link in (False, True))
    links = sum(publisher.has_link(caption) for caption in captions if caption) if plain != linked else 0
    return plain * (len(captions) - links) + linked * links


def cost_of_looks(session: Session, account: Account, span: tuple[datetime, datetime]) -> float:
    """What it cost in that time to ask how people answered."""
    each = publisher_class(account.publisher).price.read
    return each * looks_between(session, account.name, *span) if each else 0.0


def posts_in(schedule: Schedule, now: datetime, days: float) -> int:
    """How many posts so many days of the schedule have, within the daily budget."""
    slots = plan(schedule.cron, schedule.tz, now, days, schedule.quiet)
    on = Counter(slot.local[:10] for slot in slots if not slot.quiet)
    most = schedule.daily_budget
    return sum(count if most is None else min(count, most) for count in on.values())
