"""What an account does next: an open post whose wait is over, or a slot that is due, or nothing.

Budget, quiet hours and spacing are kept here; so are the records of what came too late to be sent.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from meshibot.database import queries
from meshibot.database.models import (
    Account,
    AccountState,
    Kind,
    PictureState,
    Post,
    PostPicture,
    PostState,
    Slot,
    SlotState,
)
from meshibot.outbox import record
from meshibot.outbox.claim import Claim, is_free, take
from meshibot.outbox.decide import Interrupted, Late, Situation, decide
from meshibot.outbox.policy import PICTURES, Channel, Policy
from meshibot.outbox.runtime import Runtime

WAITED = "It waited for the quiet hours to end, or for its turn, until its grace was over."


def claim_next(runtime: Runtime, channel: Channel, *, slots: bool) -> Claim | None:
    """Claim what the account does next; None where nothing is due, or while another process works on it.

    `slots=False` leaves planned slots to the daemon and only looks at posts that exist.
    """
    if runtime.database.is_sqlite:
        # Its one lock for writing is not taken only to look.
        with runtime.database.read() as session:
            if not queries.anything_due(session, channel.account, runtime.clock.now()):
                return None
    with runtime.commit("claim") as session:
        policy, now = runtime.policy, runtime.clock.now()
        account = queries.lock_account_with_work(session, channel.account, now)
        if account is None or not is_free(account, now, policy.lease):
            return None
        account.lease_owner = account.lease_expires_at = None  # run out, perhaps
        posts = queries.open_posts(session, channel.account)
        _take_over(session, account, posts, policy, now)
        _miss_late_posts(session, account, posts, channel, policy, now)
        due = _miss_late_slots(session, account, channel, policy, now)
        if account.state is AccountState.STOPPED or not queries.is_over(account.not_before, now):
            return None
        post = _due_post(posts, account, channel, policy, now)
        if post is None and slots:
            post = _post_for_slot(session, account, channel, due, policy, now)
        return None if post is None else take(session, account, channel, post, policy.lease, now)


# ---- what others left ---------------------------------------------------------------------------


def _take_over(
    session: Session, account: Account, posts: Iterable[Post], policy: Policy, now: datetime
) -> None:
    """What was being sent when its process ended is unclear now."""
    for post in [post for post in posts if post.state is PostState.SENDING]:
        record.interrupt_tries(session, post, now)
        record.write(session, post, account, decide(Interrupted(), Situation(post, now, policy)), now)


def _miss_late_posts(
    session: Session,
    account: Account,
    posts: Iterable[Post],
    channel: Channel,
    policy: Policy,
    now: datetime,
) -> None:
    late = Late(_cause(account, channel.schedule.grace, now))
    for post in [post for post in posts if post.state in queries.UNSENT_STATES and post.deadline < now]:
        record.write(session, post, account, decide(late, Situation(post, now, policy)), now)


def _miss_late_slots(
    session: Session, account: Account, channel: Channel, policy: Policy, now: datetime
) -> Sequence[Slot]:
    """Record the slots that are too late, and what was written ahead for them; those that are due still."""
    grace = channel.schedule.grace
    slots = queries.due_slots(session, account.name, now)
    if not slots or slots[0].due_at >= now - grace:
        return slots
    cause = _cause(account, grace, now)
    held = queries.held_back(account, now)
    for post in queries.written_ahead(session, account.name, now - grace):
        change = decide(Late(held or cause), Situation(post, now, policy))
        record.write(session, post, account, change, now)
    session.execute(
        update(Slot)
        .where(Slot.account == account.name, Slot.state == SlotState.PLANNED, Slot.due_at < now - grace)
        .values(
            state=SlotState.MISSED, reason=held or func.coalesce(Slot.reason, cause), version=Slot.version + 1
        )
        .execution_options(synchronize_session=False)
    )
    return queries.due_slots(session, account.name, now)


def _cause(account: Account, grace: timedelta, now: datetime) -> str:
    return queries.held_back(account, now) or f"No meshibot came to it before its grace of {grace} was over."


# ---- what is next -------------------------------------------------------------------------------


def _due_post(
    posts: Iterable[Post], account: Account, channel: Channel, policy: Policy, now: datetime
) -> Post | None:
    for post in queries.due_posts(posts, now):
        if post.state is PostState.UNKNOWN or post.slot_id is None:
            return post
        own = post.sent_at is not None and post.sent_at == account.last_sent_at
        if _may_send(account, channel, now if own else post.due_at, policy, now):
            return post
    return None


def _post_for_slot(
    session: Session, account: Account, channel: Channel, due: Iterable[Slot], policy: Policy, now: datetime
) -> Post | None:
    for slot in due:
        if not _may_send(account, channel, slot.due_at, policy, now):
            slot.reason = WAITED
        elif budget_used(session, channel, now):
            _miss_for_budget(session, account, channel, slot, policy, now)
        else:
            ahead = queries.post_of_slot(session, slot)
            if ahead is None:
                return new_post(session, account, channel, slot, channel.kind, policy, now)
            if ahead.state is PostState.APPROVED:
                ahead.due_at, ahead.deadline = slot.due_at, slot.due_at + channel.schedule.grace
                ahead.not_before = now
                return _begin(account, slot, ahead)
            slot.reason = "What was written for it is a draft, which nobody approved."
    return None


def _may_send(account: Account, channel: Channel, due: datetime, policy: Policy, now: datetime) -> bool:
    """Not in the quiet hours; and what is catching up keeps its distance from the last post."""
    quiet = channel.schedule.quiet
    if quiet is not None and now.astimezone(channel.schedule.tz) in quiet:
        return False
    last = account.last_sent_at
    spaced = last is None or not last <= now < last + policy.spacing
    return now - due <= policy.punctual or spaced


def budget_used(session: Session, channel: Channel, now: datetime) -> bool:
    """Whether the account's posts of this day are all made, or under way."""
    budget = channel.schedule.daily_budget
    if budget is None:
        return False
    midnight = now.astimezone(channel.schedule.tz).replace(hour=0, minute=0, second=0, microsecond=0)
    return queries.begun_since(session, channel.account, midnight.astimezone(UTC)) >= budget


def _miss_for_budget(
    session: Session, account: Account, channel: Channel, slot: Slot, policy: Policy, now: datetime
) -> None:
    slot.state = SlotState.MISSED
    slot.reason = f"The daily budget of {channel.schedule.daily_budget} posts was used up."
    if (ahead := queries.post_of_slot(session, slot)) is not None:
        record.write(session, ahead, account, decide(Late(slot.reason), Situation(ahead, now, policy)), now)


# ---- a new post ---------------------------------------------------------------------------------


def new_post(
    session: Session,
    account: Account,
    channel: Channel,
    slot: Slot | None,
    kind: Kind,
    policy: Policy,
    now: datetime,
) -> Post | None:
    """A post with its serial and its pictures; None when the stock has too few."""
    chosen, alike = queries.choose_pictures(
        session, account.name, PICTURES[kind], posts=policy.avoid_posts, distance=policy.avoid_distance
    )
    for picture in alike:  # so that the stock can be filled in their place
        picture.state, picture.reason = PictureState.REJECTED, "It looks like a recent post."
    if not chosen:
        if slot is not None:
            slot.reason = "The stock was empty."
        return None
    for picture in chosen:
        picture.state = PictureState.RESERVED
    due = now if slot is None else slot.due_at
    post = Post(
        account=account.name,
        publisher=channel.publisher.name,
        slot_id=None if slot is None else slot.id,
        kind=kind,
        state=PostState.PLANNED,
        not_before=now,
        due_at=due,
        deadline=due + channel.schedule.grace,
        created_at=now,
        pictures=[PostPicture(picture_id=row.id, position=place) for place, row in enumerate(chosen)],
    )
    session.add(post)
    return _begin(account, slot, post)


def _begin(account: Account, slot: Slot | None, post: Post) -> Post:
    """Its turn has come: it gets its serial, and its slot is taken."""
    post.serial = account.next_serial
    account.next_serial += 1
    if slot is not None:
        slot.state, slot.reason = SlotState.TAKEN, None
    return post
