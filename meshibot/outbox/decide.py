"""What becomes of a post, by what came of it: the one table of the state machine. Pure.

`record` writes a decision down. What an answer of a network means is said by the publisher's exceptions, so
this knows no network.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from meshibot.captions import marker
from meshibot.database.models import PictureState, Post, PostState
from meshibot.database.queries import LONGEST_WAIT
from meshibot.outbox.policy import Policy
from meshibot.publishers.base import (
    AccountStopped,
    MediaGone,
    PossibleDuplicate,
    PublishError,
    Rejected,
    RetryLater,
    Sent,
    Unclear,
    WordsRejected,
)

# ---- what may come of a post --------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """It exists: so says the answer, a look at the timeline, or a person."""

    sent: Sent
    reason: str | None = None


@dataclass(frozen=True)
class Failed:
    """An upload or a send did not end well."""

    error: PublishError


@dataclass(frozen=True)
class Interrupted:
    """The process that was sending it ended before the answer."""


@dataclass(frozen=True)
class Restored:
    """Its record is of a backup: what became of it since is not known."""


@dataclass(frozen=True)
class NotSeen:
    """A look did not find it; `enough` when that was one of several, spread over the time that counts.

    `doubtful` is what has its number, and is older than the post.
    """

    enough: bool
    doubtful: Sent | None = None


@dataclass(frozen=True)
class LookFailed:
    """The timeline could not be read."""

    error: PublishError


@dataclass(frozen=True)
class Elsewhere:
    """It may exist on a network to which the account no longer posts."""


@dataclass(frozen=True)
class Late:
    """Its grace is over, and nothing was sent; `cause` is why, where the post has no reason of its own."""

    cause: str


@dataclass(frozen=True)
class Withheld:
    """It was ready, and the account was stopped meanwhile."""


@dataclass(frozen=True)
class Absent:
    """A person looked, and it is not there."""


@dataclass(frozen=True)
class Withdrawn:
    """A person does not want it any more."""


@dataclass(frozen=True)
class TakenDown:
    """A person had it deleted."""


Result = (
    Published
    | Failed
    | Interrupted
    | Restored
    | NotSeen
    | LookFailed
    | Elsewhere
    | Late
    | Withheld
    | Absent
    | Withdrawn
    | TakenDown
)


# ---- the table ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Situation:
    """What else decides. The post is read, and never changed."""

    post: Post
    now: datetime
    policy: Policy
    unclear: bool = False
    """It may exist from a request before this one, of which this one's answer says nothing."""
    jitter: float = 1.0
    """Stretches the waits: 0.5 to 1.5."""
    refusals: int = 0
    """How often its account was refused for it, this time included."""

    @property
    def late(self) -> bool:
        """Whether its grace is over."""
        return self.now > self.post.deadline

    def is_last_straw(self, error: PublishError) -> bool:
        """Whether it stops the account: what may mend itself is given some tries."""
        return isinstance(error, AccountStopped) and not (
            error.may_mend and self.refusals < self.policy.refusals
        )

    def backoff(self, failures: int) -> timedelta:
        """How long to wait after so many failures."""
        whole = min(self.policy.backoff * 2.0 ** (failures - 1), self.policy.backoff_limit)
        return whole * self.jitter


@dataclass(frozen=True)
class Change:
    """The new state, why, and when the post is looked at again; None leaves a value as it is."""

    state: PostState
    reason: str | None
    at: datetime | None = None
    sent: Sent | None = None
    failed: bool = False
    """It counts as a failed try."""
    duplicate: bool | None = None
    forget_media: bool = False
    account_waits_until: datetime | None = None
    """The network's word to the account, whatever the post."""
    account_stops: str | None = None
    pictures: PictureState | None = None
    """What becomes of its pictures, where that is not as usual."""


PICTURES_BECOME = {
    PostState.POSTED: PictureState.POSTED,
    PostState.REJECTED: PictureState.REJECTED,
    PostState.MISSED: PictureState.APPROVED,
    PostState.CANCELLED: PictureState.APPROVED,
}
"""What becomes of a post's pictures at its end: back to the stock, or never again. Until then it has them."""


def decide(result: Result, on: Situation) -> Change:
    """The table: what came of a post, and what it is therefore."""
    post, now = on.post, on.now
    match result:
        case Published(sent, reason):
            return Change(PostState.POSTED, reason, sent=sent)
        case Failed(Unclear() as error):
            return _unclear(error, on)
        case Failed(error) if on.unclear:
            return _unclear(error, on)
        case Failed(AccountStopped() as error) if not on.is_last_straw(error):
            return _again(error, on)
        case Failed(AccountStopped() as error):
            return Change(
                PostState.RETRY,
                error.reason,
                now,
                account_stops=str(error),
                account_waits_until=_knock(error, on),
            )
        case Failed(Rejected() as error):
            words = isinstance(error, WordsRejected)
            return Change(PostState.REJECTED, error.reason, pictures=PictureState.APPROVED if words else None)
        case Failed(error):
            return _again(error, on)
        case Interrupted():
            reason = "The process that sent it ended before the answer came."
            return Change(PostState.UNKNOWN, reason, now, failed=True)
        case Restored():
            return Change(PostState.UNKNOWN, "It may have been posted after the backup was made.", now)
        case NotSeen(enough=False):
            return Change(PostState.UNKNOWN, post.reason, now + on.policy.look_interval)
        case NotSeen(doubtful=Sent(remote_id, url)):
            return _ask(
                on, f"{post.reason} {url or remote_id} has its number, and seems to be older than it."
            )
        case NotSeen():
            return _absent(on)
        case LookFailed(error):
            return _blind(error, on)
        case Elsewhere():
            return _ask(
                on, f"It may have been posted to {post.publisher}, and the account posts elsewhere now."
            )
        case Late(cause):
            return Change(PostState.MISSED, f"{post.reason or cause} Its grace is over.")
        case Withheld():
            return Change(PostState.RETRY, post.reason, now)
        case Absent() if on.late:
            return Change(PostState.MISSED, "A person did not find it, and its grace is over.")
        case Absent():
            return Change(PostState.RETRY, "A person did not find it.", now, duplicate=False)
        case Withdrawn():
            return Change(PostState.CANCELLED, "A person withdrew it.")
        case TakenDown():
            return Change(PostState.DELETED, post.reason)


def _unclear(error: PublishError, on: Situation) -> Change:
    """It may exist, by this request or by one before: it is looked for."""
    return Change(
        PostState.UNKNOWN,
        error.reason,
        on.now + on.backoff(on.post.attempts + 1) if on.unclear else on.now,
        failed=True,
        duplicate=isinstance(error, PossibleDuplicate),
        forget_media=isinstance(error, MediaGone),
        account_waits_until=_knock(error, on) or _named(error, on.now),
        account_stops=str(error) if on.is_last_straw(error) else None,
    )


def _again(error: PublishError, on: Situation) -> Change:
    """Certainly nothing was published: try again later, if later is not too late."""
    failures = on.post.attempts + 1
    named = _named(error, on.now)
    # A network that does not know the picture may have forgotten it, or not heard of it yet.
    at_once = isinstance(error, MediaGone) and failures == 1
    at = on.now if at_once else named or on.now + on.backoff(failures)
    if failures >= on.policy.max_attempts:
        state, reason = PostState.MISSED, f"{error.reason} Given up after {failures} tries."
    elif at > on.post.deadline:
        state, reason = PostState.MISSED, f"{error.reason} Its grace ends before it may be tried again."
    else:
        state, reason = PostState.RETRY, error.reason
    return Change(
        state,
        reason,
        at,
        failed=True,
        forget_media=isinstance(error, MediaGone),
        account_waits_until=named,
    )


def _absent(on: Situation) -> Change:
    """Several looks, spread over a time, did not find it."""
    post = on.post
    if post.duplicate:
        return _ask(on, f"{post.reason} It is not on the account's timeline.")
    if on.late:
        return Change(PostState.MISSED, f"{post.reason} It did not appear, and its grace is over.")
    if post.attempts >= on.policy.max_attempts:
        tries = f"given up after {post.attempts} tries."
        return Change(PostState.MISSED, f"{post.reason} It did not appear; {tries}")
    return Change(PostState.RETRY, post.reason, on.now)


def _blind(error: PublishError, on: Situation) -> Change:
    """The timeline can't be read: later, or with a person's eyes."""
    post = on.post
    at = on.now + max(on.backoff(1), on.policy.look_interval)
    if isinstance(error, AccountStopped) and not error.may_mend:
        return Change(PostState.UNKNOWN, post.reason, on.now, account_stops=str(error))
    if on.now - (post.sent_at or post.created_at) > on.policy.patience:
        return _ask(on, f"It can't be told whether it was posted: {error.reason}")
    named = _named(error, on.now, at)
    return Change(PostState.UNKNOWN, post.reason, named or at, account_waits_until=named)


def _ask(on: Situation, what: str) -> Change:
    command = f"`meshibot resolve {on.post.id} --posted ID` or `--absent`"
    return Change(
        PostState.NEEDS_PERSON, f"{what} Look for {marker(on.post.number)}, then run {command}.", on.now
    )


def _knock(error: PublishError, on: Situation) -> datetime | None:
    """When the network is asked about an account again that it refused, and may accept."""
    if isinstance(error, AccountStopped) and error.may_mend and on.is_last_straw(error):
        return on.now + on.policy.knock
    return None


def _named(error: PublishError, now: datetime, least: datetime | None = None) -> datetime | None:
    """When the network may be asked again, by its own word: within a day, and never at once.

    A wait of nothing would be a loop without a pause.
    """
    if isinstance(error, MediaGone) or not isinstance(error, RetryLater) or error.at is None:
        return None
    return min(max(error.at, least or error.at, now + timedelta(seconds=1)), now + LONGEST_WAIT)
