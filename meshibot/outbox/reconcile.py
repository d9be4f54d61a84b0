"""Looks on the account's own timeline for a post that may exist.

A read may lag behind a write, and where it never does, the request may still be under way, in a process
whose lease only a jump of the clock ended. So only several looks of one process, spread over a time that no
jump of a clock shortens and that no request outlasts, say that a post is absent.
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from meshibot.database import queries
from meshibot.database.models import Phase, Post
from meshibot.outbox import drafts, record
from meshibot.outbox.claim import Claim, conclude
from meshibot.outbox.decide import LookFailed, NotSeen, Published, Result
from meshibot.outbox.failures import in_flight
from meshibot.outbox.record import Try
from meshibot.outbox.runtime import Looks, Runtime, request
from meshibot.publishers.base import Sent

log = logging.getLogger(__name__)

_CLOCK_MARGIN = timedelta(hours=1)
"""The clock here may have been set right between the post and the look."""


def reconcile(runtime: Runtime, claim: Claim) -> None:
    """One look; raises LeaseLost where another process took the post over."""
    tried = Try(Phase.RECONCILE, runtime.clock.now())
    post, order = drafts.load(runtime, claim)
    # A day more than the clock says: it may have been wrong when the post was made.
    since = post.created_at - timedelta(days=1)
    log.info("%s: looking for it on %s", record.name_of(post), post.publisher)
    try:
        draft = drafts.draft_of(claim.channel, post, order, tried.started, with_file=False)
        with request("find"):
            found = claim.channel.publisher.find(draft, since)
    except Exception as error:  # noqa: BLE001 (an unexpected failure to read says nothing about the post)
        conclude(runtime, claim, "failed", LookFailed(in_flight(error)), tried)
        return
    ours = _not_of_others(runtime, post, found)
    made_since = [sent for sent in ours if not _is_older(sent, post, runtime.clock.now())]
    result: Result
    if made_since:
        result = Published(made_since[0])
    else:
        result = NotSeen(_enough(runtime, post), doubtful=ours[0] if ours else None)
    conclude(runtime, claim, "reconciled", result, tried)


def _not_of_others(runtime: Runtime, post: Post, found: Iterable[Sent]) -> list[Sent]:
    """What was found, without what other posts of ours are known to be."""
    ours = []
    with runtime.database.read() as session:
        for sent in found:
            other = queries.another_post_at(session, post, sent.remote_id)
            if other is None:
                ours.append(sent)
            else:
                log.warning("%s: what was found (%s) is post %d", record.name_of(post), sent.remote_id, other)
    return ours


def _is_older(sent: Sent, post: Post, now: datetime) -> bool:
    """Whether it was made before the post was even begun, each by a clock of its own.

    Not where the clock here was set back meanwhile: then it can't be told.
    """
    since = now - post.created_at
    return sent.age is not None and timedelta() <= since < sent.age - _CLOCK_MARGIN


def _enough(runtime: Runtime, post: Post) -> bool:
    """Whether this process did not see it often enough, over a time that no jump of a clock shortens."""
    now = runtime.elapsed()
    before = runtime.looks.get(post.id)
    if before is None or before.sent_at != post.sent_at:
        before = Looks(post.sent_at, now, 0)
    looks = runtime.looks[post.id] = Looks(post.sent_at, before.first, before.times + 1)
    policy = runtime.policy
    enough = looks.times >= policy.looks and now - looks.first >= policy.look_spread.total_seconds()
    if enough:
        del runtime.looks[post.id]
    return enough
