"""The outbox of one process: it claims what is due, an account at a time, and takes it as far as it goes."""

import logging
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from meshibot.database import queries
from meshibot.database.models import Account, Post
from meshibot.outbox import identity
from meshibot.outbox.choose import claim_next
from meshibot.outbox.claim import Claim, LeaseLost, abandon, conclude, give_up
from meshibot.outbox.decide import Elsewhere
from meshibot.outbox.deliver import deliver, may_repeat
from meshibot.outbox.policy import Channel
from meshibot.outbox.reconcile import reconcile
from meshibot.outbox.runtime import Runtime
from meshibot.publishers.base import AccountStopped, PublishError

log = logging.getLogger(__name__)


@dataclass
class Outbox(Runtime):
    """Works the posts of several accounts; makes sure that they are in the database."""

    def __post_init__(self) -> None:
        self._channels = {channel.account: channel for channel in self.channels}
        with self.database.write() as session:
            for channel in self._channels.values():
                _open_account(session, channel.account, channel.publisher.name)

    def channel(self, account: str) -> Channel:
        """The account's channel."""
        return self._channels[account]

    def step(self, account: str, *, only: int | None = None) -> int | None:
        """Do one piece of an account's work; the id of the post that it worked on, None if nothing was due.

        `only`, a post's id, leaves planned slots to the daemon, and other posts but for those that may exist.
        """
        channel = self._channels[account]
        hindrance = (
            self.hindrance(account) if identity.is_told(self, account) or self._is_due(account) else None
        )
        if isinstance(hindrance, AccountStopped):
            identity.stop(self, channel, hindrance)
            log.error("account %s is stopped: %s", account, hindrance)
        claim = claim_next(self, channel, only=only, hindrance=None if hindrance is None else str(hindrance))
        if claim is None:
            identity.knock(self, channel)
            return None
        try:
            self._work(claim, only)
        except KeyboardInterrupt:
            abandon(self, claim)
            raise
        except LeaseLost:
            log.warning("post %d of %s was taken over by another process", claim.post_id, account)
            give_up(self, claim)
        return claim.post_id

    def hindrance(self, account: str) -> PublishError | None:
        """Why no new post of the account may be begun, because it isn't known yet whose it is."""
        return identity.hindrance(self, self._channels[account])

    def require_accepted(self, account: str) -> None:
        """Stop the account, and raise AccountStopped, where its network has just refused it."""
        channel = self._channels[account]
        if (refusal := identity.refusal(self, channel)) is not None:
            identity.stop(self, channel, refusal)
            raise refusal

    def knock(self, account: str) -> bool:
        """Whether a stopped account that may have mended itself sends again, as its network says now."""
        return identity.knock(self, self._channels[account], early=True)

    def _is_due(self, account: str) -> bool:
        with self.database.read() as session:
            return queries.anything_due(session, account, self.clock.now())

    def _work(self, claim: Claim, only: int | None) -> None:
        if not claim.unclear:
            deliver(self, claim)
        elif self._is_elsewhere(claim):
            conclude(self, claim, "reconciled", Elsewhere())
        elif only in (None, claim.post_id) and may_repeat(self, claim):
            deliver(self, claim)
        else:
            reconcile(self, claim)

    def _is_elsewhere(self, claim: Claim) -> bool:
        with self.database.read() as session:
            return session.get_one(Post, claim.post_id).publisher != claim.channel.publisher.name

    def next_slot(self, account: str) -> str | None:
        """The local time of the account's next slot, with its offset; None when none is planned."""
        with self.database.read() as session:
            slot = queries.next_slot(session, account, self.clock.now())
        return (
            None
            if slot is None
            else slot.due_at.astimezone(self.channel(account).schedule.tz).isoformat(" ", "minutes")
        )

    def next_moment(self, account: str) -> datetime | None:
        """When the account's next work comes due; None when nothing is planned."""
        with self.database.read() as session:
            return queries.next_moment(session, account, self.clock.now())


def _open_account(session: Session, name: str, publisher: str) -> None:
    """Make sure that the account exists, whoever else is starting now."""
    row = session.get(Account, name)
    if row is None:
        try:
            with session.begin_nested():
                session.add(Account(name=name, publisher=publisher))
        except IntegrityError:  # on PostgreSQL another process may have been quicker
            row = session.get(Account, name)
    if row is not None and row.publisher != publisher:
        row.publisher, row.remote_user_id = publisher, None
