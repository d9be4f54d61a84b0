"""The outbox of one process: it claims what is due, an account at a time, and takes it as far as it goes."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from meshibot.database import queries
from meshibot.database.models import Account, Post
from meshibot.outbox.choose import claim_next
from meshibot.outbox.claim import Claim, LeaseLost, conclude, give_up
from meshibot.outbox.decide import Elsewhere
from meshibot.outbox.deliver import deliver, may_repeat
from meshibot.outbox.policy import Channel
from meshibot.outbox.reconcile import reconcile
from meshibot.outbox.runtime import Runtime

log = logging.getLogger(__name__)


@dataclass
class Outbox(Runtime):
    """Works the posts of several accounts; makes sure that they are in the database."""

    channels: Iterable[Channel] = ()

    def __post_init__(self) -> None:
        self._channels = {channel.account: channel for channel in self.channels}
        with self.database.write() as session:
            for channel in self._channels.values():
                _open_account(session, channel.account, channel.publisher.name)

    def channel(self, account: str) -> Channel:
        """The account's channel."""
        return self._channels[account]

    def step(self, account: str, *, slots: bool = True) -> int | None:
        """Do one piece of an account's work; the id of the post that it worked on, None if nothing was due.

        `slots=False` leaves planned slots to the daemon and only works posts that exist.
        """
        claim = claim_next(self, self._channels[account], slots=slots)
        if claim is None:
            return None
        try:
            self._work(claim)
        except LeaseLost:
            log.warning("post %d of %s was taken over by another process", claim.post_id, account)
            give_up(self, claim)
        return claim.post_id

    def _work(self, claim: Claim) -> None:
        if not claim.unclear:
            deliver(self, claim)
        elif self._is_elsewhere(claim):
            conclude(self, claim, "reconciled", Elsewhere())
        elif may_repeat(self, claim):
            deliver(self, claim)
        else:
            reconcile(self, claim)

    def _is_elsewhere(self, claim: Claim) -> bool:
        with self.database.read() as session:
            return session.get_one(Post, claim.post_id).publisher != claim.channel.publisher.name

    def next_moment(self, account: str) -> datetime | None:
        """When the account's next work comes due; None when nothing is planned."""
        with self.database.read() as session:
            return queries.next_moment(session, account, self.clock.now())

    def identify(self, account: str, post_id: int) -> None:
        """Ask the network whose account it is, and keep its id, with the post that was just sent as well.

        Raises PublishError as the publisher's `check` does.
        """
        identity = self._channels[account].publisher.check()
        with self.database.write() as session:
            session.get_one(Account, account, with_for_update=True).remote_user_id = identity.id
            post = session.get_one(Post, post_id, with_for_update=True)
            with session.no_autoflush:
                post.remote_user_id = identity.id if post.sent_at is not None else None
                if post.remote_id and (other := queries.another_post_at(session, post, post.remote_id)):
                    log.error("post %d and post %d are one post of %s", post_id, other, account)
                    post.remote_user_id = None


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
