"""What posting has cost this month and will have cost by its end, and how much of a day's budget is used."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from meshibot.config import Account, Settings
from meshibot.database.queries import begun_between, captions_sent_between
from meshibot.publishers import publisher_class
from meshibot.slots import Schedule, plan, schedule_of


@dataclass(frozen=True)
class Month:
    """An account's current month, in its own time zone. US dollars."""

    account: str
    posts: int
    spent: float
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
    today = now.astimezone(schedule.tz).replace(hour=0, minute=0, second=0, microsecond=0)
    first = today.replace(day=1)
    end = (first + timedelta(days=32)).replace(day=1)
    publisher = publisher_class(account.publisher)
    month = (first.astimezone(UTC), end.astimezone(UTC))
    captions = captions_sent_between(session, account.name, *month)
    plain, linked = (publisher.price.of_post(with_link=link) for link in (False, True))
    links = 0
    if plain != linked:
        links = sum(publisher.has_link(caption) for caption in captions if caption)
    spent = plain * (len(captions) - links) + linked * links
    left = posts_in(schedule, now, (end - now.astimezone(schedule.tz)) / timedelta(days=1))
    used = begun_between(
        session, account.name, today.astimezone(UTC), (today + timedelta(days=1)).astimezone(UTC)
    )
    return Month(
        account.name,
        len(captions),
        spent,
        len(captions) + left,
        spent + left * plain,
        used,
        account.daily_budget,
    )


def posts_in(schedule: Schedule, now: datetime, days: float) -> int:
    """How many posts so many days of the schedule have, within the daily budget."""
    slots = plan(schedule.cron, schedule.tz, now, days, schedule.quiet)
    on = Counter(slot.local[:10] for slot in slots if not slot.quiet)
    most = schedule.daily_budget
    return sum(count if most is None else min(count, most) for count in on.values())
