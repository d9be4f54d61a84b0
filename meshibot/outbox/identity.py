"""Whose account it is to its network, and at which number its posts go on.

An unclear post is found by its serial. So all that one timeline shows must be one count: what another name
here posts, what a home posted that was lost since, what a backup that was put back does not know of.
"""

import logging
import math
from datetime import timedelta

from meshibot.captions import WIDEST_SERIAL, serials_in
from meshibot.database import queries
from meshibot.database.models import Account, AccountState, Event
from meshibot.outbox import record
from meshibot.outbox.failures import before_sending
from meshibot.outbox.policy import Channel
from meshibot.outbox.runtime import Introduction, Runtime
from meshibot.publishers.base import AccountStopped, PublishError, RetryLater

log = logging.getLogger(__name__)

_NEWEST = 5
"""Captions that are read where the account is known: a backup may have been put back."""
_MANY = 100
"""The same for an account that this database has never posted as: a person may post there too."""
_AGAIN = timedelta(seconds=30)
_LATER = timedelta(hours=1)


def hindrance(runtime: Runtime, channel: Channel) -> PublishError | None:
    """Why no new post may be begun, because it isn't known yet whose account it is; None where it may.

    The network is asked once in a process, for credentials may have changed since the last one. Where it
    doesn't answer now, an account that is known from before goes on.
    """
    if is_told(runtime, channel.account):
        return runtime.introductions[channel.account].hindrance
    with runtime.database.read() as session:
        account = session.get_one(Account, channel.account)
        if queries.held_back(account, runtime.clock.now()) is not None:
            return None  # nothing is sent, and so nothing is asked
        known = account.remote_user_id is not None
    try:
        _introduce(runtime, channel)
    except Exception as failure:  # noqa: BLE001 (whatever it was, nothing was sent)
        error = before_sending(failure)
        log.info("account %s: whose it is can't be told now: %s", channel.account, error)
        wait = _LATER if known else _AGAIN
        if isinstance(error, RetryLater) and error.at is not None:
            wait = max(wait, min(error.at - runtime.clock.now(), queries.LONGEST_WAIT))
        told = Introduction(runtime.elapsed() + wait.total_seconds(), error, known)
    else:
        told = Introduction(math.inf)
    runtime.introductions[channel.account] = told
    return told.hindrance


def is_told(runtime: Runtime, account: str) -> bool:
    """Whether `hindrance` asks nobody."""
    introduction = runtime.introductions.get(account)
    return introduction is not None and runtime.elapsed() < introduction.again


def _introduce(runtime: Runtime, channel: Channel) -> None:
    identity = channel.publisher.check()
    with runtime.database.read() as session:
        known = session.get_one(Account, channel.account).remote_user_id == identity.id
    latest = channel.publisher.latest(_NEWEST if known else _MANY)
    serials = [serial for text in latest for serial in serials_in(text) if serial <= WIDEST_SERIAL]
    taken = max(serials, default=0)
    with runtime.database.write() as session:
        account = session.get_one(Account, channel.account, with_for_update=True)
        if account.remote_user_id not in (None, identity.id):
            log.warning("account %s is another one on its network now: %s", account.name, identity.url)
        account.remote_user_id = identity.id
        if taken >= account.next_serial:
            log.warning(
                "account %s goes on at No.%04d: No.%04d is on its timeline, and not in this database",
                account.name, taken + 1, taken,
            )  # fmt: skip
            account.next_serial = taken + 1


def stop(runtime: Runtime, channel: Channel, error: AccountStopped) -> None:
    """Stop an account that its network refuses before any post of it was begun."""
    with runtime.database.write() as session:
        account = session.get_one(Account, channel.account, with_for_update=True)
        if account.state is AccountState.ACTIVE:
            now = runtime.clock.now()
            ask_at = now + runtime.policy.knock if error.may_mend else None
            record.stop(account, str(error), now, ask_at)


def refusal(runtime: Runtime, channel: Channel) -> AccountStopped | None:
    """That the network refuses the account, as it said when it was last asked whose it is."""
    introduction = runtime.introductions.get(channel.account)
    error = None if introduction is None else introduction.error
    return error if isinstance(error, AccountStopped) else None


def knock(runtime: Runtime, channel: Channel, *, early: bool = False) -> bool:
    """Ask the network again of an account whose stop may end by itself; whether it sends again.

    Such a stop has a time at which it is asked, or `early` before that; one that only a person can mend has
    none.
    """
    now = runtime.clock.now()
    with runtime.database.read() as session:
        account = session.get_one(Account, channel.account)
    waits = account.not_before
    if account.state is AccountState.ACTIVE or waits is None:
        return False
    if not early and not queries.is_over(waits, now):
        return False
    try:
        identity = channel.publisher.check()
    except Exception as failure:  # noqa: BLE001 (it stays stopped)
        log.info("account %s stays stopped: %s", channel.account, before_sending(failure))
        identity = None
    with runtime.database.write() as session:
        account = session.get_one(Account, channel.account, with_for_update=True)
        if account.state is AccountState.ACTIVE or account.not_before != waits:
            return False  # somebody else asked meanwhile
        if identity is None:
            account.not_before = now + runtime.policy.knock
            return False
        log.warning("account %s sends again: its network accepts it as %s", channel.account, identity.name)
        note = account.stopped_reason
        session.add(Event(at=now, actor=record.ITSELF, action="resume", account=channel.account, note=note))
        record.restart(account)
        return True
