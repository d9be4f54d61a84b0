"""The right to work on one post: a lease on its account, which any process may hold, and only one at a time.

A lease ends by itself, so that a process that died holds up nobody. Whoever comes back after that finds
another owner's token, on the account or on the post, and changes nothing any more: that is the fence.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from meshibot.database import queries
from meshibot.database.models import Account, Post, PostState
from meshibot.errors import MeshibotError
from meshibot.outbox import record
from meshibot.outbox.decide import Failed, Interrupted, Result, Situation, decide
from meshibot.outbox.policy import Channel
from meshibot.outbox.record import Try
from meshibot.outbox.runtime import Runtime
from meshibot.publishers.base import Fence, RetryLater


@dataclass(frozen=True)
class Claim:
    """The right to work on one post, until someone else takes it over."""

    channel: Channel
    post_id: int
    owner: str
    unclear: bool
    """The post may exist already, whatever comes of what is done under this claim."""


class LeaseLost(Exception):  # noqa: N818 (an outcome)
    """Somebody else took the post over; this process must not change it any more."""


def is_free(account: Account, now: datetime, lease: timedelta) -> bool:
    """Whether nobody holds it, or the lease is over."""
    # Twice the lease: the clocks of two machines differ, and no lease may be broken for that.
    return account.lease_owner is None or queries.is_over(account.lease_expires_at, now, 2 * lease)


def fence_of(runtime: Runtime, claim: Claim) -> Fence:
    """The last look before a post leaves, made under a claim that was just now committed anew.

    It lets the request go only while the claim holds: by the database, by the wall clock, as anybody else
    would judge it, and by the time that really went by, which counts a machine that was suspended. And it
    gives the request less time than the lease has left. Raises LeaseLost, and RetryLater where nobody else
    has taken the post over.
    """
    ends = runtime.elapsed() + runtime.policy.request_within.total_seconds()

    def fence() -> float:
        try:
            with runtime.database.read() as session:
                account = session.get_one(Account, claim.channel.account)
                post = session.get_one(Post, claim.post_id)
        except MeshibotError as error:
            raise RetryLater(f"Its claim could not be looked at before it was to be sent. {error}") from error
        # The clocks come last: what is slow here is the database.
        if not account.lease_owner == post.lease_owner == claim.owner:
            raise LeaseLost
        left = ends - runtime.elapsed()
        if left <= 0 or is_free(account, runtime.clock.now(), runtime.policy.lease):
            raise RetryLater("This machine was suspended, or too slow, right before it was to be sent.")
        return left

    return fence


def take(
    session: Session, account: Account, channel: Channel, post: Post, lease: timedelta, now: datetime
) -> Claim:
    """Lease account and post. A post that was not sent yet goes where the account posts now."""
    owner = uuid.uuid4().hex
    account.lease_owner = post.lease_owner = owner
    account.lease_expires_at = now + lease
    unclear = post.state is PostState.UNKNOWN
    if not unclear:
        record.advance(post, PostState.CLAIMED)
        if post.publisher != channel.publisher.name:
            post.publisher, post.media_ids = channel.publisher.name, None
    session.flush()  # a new post has no id before
    return Claim(channel, post.id, owner, unclear)


@contextmanager
def held(runtime: Runtime, claim: Claim, step: str) -> Iterator[tuple[Session, Post, Account]]:
    """A transaction in which the claim is known to hold, and holds anew; LeaseLost where it does not."""
    with runtime.commit(step) as session:
        account = session.get_one(Account, claim.channel.account, with_for_update=True)
        post = session.get_one(Post, claim.post_id, with_for_update=True)
        if not account.lease_owner == post.lease_owner == claim.owner:
            raise LeaseLost
        account.lease_expires_at = runtime.clock.now() + runtime.policy.lease
        yield session, post, account


def conclude(runtime: Runtime, claim: Claim, step: str, result: Result, tried: Try | None = None) -> None:
    """Commit what came of it, and give the claim back."""
    with held(runtime, claim, step) as (session, post, account):
        now = runtime.clock.now()
        if tried is not None:
            record.write_try(session, post, tried, result, now)
        jitter = runtime.rng.uniform(0.5, 1.5)
        refusals = record.refusals(session, post) if isinstance(result, Failed) else 0
        change = decide(result, Situation(post, now, runtime.policy, claim.unclear, jitter, refusals))
        record.write(session, post, account, change, now)
        release(account, post)


def abandon(runtime: Runtime, claim: Claim) -> None:
    """Give a claim back in the middle of the work: what was being sent is unclear, all else waits."""
    with held(runtime, claim, "failed") as (session, post, account):
        now = runtime.clock.now()
        if post.state is PostState.SENDING:
            record.interrupt_tries(session, post, now)
            change = decide(Interrupted(), Situation(post, now, runtime.policy))
            record.write(session, post, account, change, now)
        release(account, post)


def release(account: Account, post: Post) -> None:
    """Let others work on them."""
    account.lease_owner = account.lease_expires_at = post.lease_owner = None


def give_up(runtime: Runtime, claim: Claim) -> None:
    """The post is another's now; the account may still be ours, and others wait for it."""
    with runtime.database.write() as session:
        account = session.get_one(Account, claim.channel.account, with_for_update=True)
        if account.lease_owner == claim.owner:
            account.lease_owner = account.lease_expires_at = None
