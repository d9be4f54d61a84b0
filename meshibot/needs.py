"""How many pictures the slots of the next day take, for the page and for notices: one count for both."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from meshibot import agenda
from meshibot.config import Account
from meshibot.kinds import PICTURES
from meshibot.slots import schedule_of

AHEAD = timedelta(hours=24)
"""So long before a slot it is told that the stock lacks its pictures: there is still time to see to it."""


def pictures_needed(session: Session, accounts: Iterable[Account], now: datetime) -> int:
    """What the stock has to have for the slots of the next day, also where no daemon has planned them yet.

    A slot for which something was written ahead has its pictures. Accounts of one group show the same ones.
    """
    takes: dict[tuple[str | None, str, str], int] = {}
    for account in accounts:
        span = agenda.entries(session, account.name, schedule_of(account), now, now + AHEAD, now)
        for entry in span:
            if entry.state in ("planned", "expected") and entry.post is None:
                shown_with = (account.group, "" if account.group else account.name, entry.minute)
                count = PICTURES[account.kinds.on(entry.local.date())]
                takes[shown_with] = max(takes.get(shown_with, 0), count)
    return sum(takes.values())
