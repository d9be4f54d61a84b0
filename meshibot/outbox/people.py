"""What a person does: post now, withdraw, settle what is unclear, take down, let an account go on.

Each is recorded as an event, with who did it. Whatever the command line does here, a page does by the same
functions.
"""

import logging
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from meshibot.captions import marker
from meshibot.clock import Clock, SystemClock
from meshibot.database import queries
from meshibot.database.models import OPEN_STATES, Account, AccountState, Event, Phase, Post, PostState
from meshibot.database.session import Database
from meshibot.errors import Interrupted, NeedsPerson, NothingToDo, UsageError
from meshibot.kinds import DRAWN_ANEW, Kind
from meshibot.outbox import record
from meshibot.outbox.choose import OF_OTHERS, Turn, new_post
from meshibot.outbox.decide import Absent, Published, Result, Situation, TakenDown, Withdrawn, decide
from meshibot.outbox.outbox import Outbox
from meshibot.outbox.policy import Policy
from meshibot.outbox.record import Try
from meshibot.outbox.runtime import Runtime, request
from meshibot.publishers.base import Publisher, Sent

log = logging.getLogger(__name__)

COMMAND_LINE = "command line"
"""Who acts, where nobody has a name."""


def load_post(database: Database, post_id: int) -> Post:
    """A post as it is now. UsageError if there is none of this number."""
    with database.read() as session:
        post = queries.by_id(session, Post, post_id)
        if post is None:
            raise UsageError(f"There is no post {post_id}: see `meshibot history`.")
        return post


def post_now(
    outbox: Outbox, account: str, kind: Kind | None = None, *, patience: timedelta = timedelta(minutes=3)
) -> Post:
    """Post once, outside the schedule, and follow it to its end or until patience is over.

    One that was asked for before and waits still is gone on with, in place of a second one. Raises
    NothingToDo for an empty stock, a used-up budget or a rate limit, NeedsPerson or AccountStopped for a
    stopped account, PublishError where it can't be told whose it is. The post that is returned may still be
    open: a daemon, or the next call, goes on with it.
    """
    channel = outbox.channel(account)
    outbox.knock(account)
    hindrance = outbox.hindrance(account)
    outbox.require_accepted(account)
    with outbox.commit("claim") as session:
        row = session.get_one(Account, account, with_for_update=True)
        if row.state is AccountState.STOPPED:
            raise NeedsPerson(f"The account {account} is stopped: {row.stopped_reason}")
        turn = Turn(session, row, channel, outbox.policy, outbox.clock.now())
        if turn.held_back is not None:
            raise NothingToDo(turn.held_back)
        if hindrance is not None:
            raise hindrance
        wanted = kind or channel.kind_at(turn.now)
        post = _asked_for(turn, wanted) or _another(turn, wanted)
    try:
        return _follow(outbox, account, post.id, turn.now + patience)
    except KeyboardInterrupt:
        raise Interrupted(_left(load_post(outbox.database, post.id))) from None


def _left(post: Post) -> str:
    """How a post was left by a person who would not wait, and what to do."""
    name = f"Post {post.id} ({marker(post.number)}, {post.account})"
    if post.state in (PostState.SENDING, PostState.UNKNOWN):
        return (
            f"Interrupted: {name} was being sent, and may exist. `meshibot run` or the next `meshibot "
            f"post-now` looks for it; or look yourself, then run `meshibot resolve {post.id} --posted ID` or "
            "`--absent`."
        )
    if post.state in OPEN_STATES:
        return (
            f"Interrupted: {name} was not sent, and waits. `meshibot run` or the next `meshibot post-now` "
            f"goes on with it, `meshibot cancel {post.id}` withdraws it."
        )
    return f"Interrupted: {name} is {post.state}."


def _asked_for(turn: Turn, kind: Kind) -> Post | None:
    """A post that a person asked for before, and that nothing was made of yet; tried again now."""
    post = queries.waiting_by_hand(turn.session, turn.account.name, kind, turn.now)
    if post is not None:
        log.warning("%s was asked for before and still waits: this goes on with it", record.name_of(post))
        post.not_before = turn.now
    return post


def _another(turn: Turn, kind: Kind) -> Post:
    over_budget = turn.over_budget
    if over_budget is not None:
        raise NothingToDo(
            f"{over_budget} Wait until it begins anew, or raise MESHIBOT_DAILY_BUDGET or "
            "MESHIBOT_MONTHLY_BUDGET."
        )
    post = new_post(turn, None, kind)
    if post is None and turn.channel.reviewed:
        raise NothingToDo(
            "No picture in stock was approved: look at them in `meshibot web`, or run `meshibot stock "
            "approve`."
        )
    if post is None and kind in DRAWN_ANEW:
        raise NothingToDo(OF_OTHERS)
    if post is None:
        raise NothingToDo("The stock has no picture to post: run `meshibot stock fill`.")
    return post


def _follow(outbox: Outbox, account: str, post_id: int, until: datetime) -> Post:
    while True:
        done = outbox.step(account, only=post_id)
        post = load_post(outbox.database, post_id)
        now = outbox.clock.now()
        if post.state not in OPEN_STATES or now >= until or _is_stopped(outbox.database, account):
            return post
        if done is None:
            if post.not_before > until:
                return post
            wait = (post.not_before - now).total_seconds()
            outbox.clock.sleep(min(max(wait, 0.2), 5.0))  # another process may hold the account


def _is_stopped(database: Database, account: str) -> bool:
    with database.read() as session:
        return session.get_one(Account, account).state is AccountState.STOPPED


def resolve(
    database: Database,
    post_id: int,
    *,
    posted: Sent | None = None,
    clock: Clock | None = None,
    by: str = COMMAND_LINE,
) -> Post:
    """A person's word on an unclear post: it is there, as `posted`, or (None) it is absent.

    An absent one is sent while its grace lasts, and missed otherwise. UsageError for any other post, and
    for a place at which another post of ours is.
    """
    result: Result = Absent() if posted is None else Published(posted, "A person found it.")

    def check(session: Session, post: Post) -> None:
        if post.state not in (PostState.NEEDS_PERSON, PostState.UNKNOWN) or post.lease_owner is not None:
            raise UsageError(f"Post {post_id} is {post.state}, which needs no person's word.")
        other = queries.another_post_at(session, post, posted.remote_id) if posted is not None else None
        if other is not None:
            raise UsageError(f"That is post {other}: look for the one with this post's own number.")

    note = "absent" if posted is None else f"posted: {posted.remote_id}"
    return _settle(database, post_id, result, check, "resolve", note, clock or SystemClock(), by)


def cancel(database: Database, post_id: int, *, clock: Clock | None = None, by: str = COMMAND_LINE) -> Post:
    """Withdraw a post that waits: it is not sent, and its pictures are back in stock.

    UsageError for one that may exist already, that is being worked on, or that has ended.
    """

    def check(_: Session, post: Post) -> None:
        if post.state not in queries.UNSENT_STATES:
            raise UsageError(f"Post {post_id} is {post.state}: only a post that waits can be withdrawn.")
        if post.lease_owner is not None:
            raise UsageError(f"Post {post_id} is being worked on at this moment: try again in a minute.")

    return _settle(database, post_id, Withdrawn(), check, "cancel", None, clock or SystemClock(), by)


def _settle(
    database: Database,
    post_id: int,
    result: Result,
    check: Callable[[Session, Post], None],
    action: str,
    note: str | None,
    clock: Clock,
    by: str,
) -> Post:
    """With the account locked, so that no process works on it meanwhile."""
    name = load_post(database, post_id).account
    with database.write() as session:
        account = session.get_one(Account, name, with_for_update=True)
        post = session.get_one(Post, post_id, with_for_update=True)
        check(session, post)
        now = clock.now()
        record.write(session, post, account, decide(result, Situation(post, now, Policy())), now)
        session.add(Event(at=now, actor=by, action=action, account=name, post_id=post_id, note=note))
    return load_post(database, post_id)


def delete(
    database: Database,
    post_id: int,
    publisher_of: Callable[[Post], Publisher],
    *,
    clock: Clock | None = None,
    by: str = COMMAND_LINE,
) -> Post:
    """Take a post down, from the network that it was made on.

    `publisher_of` opens that network's publisher, and it is closed here. UsageError for a post that isn't
    posted, or that was posted as another account than today's; PublishError when the network refuses.
    """
    clock = clock or SystemClock()
    post = load_post(database, post_id)
    if post.state is PostState.DELETED:
        return post
    if post.state is not PostState.POSTED or post.remote_id is None:
        raise UsageError(f"Post {post_id} is {post.state}: there is nothing to take down.")
    tried = Try(Phase.DELETE, clock.now())
    with closing(publisher_of(post)) as publisher:
        _require_same_account(post, publisher)
        with request("delete"):
            publisher.delete(post.remote_id)
    with Runtime(database).commit("deleted") as session:
        account = session.get_one(Account, post.account, with_for_update=True)
        row = session.get_one(Post, post_id, with_for_update=True)
        now = clock.now()
        change = decide(TakenDown(), Situation(row, now, Policy()))
        record.write(session, row, account, change, now)
        record.write_done(session, row, tried, now)
        session.add(Event(at=now, actor=by, action="delete", account=post.account, post_id=post_id))
    return load_post(database, post_id)


def _require_same_account(post: Post, publisher: Publisher) -> None:
    """Another account would be told that there is no such post, as if it was gone."""
    if post.remote_user_id is None:
        return
    identity = publisher.check()
    if identity.id != post.remote_user_id:
        raise UsageError(
            f"Post {post.id} was posted as the account with the id {post.remote_user_id}, and the settings "
            f"are those of {identity.name} ({identity.id}): take it down with that account's credentials."
        )


def resume(
    database: Database,
    account: str,
    *,
    remote_user_id: str | None = None,
    clock: Clock | None = None,
    by: str = COMMAND_LINE,
) -> bool:
    """Let a stopped account send again, once the cause is mended; False if it was not stopped.

    `remote_user_id` is who it is to its network, where that was just asked.
    """
    now = (clock or SystemClock()).now()
    with database.write() as session:
        row = session.get(Account, account, with_for_update=True)
        if row is None:
            raise UsageError(f"There is no account {account!r}.")
        stopped, reason = row.state is AccountState.STOPPED, row.stopped_reason
        record.restart(row)
        row.remote_user_id = remote_user_id or row.remote_user_id
        if stopped:
            session.add(Event(at=now, actor=by, action="resume", account=account, note=reason))
        return stopped
