"""Asks the networks how people answered to the posts: a task of the daemon's, and never in the way of a post.

It has connections of its own, takes no account's lease, stops no account, and asks one call at a time.
"""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from meshibot.clock import Clock, SystemClock, month_of
from meshibot.config import Account, Settings
from meshibot.costs import cost_of_looks, this_month
from meshibot.database import Account as AccountRow
from meshibot.database import AccountState, Database, Post, PostMetrics, PostState
from meshibot.database.queries import held_back, is_over
from meshibot.publishers import publisher_class
from meshibot.publishers.base import (
    Measures,
    Publisher,
    PublishError,
    Reactions,
    RetryLater,
    reactions_at_once,
)
from meshibot.thresholds import LOOKED_AT_FOR

log = logging.getLogger(__name__)

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
FREE_UNTIL = LOOKED_AT_FOR
PAID_UNTIL = timedelta(days=7)


def is_due(age: timedelta, looked_at: timedelta | None, *, paid: bool) -> bool:
    """Whether a post of this age is to be looked at again; `looked_at` is its age at the last look.

    Hourly for a day and then daily for a month; daily for a week where each look costs. At the end of its
    first day in any case: by that, posts are compared.
    """
    if age >= (PAID_UNTIL if paid else FREE_UNTIL):
        return False
    if age >= _DAY and (looked_at is None or looked_at < _DAY):
        return True
    wait = _DAY if paid or age >= _DAY else _HOUR
    return age - (looked_at or timedelta(0)) >= wait


def is_read(account: Account) -> bool:
    """Whether the reactions to an account's posts are asked for."""
    publisher = publisher_class(account.publisher)
    if not reactions_at_once(publisher):
        return False
    return account.reactions == "paid" or (account.reactions == "free" and publisher.price.read == 0)


def cost_a_post(publisher: type[Publisher]) -> float:
    """US dollars for all looks at a post together, at most."""
    return publisher.price.read * (PAID_UNTIL // _DAY)


def spent_this_month(session: Session, account: Account, now: datetime) -> float:
    """US dollars that looking has cost since the account's month began. What was gone cost nothing."""
    return cost_of_looks(session, account, month_of(now, account.timezone))


@dataclass
class Reader:
    """One call to each account's network where anything is due, whenever it is called."""

    database: Database
    settings: Settings
    clock: Clock = field(default_factory=SystemClock)
    stopping: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._accounts = [account for account in self.settings.accounts if is_read(account)]
        self._not_before: dict[str, datetime] = {}

    def __call__(self) -> None:
        """Raises DatabaseFailure; what a network does wrong is logged, and tried later."""
        for account in self._accounts:
            if not self.stopping() and is_over(self._not_before.get(account.name), self.clock.now()):
                self._read(account)

    def _read(self, account: Account) -> None:
        due = self._due(account)
        if not due:
            return
        try:
            found = self._ask(account, list(due))
        except PublishError as error:
            at = error.at if isinstance(error, RetryLater) else None
            wait = _HOUR if isinstance(error, RetryLater) else _DAY
            self._not_before[account.name] = at or self.clock.now() + wait
            log.info("reactions of %s can't be read now: %s", account.name, error)
            return
        now = self.clock.now()
        with self.database.write() as session:
            for remote_id, post in due.items():
                # A post that is gone gets its line too, or it would be asked for again at once.
                said = found.get(remote_id, Reactions())
                session.add(
                    PostMetrics(
                        post_id=post,
                        measured_at=now,
                        likes=said.likes,
                        reposts=said.reposts,
                        replies=said.replies,
                        views=said.views,
                    )
                )

    def _ask(self, account: Account, remote_ids: Sequence[str]) -> Mapping[str, Reactions]:
        publisher = publisher_class(account.publisher).open(account, self.settings.home)
        with closing(publisher):
            if not isinstance(publisher, Measures):
                return {}
            return publisher.reactions(remote_ids)

    def _due(self, account: Account) -> dict[str, int]:
        """As many as one call takes, by their ids on the network: those first that were never looked at."""
        now, publisher = self.clock.now(), publisher_class(account.publisher)
        paid = publisher.price.read > 0
        with self.database.read() as session:
            row = session.get(AccountRow, account.name)
            if row is None or row.state is AccountState.STOPPED or held_back(row, now):
                return {}
            looks = _looks(session, account, now)
            most = min(reactions_at_once(publisher), self._affordable(session, account, now))
        due = [
            (remote_id, post)
            for remote_id, post, posted_at, looked_at in looks
            if is_due(now - posted_at, None if looked_at is None else looked_at - posted_at, paid=paid)
        ]
        return dict(due[:most])

    def _affordable(self, session: Session, account: Account, now: datetime) -> int:
        """Looks within what the month's budget leaves beside the posts that are still to be made."""
        price = publisher_class(account.publisher).price.read
        if account.monthly_budget is None or not price:
            return sys.maxsize
        (month,) = (each for each in this_month(session, self.settings, now) if each.account == account.name)
        left = account.monthly_budget - month.expected
        return max(0, int(left / price + 1e-6))


def _looks(
    session: Session, account: Account, now: datetime
) -> list[tuple[str, int, datetime, datetime | None]]:
    """The account's posts of the last month: id there and here, when it was posted, and last looked at."""
    last = func.max(PostMetrics.measured_at).label("last")
    posts = (
        select(Post.remote_id, Post.id, Post.posted_at, last)
        .outerjoin(PostMetrics, PostMetrics.post_id == Post.id)
        .where(
            Post.account == account.name,
            Post.publisher == account.publisher,
            Post.state == PostState.POSTED,
            Post.remote_id.is_not(None),
            Post.posted_at.is_not(None),
            Post.sent_at > now - FREE_UNTIL - _DAY,
        )
        .group_by(Post.id)
        .order_by(last.nulls_first(), Post.id)
    )
    return [
        (remote_id, post, posted_at, looked_at)
        for remote_id, post, posted_at, looked_at in session.execute(posts)
        if remote_id is not None and posted_at is not None
    ]
