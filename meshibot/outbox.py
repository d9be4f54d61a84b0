"""The publishing state machine: claim, send, reconcile, retry, hold.

The promise: a slot is published at most once; an unclear attempt is resolved by reading the account's own
timeline; what stays unclear is held for a person; no slot disappears without a record of why.

How it is kept: one lease an account, fenced by an owner token and a version on the post; `sending`
committed before the request; a `sending` whose process ended is reconciled, never sent again. A request
must end within the policy's lease, and well within the time that the looks are spread over: then no clock
matters for the promise. It knows no network: what an answer means is said by the publisher's exceptions.
"""

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from meshibot.captions import marker
from meshibot.clock import Clock, SystemClock
from meshibot.crashpoints import crash_point
from meshibot.database import queries
from meshibot.database.models import (
    OPEN_STATES,
    Account,
    AccountState,
    Attempt,
    Kind,
    Outcome,
    Phase,
    Picture,
    PictureState,
    Post,
    PostPicture,
    PostState,
    Slot,
    SlotState,
)
from meshibot.database.session import Database
from meshibot.errors import MeshibotError, NeedsPerson, NothingToDo, UsageError
from meshibot.publishers.base import (
    AccountStopped,
    Draft,
    MediaGone,
    MediaRef,
    PossibleDuplicate,
    Publisher,
    PublishError,
    Rejected,
    RetryLater,
    Sent,
    Unclear,
)
from meshibot.schedule import Schedule

log = logging.getLogger(__name__)

PICTURES = {Kind.SINGLE: 1, Kind.GRID: 4, Kind.MORPH: 2}
"""How many pictures a post of each kind shows."""


def _around(*steps: str) -> tuple[str, ...]:
    return tuple(f"{side}-{step}" for step in steps for side in ("before", "after"))


CRASH_POINTS = _around(
    *("claim", "upload-request", "uploaded", "sending", "send-request", "posted"),
    *("failed", "find-request", "reconciled"),
)
"""Every commit of the outbox and every request, before and after: where a test ends the process."""

CRASH_POINTS_OF_DELETION = _around("delete-request", "deleted")
"""The same for a post that is taken down."""


@dataclass(frozen=True)
class Policy:
    """How patient the outbox is."""

    max_attempts: int = 6
    """Failed tries, after which a post is given up."""
    backoff: timedelta = timedelta(seconds=30)
    """After the first failure; it doubles with each, up to the limit, and is drawn from 50 to 150 %."""
    backoff_limit: timedelta = timedelta(minutes=30)
    lease: timedelta = timedelta(minutes=5)
    looks: int = 4
    """Reads of the timeline that must not find a post before it counts as absent."""
    look_interval: timedelta = timedelta(seconds=30)
    look_spread: timedelta = timedelta(seconds=75)
    """The least time between the first and the last of these reads."""
    patience: timedelta = timedelta(hours=6)
    """How long reading may fail before a person is asked."""
    punctual: timedelta = timedelta(minutes=1)
    """A post that is later than this is catching up."""
    spacing: timedelta = timedelta(minutes=5)
    """Between the last post and one that is catching up: no bursts."""
    media_margin: timedelta = timedelta(minutes=10)
    """An uploaded picture is not used this close to its expiry."""
    avoid_posts: int = 30
    avoid_distance: int = 10


@dataclass(frozen=True)
class Order:
    """What a post is to be made of."""

    account: str
    serial: int
    marker: str
    """The serial as the caption shows it, such as `No.0042`."""
    kind: Kind
    pictures: tuple[Picture, ...]
    at: datetime
    """When it is due, in the account's own time zone."""


@dataclass(frozen=True)
class Words:
    """What is said with a post."""

    caption: str
    alt_text: str


@dataclass(frozen=True)
class Channel:
    """An account with everything that posting needs: where to, when, and how a post is made."""

    account: str
    publisher: Publisher
    schedule: Schedule
    describe: Callable[[Order], Words]
    """Pure and quick. A MeshibotError rejects the post."""
    prepare: Callable[[Order, Words], Path]
    """Makes the file that is uploaded; may be called again. A MeshibotError rejects the post."""
    kind: Kind = Kind.SINGLE
    """What its slots show."""


@dataclass
class Claim:
    """The right to work on one post, until someone else takes it over."""

    channel: Channel
    post_id: int
    owner: str
    version: int
    unclear: bool
    """The post may exist already, whatever comes of what is done under this claim."""


class LeaseLost(Exception):  # noqa: N818 (an outcome)
    """Somebody else took the post over; this process must not change it any more."""


@dataclass
class Outbox:
    """Works the posts of several accounts. Any number of processes may do so on one database at once."""

    database: Database
    channels: Iterable[Channel]
    policy: Policy = field(default_factory=Policy)
    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.SystemRandom)
    stopping: Callable[[], bool] = lambda: False
    """Asked before each send: when True the claim is handed back."""
    elapsed: Callable[[], float] = time.monotonic
    """Seconds that really went by, whatever is done to the clock."""

    def __post_init__(self) -> None:
        self._looks: dict[int, tuple[datetime | None, float, int]] = {}
        self._unclear_since: dict[int, float] = {}
        self._channels = {channel.account: channel for channel in self.channels}
        with self.database.write() as session:
            for channel in self._channels.values():
                queries.open_account(session, channel.account, channel.publisher.name)

    # ---- what the shell calls -------------------------------------------------------------------

    def step(self, account: str, *, slots: bool = True) -> int | None:
        """Do one piece of an account's work; the id of the post that it worked on, None if nothing was due.

        `slots=False` leaves planned slots to the daemon and only works posts that exist.
        """
        channel = self._channels[account]
        claim = self._claim(channel, slots)
        if claim is None:
            return None
        try:
            self._work(claim)
        except LeaseLost:
            log.warning("post %d of %s was taken over by another process", claim.post_id, account)
            self._give_up(claim)
        return claim.post_id

    def next_moment(self, account: str) -> datetime | None:
        """When the account's next work comes due; None when nothing is planned."""
        with self.database.read() as session:
            return queries.next_moment(session, account, self.clock.now())

    def post_now(
        self, account: str, kind: Kind | None = None, *, patience: timedelta = timedelta(minutes=3)
    ) -> Post:
        """Post once, outside the schedule, and follow it to its end or until patience is over.

        Raises NothingToDo for an empty stock, a used-up budget or a rate limit, NeedsPerson for a stopped
        account. The post that is returned may still be open: a daemon, or the next call, goes on with it.
        """
        channel = self._channels[account]
        with self._commit("claim") as session:
            row = session.get_one(Account, account, with_for_update=True)
            if row.state is AccountState.STOPPED:
                raise NeedsPerson(f"The account {account} is stopped: {row.stopped_reason}")
            now = self.clock.now()
            if (held := queries.held_back(row, now)) is not None:
                raise NothingToDo(held)
            if self._budget_used(session, channel, now):
                raise NothingToDo(
                    f"The daily budget of {channel.schedule.daily_budget} posts is used up: raise "
                    "DAILY_BUDGET or wait for tomorrow."
                )
            post = self._new_post(session, row, channel, None, kind or channel.kind, now)
            if post is None:
                raise NothingToDo("The stock has no picture to post: run `meshibot stock fill`.")
        return self._follow(account, post.id, now + patience)

    def resolve(self, post_id: int, *, posted: Sent | None = None) -> Post:
        """A person's word on an unclear post: it is there, as `posted`, or (None) it is absent.

        An absent one is sent while its grace lasts, and missed otherwise. UsageError for any other post.
        """
        account = self.post(post_id).account
        with self.database.write() as session:
            session.get_one(Account, account, with_for_update=True)
            post = session.get_one(Post, post_id, with_for_update=True)
            if post.state not in (PostState.NEEDS_PERSON, PostState.UNKNOWN) or post.lease_owner is not None:
                raise UsageError(f"Post {post_id} is {post.state}, which needs no person's word.")
            now = self.clock.now()
            post.version += 1
            if posted is not None:
                _settle_posted(session, post, posted, now)
                post.reason = "A person found it."
            elif now <= post.deadline:
                post.state, post.not_before, post.duplicate = PostState.RETRY, now, False
                post.reason = "A person did not find it."
            else:
                queries.miss(session, post, "A person did not find it, and its grace is over.")
        return self.post(post_id)

    def start_account(self, account: str) -> bool:
        """Let a stopped account send again, once the cause is mended; False if it was not stopped."""
        with self.database.write() as session:
            row = session.get(Account, account, with_for_update=True)
            if row is None:
                raise UsageError(f"There is no account {account!r}.")
            was_stopped = row.state is AccountState.STOPPED
            row.state, row.stopped_reason, row.stopped_at = AccountState.ACTIVE, None, None
            row.not_before = None
        return was_stopped

    def delete(self, post_id: int) -> Post:
        """Take a post down. UsageError for one that isn't posted; PublishError when the network refuses."""
        post = self.post(post_id)
        if post.state is PostState.DELETED:
            return post
        if post.state is not PostState.POSTED or post.remote_id is None:
            raise UsageError(f"Post {post_id} is {post.state}: there is nothing to take down.")
        if post.account not in self._channels:
            raise UsageError(f"The account {post.account!r} of post {post_id} is not among the settings.")
        started = self.clock.now()
        crash_point("before-delete-request")
        self._channels[post.account].publisher.delete(post.remote_id)
        crash_point("after-delete-request")
        with self._commit("deleted") as session:
            row = session.get_one(Post, post_id, with_for_update=True)
            row.state = PostState.DELETED
            row.version += 1
            session.add(self._attempt(post_id, Phase.DELETE, started, Outcome.DONE))
        return self.post(post_id)

    def post(self, post_id: int) -> Post:
        """A post as it is now. UsageError if there is none of this number."""
        with self.database.read() as session:
            post = session.get(Post, post_id) if 0 < post_id < 1 << 63 else None
            if post is None:
                raise UsageError(f"There is no post {post_id}: see `meshibot history`.")
            return post

    def _follow(self, account: str, post_id: int, until: datetime) -> Post:
        while True:
            done = self.step(account, slots=False)
            post = self.post(post_id)
            now = self.clock.now()
            if post.state not in OPEN_STATES or now >= until or self._is_stopped(account):
                return post
            if done is None:
                if post.not_before > until:
                    return post
                wait = (post.not_before - now).total_seconds()
                self.clock.sleep(min(max(wait, 0.2), 5.0))  # another process may hold the account

    def _is_stopped(self, account: str) -> bool:
        with self.database.read() as session:
            return session.get_one(Account, account).state is AccountState.STOPPED

    # ---- claiming -------------------------------------------------------------------------------

    def _claim(self, channel: Channel, slots: bool) -> Claim | None:
        if self.database.is_sqlite:
            # Its one lock for writing is not taken only to look.
            with self.database.read() as session:
                if not queries.anything_due(session, channel.account, self.clock.now()):
                    return None
        with self._commit("claim") as session:
            now = self.clock.now()
            account = queries.lock_account_with_work(session, channel.account, now)
            if account is None or not _lease_is_free(account, now, self.policy.lease):
                return None
            account.lease_owner = account.lease_expires_at = None  # run out, perhaps
            posts = queries.open_posts(session, channel.account)
            queries.take_over(session, posts, now)
            due = queries.due_slots(session, channel.account, now)
            due = queries.expire(session, account, posts, due, channel.schedule.grace, now)
            if account.state is AccountState.STOPPED or not queries.is_over(account.not_before, now):
                return None
            post = self._due_post(posts, account, channel, now)
            if post is None and slots:
                post = self._post_for_slot(session, account, channel, due, now)
            return None if post is None else self._lease(session, account, channel, post, now)

    def _due_post(
        self, posts: Iterable[Post], account: Account, channel: Channel, now: datetime
    ) -> Post | None:
        for post in queries.due_posts(posts, now):
            if post.state is PostState.UNKNOWN or post.slot_id is None:
                return post
            due = post.deadline - channel.schedule.grace
            own = post.sent_at is not None and post.sent_at == account.last_sent_at
            if self._may_send(account, channel, now if own else due, now):
                return post
        return None

    def _may_send(self, account: Account, channel: Channel, due: datetime, now: datetime) -> bool:
        """Not in the quiet hours; and what is catching up keeps its distance from the last post."""
        quiet = channel.schedule.quiet
        if quiet is not None and now.astimezone(channel.schedule.tz) in quiet:
            return False
        return now - due <= self.policy.punctual or self._spaced(account, now)

    def _spaced(self, account: Account, now: datetime) -> bool:
        last = account.last_sent_at
        return last is None or not last <= now < last + self.policy.spacing

    def _post_for_slot(
        self, session: Session, account: Account, channel: Channel, due: Iterable[Slot], now: datetime
    ) -> Post | None:
        for slot in due:
            if not self._may_send(account, channel, slot.due_at, now):
                slot.reason = (
                    "It waited for the quiet hours to end, or for its turn, until its grace was over."
                )
            elif self._budget_used(session, channel, now):
                slot.state = SlotState.MISSED
                slot.reason = f"The daily budget of {channel.schedule.daily_budget} posts was used up."
            else:
                post = self._new_post(session, account, channel, slot, channel.kind, now)
                if post is None:
                    slot.reason = "The stock was empty."
                return post
        return None

    def _budget_used(self, session: Session, channel: Channel, now: datetime) -> bool:
        budget = channel.schedule.daily_budget
        if budget is None:
            return False
        midnight = now.astimezone(channel.schedule.tz).replace(hour=0, minute=0, second=0, microsecond=0)
        return queries.begun_since(session, channel.account, midnight.astimezone(UTC)) >= budget

    def _new_post(
        self,
        session: Session,
        account: Account,
        channel: Channel,
        slot: Slot | None,
        kind: Kind,
        now: datetime,
    ) -> Post | None:
        """A post with its serial and its pictures; None when the stock has too few."""
        pictures = queries.reserve_pictures(
            session,
            account.name,
            PICTURES[kind],
            posts=self.policy.avoid_posts,
            distance=self.policy.avoid_distance,
        )
        if not pictures:
            return None
        due = now if slot is None else slot.due_at
        post = Post(
            account=account.name,
            slot_id=None if slot is None else slot.id,
            serial=account.next_serial,
            kind=kind,
            state=PostState.PLANNED,
            not_before=now,
            deadline=due + channel.schedule.grace,
            created_at=now,
            version=0,
        )
        account.next_serial += 1
        post.pictures = [
            PostPicture(picture_id=picture.id, position=place) for place, picture in enumerate(pictures)
        ]
        if slot is not None:
            slot.state, slot.reason = SlotState.TAKEN, None
        session.add(post)
        return post

    def _lease(
        self, session: Session, account: Account, channel: Channel, post: Post, now: datetime
    ) -> Claim:
        owner = uuid.uuid4().hex
        account.lease_owner = post.lease_owner = owner
        account.lease_expires_at = post.lease_expires_at = now + self.policy.lease
        unclear = post.state is PostState.UNKNOWN
        if not unclear:
            post.state = PostState.CLAIMED
        post.version += 1
        session.flush()  # a new post has no id before
        return Claim(channel, post.id, owner, post.version, unclear)

    def _give_up(self, claim: Claim) -> None:
        """The post is another's now; the account may still be ours, and others wait for it."""
        with self.database.write() as session:
            account = session.get_one(Account, claim.channel.account, with_for_update=True)
            if account.lease_owner == claim.owner:
                account.lease_owner = account.lease_expires_at = None

    @contextmanager
    def _commit(self, step: str) -> Iterator[Session]:
        with self.database.write() as session:
            yield session
            session.flush()
            crash_point(f"before-{step}")
        crash_point(f"after-{step}")

    @contextmanager
    def _held(self, step: str, claim: Claim) -> Iterator[tuple[Session, Post, Account]]:
        """A transaction in which the claim is known to hold; raises LeaseLost where it does not."""
        with self._commit(step) as session:
            account = session.get_one(Account, claim.channel.account, with_for_update=True)
            post = session.get_one(Post, claim.post_id, with_for_update=True)
            if not account.lease_owner == post.lease_owner == claim.owner or post.version != claim.version:
                raise LeaseLost
            post.version += 1
            claim.version = post.version
            account.lease_expires_at = post.lease_expires_at = self.clock.now() + self.policy.lease
            yield session, post, account

    # ---- publishing -----------------------------------------------------------------------------

    def _work(self, claim: Claim) -> None:
        if claim.unclear and not self._may_repeat(claim):
            self._reconcile(claim)
            return
        prepared = self._upload(claim)
        if prepared is None:
            return
        draft, media = prepared
        attempt = self._begin_send(claim)
        if attempt is not None:
            self._send(claim, draft, media, attempt)

    def _may_repeat(self, claim: Claim) -> bool:
        """Whether the network itself makes a second request under the same key harmless.

        A key that is remembered for a time is relied on only where this process made the first request: it
        alone knows how long ago that was, whatever was done to the clock.
        """
        publisher = claim.channel.publisher
        post, now = self.post(claim.post_id), self.clock.now()
        if publisher.idempotency == "reconcile" or post.duplicate or now > post.deadline:
            return False
        if post.attempts >= self.policy.max_attempts:
            return False
        if publisher.key_valid_for is None:
            return True
        valid = publisher.key_valid_for - self.policy.lease
        since = self._unclear_since.get(post.id)
        if since is None or self.elapsed() >= since + valid.total_seconds():
            return False
        with self.database.read() as session:  # a machine's sleep, too, is long
            first = session.scalar(
                select(func.min(Attempt.started_at)).where(
                    Attempt.post_id == post.id, Attempt.phase == Phase.SEND
                )
            )
        return first is not None and first <= now < first + valid

    def _upload(self, claim: Claim) -> tuple[Draft, tuple[MediaRef, ...]] | None:
        """Render and hand over the picture, unless the network has it still."""
        started = self.clock.now()
        post, order = self._order(claim)
        media = kept = self._uploaded_already(post)
        try:
            draft = self._draft(claim.channel, post, order, with_file=True)
            if media is None:
                crash_point("before-upload-request")
                media = claim.channel.publisher.upload(draft)
                crash_point("after-upload-request")
        except Exception as error:  # noqa: BLE001 (nothing was sent: whatever went wrong, it can be tried again)
            self._failed(claim, Phase.UPLOAD, started, _not_sent(error))
            return None
        with self._held("uploaded", claim) as (session, row, _):
            if not claim.unclear:
                row.state = PostState.UPLOADED
            row.caption, row.alt_text, row.media_file = draft.caption, draft.alt_text, str(draft.media[0])
            row.media_ids = [ref.id for ref in media]
            row.media_expires_at = min((ref.expires_at for ref in media if ref.expires_at), default=None)
            if kept is None:
                session.add(self._attempt(row.id, Phase.UPLOAD, started, Outcome.DONE))
        return draft, media

    def _uploaded_already(self, post: Post) -> tuple[MediaRef, ...] | None:
        if not post.media_ids:
            return None
        expiry = post.media_expires_at
        if expiry is not None and expiry - self.policy.media_margin <= self.clock.now():
            return None
        return tuple(MediaRef(media_id, expiry) for media_id in post.media_ids)

    def _order(self, claim: Claim) -> tuple[Post, Order]:
        with self.database.read() as session:
            post = session.get_one(Post, claim.post_id)
            pictures = queries.pictures_of(session, post)
        schedule = claim.channel.schedule
        due = (post.deadline - schedule.grace).astimezone(schedule.tz)
        return post, Order(post.account, post.serial, marker(post.serial), post.kind, pictures, due)

    def _draft(self, channel: Channel, post: Post, order: Order, *, with_file: bool) -> Draft:
        """What the network gets: the words are fixed at the first try, the file is made when missing."""
        words = (
            channel.describe(order)
            if post.caption is None or post.alt_text is None
            else Words(post.caption, post.alt_text)
        )
        file = Path(post.media_file) if post.media_file else None
        if with_file and (file is None or not file.is_file()):
            file = channel.prepare(order, words)
        return Draft(
            account=post.account,
            serial=post.serial,
            marker=order.marker,
            caption=words.caption,
            alt_text=words.alt_text,
            media=() if file is None else (file,),
            kind=post.kind,
            idempotency_key=f"{post.account}-{post.serial:04d}-{post.created_at:%Y%m%dT%H%M%S%f}",
            metadata={
                "pictures": [
                    {"checkpoint": p.checkpoint, "seed": p.seed, "score": p.score, "quantile": p.quantile}
                    for p in order.pictures
                ]
            },
        )

    def _begin_send(self, claim: Claim) -> int | None:
        """Commit that a request is about to be made; the attempt's id, or None when it must not be made."""
        if self.stopping():
            with self._held("failed", claim) as (_, post, account):
                _release(post, account)
            return None
        with self._held("sending", claim) as (session, post, account):
            now = self.clock.now()
            if now > post.deadline or account.state is AccountState.STOPPED:
                if not claim.unclear:  # or it is looked for
                    self._hold_back(session, post, now)
                _release(post, account)
                return None
            attempt = Attempt(post_id=post.id, phase=Phase.SEND, started_at=now)
            session.add(attempt)
            post.state, post.sent_at, account.last_sent_at = PostState.SENDING, now, now
            post.looks = 0
            session.flush()
            return attempt.id

    def _hold_back(self, session: Session, post: Post, now: datetime) -> None:
        if now > post.deadline:
            queries.miss(session, post, f"{post.reason or 'The upload took too long.'} Its grace is over.")
        else:
            post.state, post.not_before = PostState.RETRY, now

    def _send(self, claim: Claim, draft: Draft, media: tuple[MediaRef, ...], attempt: int) -> None:
        started, began = self.clock.now(), self.elapsed()
        try:
            crash_point("before-send-request")
            sent = claim.channel.publisher.send(draft, media)
            crash_point("after-send-request")
        except Exception as error:  # noqa: BLE001 (whatever it was, the post may exist: it must not be sent again)
            failure = _maybe_sent(error)
            if isinstance(failure, Unclear):
                self._unclear_since.setdefault(claim.post_id, began)
            self._failed(claim, Phase.SEND, started, failure, attempt)
            return
        try:
            with self._held("posted", claim) as (session, post, account):
                self._close(session, attempt, Outcome.DONE)
                _settle_posted(session, post, sent, self.clock.now())
                _release(post, account)
        except LeaseLost:
            self._posted_late(claim, sent, attempt)

    def _posted_late(self, claim: Claim, sent: Sent, attempt: int) -> None:
        """The answer came after another process took over. That the post exists is a fact all the same."""
        with self.database.write() as session:
            session.get_one(Account, claim.channel.account, with_for_update=True)
            post = session.get_one(Post, claim.post_id, with_for_update=True)
            self._close(session, attempt, Outcome.DONE)
            if post.remote_id is None:
                post.version += 1
                _settle_posted(session, post, sent, self.clock.now())

    # ---- what may go wrong ----------------------------------------------------------------------

    def _failed(
        self, claim: Claim, phase: Phase, started: datetime, error: PublishError, attempt: int | None = None
    ) -> None:
        log.warning("post %d of %s: %s: %s", claim.post_id, claim.channel.account, phase, error)
        with self._held("failed", claim) as (session, post, account):
            now = self.clock.now()
            outcome = _outcome(error)
            if attempt is None:
                session.add(self._attempt(post.id, phase, started, outcome, error))
            else:
                self._close(session, attempt, outcome, error)
            post.reason = error.reason
            if isinstance(error, AccountStopped):
                _stop(account, error, now)
            if isinstance(error, MediaGone):
                post.media_ids = None
            if claim.unclear or isinstance(error, Unclear):
                self._leave_unclear(claim, post, account, error, now)
            elif isinstance(error, AccountStopped):
                post.state, post.not_before = PostState.RETRY, now
            elif isinstance(error, Rejected):
                post.state = PostState.REJECTED
                queries.settle_pictures(session, post, PictureState.REJECTED, error.reason)
            else:
                self._retry(session, post, account, error, now)
            _release(post, account)

    def _leave_unclear(
        self, claim: Claim, post: Post, account: Account, error: PublishError, now: datetime
    ) -> None:
        """It may exist: by this request, or by one before, of which a refusal of this one says nothing."""
        post.state, post.not_before = PostState.UNKNOWN, now
        post.duplicate = isinstance(error, PossibleDuplicate)
        post.attempts += 1
        if claim.unclear:
            post.not_before = now + self._backoff(post.attempts)
        if isinstance(error, RetryLater) and error.at is not None:
            account.not_before = _within_a_day(error.at, now)

    def _retry(
        self, session: Session, post: Post, account: Account, error: PublishError, now: datetime
    ) -> None:
        """Certainly nothing was published: try again later, if later is not too late."""
        post.attempts += 1
        at = now + self._backoff(post.attempts)
        if isinstance(error, MediaGone):
            at = now
        elif isinstance(error, RetryLater) and error.at is not None:
            at = _within_a_day(error.at, now)
            account.not_before = at  # the network's word to the account, whatever the post
        if post.attempts >= self.policy.max_attempts:
            queries.miss(session, post, f"{error.reason} Given up after {post.attempts} tries.")
        elif at > post.deadline:
            queries.miss(session, post, f"{error.reason} Its grace ends before it may be tried again.")
        else:
            post.state, post.not_before = PostState.RETRY, at

    def _backoff(self, attempts: int) -> timedelta:
        whole = min(self.policy.backoff * 2.0 ** (attempts - 1), self.policy.backoff_limit)
        return whole * self.rng.uniform(0.5, 1.5)

    # ---- reconciling ----------------------------------------------------------------------------

    def _reconcile(self, claim: Claim) -> None:
        """Look on the account's own timeline for a post that may exist."""
        started = self.clock.now()
        post, order = self._order(claim)
        # A day more than the clock says: it may have been wrong when the post was made.
        since = post.created_at - timedelta(days=1)
        try:
            draft = self._draft(claim.channel, post, order, with_file=False)
            crash_point("before-find-request")
            found = claim.channel.publisher.find(draft, since)
            crash_point("after-find-request")
        except Exception as error:  # noqa: BLE001 (an unexpected failure to read says nothing about the post)
            self._look_failed(claim, started, _maybe_sent(error))
            return
        with self._held("reconciled", claim) as (session, row, account):
            now = self.clock.now()
            outcome = Outcome.ABSENT if found is None else Outcome.FOUND
            session.add(self._attempt(row.id, Phase.RECONCILE, started, outcome))
            if found is not None:
                _settle_posted(session, row, found, now)
            else:
                self._not_seen(session, row, now)
            _release(row, account)

    def _not_seen(self, session: Session, post: Post, now: datetime) -> None:
        """One look more without it; only several, spread over a time, say that it is absent."""
        post.looks += 1
        if not self._looked_enough(post):
            post.not_before = now + self.policy.look_interval
        elif post.duplicate:
            post.state = PostState.NEEDS_PERSON
            post.reason = (
                f"{post.reason} It is not on the account's timeline: look for {marker(post.serial)}, then "
                f"run `meshibot resolve {post.id} --posted ID` or `--absent`."
            )
        elif now > post.deadline:
            queries.miss(session, post, f"{post.reason} It did not appear, and its grace is over.")
        elif post.attempts >= self.policy.max_attempts:
            queries.miss(
                session, post, f"{post.reason} It did not appear; given up after {post.attempts} tries."
            )
        else:
            post.state, post.not_before = PostState.RETRY, now

    def _looked_enough(self, post: Post) -> bool:
        """Whether this process did not see it often enough, over a time that no jump of a clock shortens."""
        now = self.elapsed()
        sent, first, looks = self._looks.get(post.id, (None, now, 0))
        if sent != post.sent_at:
            first, looks = now, 0
        self._looks[post.id] = (post.sent_at, first, looks + 1)
        enough = looks + 1 >= self.policy.looks and now - first >= self.policy.look_spread.total_seconds()
        if enough:
            del self._looks[post.id]
        return enough

    def _look_failed(self, claim: Claim, started: datetime, error: PublishError) -> None:
        log.warning("post %d of %s: reading: %s", claim.post_id, claim.channel.account, error)
        with self._held("failed", claim) as (session, post, account):
            now = self.clock.now()
            session.add(self._attempt(post.id, Phase.RECONCILE, started, _outcome(error), error))
            sent = post.sent_at or post.created_at
            post.not_before = now + max(self._backoff(1), self.policy.look_interval)
            if isinstance(error, AccountStopped):
                _stop(account, error, now)
                post.not_before = now
            elif now - sent > self.policy.patience:
                post.state = PostState.NEEDS_PERSON
                post.reason = (
                    f"It can't be told whether it was posted: {error.reason} Look for {marker(post.serial)}, "
                    f"then run `meshibot resolve {post.id} --posted ID` or `--absent`."
                )
            elif isinstance(error, RetryLater) and error.at is not None:
                post.not_before = account.not_before = _within_a_day(max(error.at, post.not_before), now)
            _release(post, account)

    # ---- attempts -------------------------------------------------------------------------------

    def _attempt(
        self,
        post_id: int,
        phase: Phase,
        started: datetime,
        outcome: Outcome,
        error: PublishError | None = None,
    ) -> Attempt:
        return Attempt(
            post_id=post_id,
            phase=phase,
            started_at=started,
            ended_at=self.clock.now(),
            outcome=outcome,
            http_status=error.http_status if error else None,
            error=error.reason if error else None,
        )

    def _close(
        self, session: Session, attempt_id: int, outcome: Outcome, error: PublishError | None = None
    ) -> None:
        attempt = session.get_one(Attempt, attempt_id)
        attempt.ended_at, attempt.outcome = self.clock.now(), outcome
        if error is not None:
            attempt.http_status, attempt.error = error.http_status, error.reason


def _lease_is_free(account: Account, now: datetime, lease: timedelta) -> bool:
    # Twice the lease: the clocks of two machines differ, and no lease may be broken for that.
    return account.lease_owner is None or queries.is_over(account.lease_expires_at, now, 2 * lease)


def _within_a_day(at: datetime, now: datetime) -> datetime:
    """When the network may be asked again, by its own word, but never at once: no loop without a pause."""
    return min(max(at, now + timedelta(seconds=1)), now + queries.LONGEST_WAIT)


def _release(post: Post, account: Account) -> None:
    for row in (post, account):
        row.lease_owner = row.lease_expires_at = None


def _stop(account: Account, error: AccountStopped, now: datetime) -> None:
    account.state, account.stopped_at = AccountState.STOPPED, now
    account.stopped_reason = str(error)


def _settle_posted(session: Session, post: Post, sent: Sent, now: datetime) -> None:
    post.state, post.posted_at, post.reason = PostState.POSTED, now, None
    post.remote_id, post.url = sent.remote_id, sent.url or None
    post.lease_owner = post.lease_expires_at = None
    queries.settle_pictures(session, post, PictureState.POSTED)


def _outcome(error: PublishError) -> Outcome:
    known: tuple[tuple[type[PublishError], Outcome], ...] = (
        (PossibleDuplicate, Outcome.DUPLICATE),
        (Unclear, Outcome.UNCLEAR),
        (AccountStopped, Outcome.STOPPED),
        (Rejected, Outcome.REJECTED),
    )
    return next((outcome for kind, outcome in known if isinstance(error, kind)), Outcome.RETRY)


def _not_sent(error: Exception) -> PublishError:
    """What went wrong before anything was sent, as one of the publisher's outcomes."""
    if isinstance(error, Unclear):
        return RetryLater(error.reason, http_status=error.http_status)
    if isinstance(error, PublishError):
        return error
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno is not None and not isinstance(cause, FileNotFoundError):
        return RetryLater(f"The picture can't be made now. {error}")  # a full disk, say
    if isinstance(error, MeshibotError | OSError):
        return Rejected(str(error))
    log.error("an unexpected failure before sending", exc_info=error)
    return RetryLater(f"An unexpected failure before sending: {type(error).__name__}, see the log.")


def _maybe_sent(error: Exception) -> PublishError:
    """What went wrong in a request that may have had its effect."""
    if isinstance(error, PublishError):
        return error
    log.error("an unexpected failure of a request", exc_info=error)
    return Unclear(f"An unexpected failure of the request: {type(error).__name__}, see the log.")
