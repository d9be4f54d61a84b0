"""The way of a post: its picture, the upload, the commit that it is being sent, the request, the record.

`sending` is committed before the request. Whatever ends the process after that, the post is looked for and
never sent blind. A process may also be suspended there, and wake when another has taken the post over: so the
claim is looked at once more right before the request's bytes leave, and the request ends before the lease
does. It ends well within the time that the looks are spread over, too: then no clock matters for the promise.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial

from meshibot.database import queries
from meshibot.database.models import Account, AccountState, Attempt, Phase, Post, PostState
from meshibot.outbox import drafts, record
from meshibot.outbox.claim import Claim, LeaseLost, conclude, fence_of, held, release
from meshibot.outbox.decide import Failed, Late, Published, Result, Situation, Withheld, decide
from meshibot.outbox.failures import before_sending, in_flight
from meshibot.outbox.record import Try
from meshibot.outbox.runtime import Runtime, request
from meshibot.publishers.base import Draft, Fence, MediaRef, Sent, Unclear

log = logging.getLogger(__name__)


def may_repeat(runtime: Runtime, claim: Claim) -> bool:
    """Whether an unclear post may be sent again, because the network writes it under a name of its own."""
    with runtime.database.read() as session:
        post = session.get_one(Post, claim.post_id)
    if claim.channel.publisher.idempotency != "record" or post.duplicate:
        return False
    return runtime.clock.now() <= post.deadline and post.attempts < runtime.policy.max_attempts


def deliver(runtime: Runtime, claim: Claim) -> None:
    """Take the post as far as it goes now; raises LeaseLost where another process took it over."""
    prepared = _upload(runtime, claim)
    if prepared is None:
        return
    draft, media = prepared
    begun = _begin_send(runtime, claim)
    if begun is not None:
        tried, fence = begun
        _send(runtime, claim, partial(claim.channel.publisher.send, draft, media, fence), tried)


def _upload(runtime: Runtime, claim: Claim) -> tuple[Draft, tuple[MediaRef, ...]] | None:
    """Make the picture and hand it over, unless the network has it still."""
    started = runtime.clock.now()
    post, order = drafts.load(runtime, claim)
    kept = drafts.uploaded_already(post, runtime.policy, started)
    tried = Try(Phase.UPLOAD, started)
    try:
        draft = drafts.draft_of(claim.channel, post, order, started, with_file=True)
        media = kept or _hand_over(claim, post, draft)
    except Exception as error:  # noqa: BLE001 (nothing was sent: whatever went wrong, it can be tried again)
        conclude(runtime, claim, "failed", Failed(before_sending(error)), tried)
        return None
    with held(runtime, claim, "uploaded") as (session, row, _):
        if not claim.unclear:
            record.advance(row, PostState.UPLOADED)
        drafts.keep(row, claim.channel.publisher.name, draft, media)
        if kept is None:
            record.write_done(session, row, tried, runtime.clock.now())
    return draft, media


def _hand_over(claim: Claim, post: Post, draft: Draft) -> tuple[MediaRef, ...]:
    log.info("%s: uploading %s", record.name_of(post), draft.media[0].name)
    with request("upload"):
        return claim.channel.publisher.upload(draft)


def _begin_send(runtime: Runtime, claim: Claim) -> tuple[Try, Fence] | None:
    """Commit that a request is about to be made; None when it must not be made."""
    if runtime.stopping():
        with held(runtime, claim, "failed") as (_, post, account):
            release(account, post)
        return None
    with held(runtime, claim, "sending") as (session, post, account):
        now = runtime.clock.now()
        if now > post.deadline or account.state is AccountState.STOPPED:
            if not claim.unclear:  # or it is looked for
                result = Late("The upload took too long.") if now > post.deadline else Withheld()
                change = decide(result, Situation(post, now, runtime.policy))
                record.write(session, post, account, change, now)
            release(account, post)
            return None
        attempt = Attempt(post_id=post.id, phase=Phase.SEND, started_at=now)
        session.add(attempt)
        _mark_sending(claim, post, account, now)
        session.flush()
        tried = Try(Phase.SEND, now, attempt.id)
        fence = fence_of(runtime, claim)
    log.info("%s: sending to %s", record.name_of(post), post.publisher)
    return tried, fence


def _mark_sending(claim: Claim, post: Post, account: Account, now: datetime) -> None:
    record.advance(post, PostState.SENDING)
    post.publisher, post.remote_user_id = claim.channel.publisher.name, account.remote_user_id
    post.sent_at = account.last_sent_at = now


def _send(runtime: Runtime, claim: Claim, send: Callable[[], Sent], tried: Try) -> None:
    try:
        with request("send"):
            sent = send()
    except LeaseLost:
        raise
    except Exception as error:  # noqa: BLE001 (whatever it was, the post may exist: it must not be sent again)
        conclude(runtime, claim, "failed", Failed(in_flight(error)), tried)
        return
    result = _believed(runtime, claim, sent)
    try:
        conclude(runtime, claim, "posted", result, tried)
    except LeaseLost:
        _posted_late(runtime, claim, result, tried)


def _believed(runtime: Runtime, claim: Claim, sent: Sent) -> Result:
    """That it is posted; unless the answer names a post that another one of ours is."""
    with runtime.database.read() as session:
        other = queries.another_post_at(session, session.get_one(Post, claim.post_id), sent.remote_id)
    if other is None:
        return Published(sent)
    return Failed(Unclear(f"The network answered with the id of post {other}."))


def _posted_late(runtime: Runtime, claim: Claim, result: Result, tried: Try) -> None:
    """The answer came after another process took over. That the post exists is a fact all the same."""
    if not isinstance(result, Published):
        return
    with runtime.database.write() as session:
        account = session.get_one(Account, claim.channel.account, with_for_update=True)
        post = session.get_one(Post, claim.post_id, with_for_update=True)
        now = runtime.clock.now()
        record.write_try(session, post, tried, result, now)
        if post.remote_id is None:
            record.write(session, post, account, decide(result, Situation(post, now, runtime.policy)), now)
        elif post.remote_id != result.sent.remote_id:
            record.write_second(session, post, result.sent, now)
