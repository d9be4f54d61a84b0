"""What an account does next: an open post whose wait is over, or a slot that is due, or nothing.

Budget, quiet hours and spacing are kept here; so are the records of what came too late to be sent.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from meshibot.clock import day_of, month_of
from meshibot.database import queries
from meshibot.database.models import (
    Account,
    AccountState,
    Picture,
    PictureState,
    Post,
    PostPicture,
    PostState,
    Slot,
    SlotState,
)
from meshibot.errors import MeshibotError
from meshibot.kinds import DRAWN_ANEW, PICTURES, Kind
from meshibot.outbox import groups, record
from meshibot.outbox.claim import Claim, is_free, take
from meshibot.outbox.decide import Interrupted, Late, Result, Situation, decide
from meshibot.outbox.policy import Channel, Policy
from meshibot.outbox.runtime import Runtime

log = logging.getLogger(__name__)

WAITED = "It waited for the quiet hours to end, or for its turn, until its grace was over."
_TOLD = 5
"""Missed slots that the log names at once."""
_A_ROUNDING = 1e-9
"""US dollars: sums of floats."""
OF_OTHERS = (
    "The stock has too few pictures of the present checkpoint: `meshibot stock clear --others` makes room "
    "for more."
)
NONE_REVIEWED = "No picture that a person approved was in stock (MESHIBOT_REVIEW is required)."


@dataclass(frozen=True)
class Turn:
    """An account's turn: nobody else works on it while this transaction lasts."""

    session: Session
    account: Account
    channel: Channel
    policy: Policy
    now: datetime

    def settle(self, post: Post, result: Result) -> None:
        """Decide what the post is by what came of it, and write that down."""
        change = decide(result, Situation(post, self.now, self.policy))
        record.write(self.session, post, self.account, change, self.now)

    @property
    def held_back(self) -> str | None:
        """Why the account sends nothing at all; None where it may."""
        return queries.held_back(self.account, self.now)

    def may_send(self, due: datetime) -> bool:
        """Not in the quiet hours, and at a distance from the last post."""
        schedule = self.channel.schedule
        if schedule.quiet is not None and self.now.astimezone(schedule.tz) in schedule.quiet:
            return False
        return self.is_spaced(due)

    def is_spaced(self, due: datetime) -> bool:
        """What is catching up keeps its distance from the last post."""
        last = self.account.last_sent_at
        spaced = last is None or not last <= self.now < last + self.policy.spacing
        return spaced or self.now - due <= self.policy.punctual

    @property
    def over_budget(self) -> str | None:
        """Why one more post would be over the account's budget of this day or month; None where it is not."""
        schedule = self.channel.schedule
        if schedule.daily_budget is not None:
            # To the day's end: what was sent under a clock that ran ahead is none of it.
            day = day_of(self.now, schedule.tz)
            if queries.begun_between(self.session, self.account.name, *day) >= schedule.daily_budget:
                return f"The daily budget (posts: {schedule.daily_budget}) is used up."
        if schedule.monthly_budget is not None:
            month = month_of(self.now, schedule.tz)
            captions = queries.captions_begun_between(self.session, self.account.name, *month)
            looks = queries.looks_between(self.session, self.account.name, *month)
            looked = looks * self.channel.publisher.price.read
            spent = looked + sum(map(self.channel.cost, captions)) + self.channel.cost(None)
            if spent > schedule.monthly_budget + _A_ROUNDING:
                return f"The monthly budget of ${schedule.monthly_budget:.2f} is used up."
        return None


def claim_next(
    runtime: Runtime, channel: Channel, *, only: int | None = None, hindrance: str | None = None
) -> Claim | None:
    """Claim what the account does next; None where nothing is due, or while another process works on it.

    `only` leaves slots and other posts that wait to the daemon, but for those that may exist. `hindrance`
    says why no slot can be served now.
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
        turn = Turn(session, account, channel, policy, now)
        posts = queries.open_posts(session, channel.account)
        _take_over(turn, posts)
        _miss_late_posts(turn, posts)
        due = _miss_late_slots(turn)
        if account.state is AccountState.STOPPED or not queries.is_over(account.not_before, now):
            return None
        post = _due_post(turn, posts, only)
        if post is None and only is None:
            post = _post_for_slot(turn, due, hindrance)
        return None if post is None else take(session, account, channel, post, policy.lease, now)


# ---- what others left ---------------------------------------------------------------------------


def _take_over(turn: Turn, posts: Iterable[Post]) -> None:
    """What was being sent when its process ended is unclear now."""
    for post in [post for post in posts if post.state is PostState.SENDING]:
        record.interrupt_tries(turn.session, post, turn.now)
        turn.settle(post, Interrupted())


def _miss_late_posts(turn: Turn, posts: Iterable[Post]) -> None:
    for post in [post for post in posts if post.state in queries.UNSENT_STATES]:
        if post.deadline < turn.now:
            turn.settle(post, Late(_cause(turn)))


def _miss_late_slots(turn: Turn) -> Sequence[Slot]:
    """Record the slots that are too late, and what was written ahead for them; those that are due still."""
    session, account, now = turn.session, turn.account, turn.now
    before = now - turn.channel.schedule.grace
    slots = queries.due_slots(session, account.name, now)
    if not slots or slots[0].due_at >= before:
        return slots
    for post in queries.written_ahead(session, account.name, before):
        turn.settle(post, Late(_cause(turn)))
    _log_late(turn, [slot for slot in slots if slot.due_at < before])
    session.execute(
        update(Slot)
        .where(Slot.account == account.name, Slot.state == SlotState.PLANNED, Slot.due_at < before)
        .values(
            state=SlotState.MISSED,
            reason=turn.held_back or func.coalesce(Slot.reason, _cause(turn)),
            version=Slot.version + 1,
        )
        .execution_options(synchronize_session=False)
    )
    return queries.due_slots(session, account.name, now)


def _log_late(turn: Turn, slots: Sequence[Slot]) -> None:
    """A line each; after a long absence one for all the rest."""
    for slot in slots[:_TOLD]:
        _log_missed(slot, turn.held_back or slot.reason or _cause(turn))
    if len(slots) > _TOLD:
        log.warning("account %s: more slots were missed; `meshibot status` lists them", turn.account.name)


def _log_missed(slot: Slot, reason: str) -> None:
    log.warning("slot %s is missed: %s", slot.key, reason)


def _cause(turn: Turn) -> str:
    grace = turn.channel.schedule.grace
    return turn.held_back or f"No meshibot came to it before its grace of {grace} was over."


# ---- what is next -------------------------------------------------------------------------------


def _due_post(turn: Turn, posts: Iterable[Post], only: int | None) -> Post | None:
    for post in queries.due_posts(posts, turn.now):
        if post.state is PostState.UNKNOWN or post.id == only:
            return post
        if only is not None:
            continue
        own = post.sent_at is not None and post.sent_at == turn.account.last_sent_at
        due = turn.now if own else post.due_at
        # A person who asks for a post does so in the quiet hours as well; in no burst with others, though.
        if turn.is_spaced(due) if post.slot_id is None else turn.may_send(due):
            return post
    return None


def _post_for_slot(turn: Turn, due: Iterable[Slot], hindrance: str | None) -> Post | None:
    for slot in due:
        if hindrance is not None:
            slot.reason = hindrance
            continue
        if not turn.may_send(slot.due_at):
            slot.reason = WAITED
            continue
        ahead = queries.post_of_slot(turn.session, slot)
        over_budget = turn.over_budget
        if over_budget is not None:
            slot.state = SlotState.MISSED
            slot.reason = over_budget
            _log_missed(slot, slot.reason)
            if ahead is not None:
                turn.settle(ahead, Late(slot.reason))
        elif ahead is None:
            return new_post(turn, slot, turn.channel.kind_at(slot.due_at))
        else:
            return _begin(turn, slot, ahead)
    return None


# ---- a new post ---------------------------------------------------------------------------------


def new_post(turn: Turn, slot: Slot | None, kind: Kind) -> Post | None:
    """A post with its serial and its pictures; None when the stock has too few."""
    chosen: Sequence[Picture] | None = None
    if slot is not None and turn.channel.group is not None:
        chosen = groups.chosen(turn.session, turn.channel.group, slot, kind, reviewed=turn.channel.reviewed)
    chosen = chosen or _from_the_stock(turn, slot, kind)
    if not chosen:
        return None
    post = Post(
        account=turn.account.name,
        publisher=turn.channel.publisher.name,
        slot_id=None if slot is None else slot.id,
        kind=kind,
        state=PostState.PLANNED,
        created_at=turn.now,
        pictures=[PostPicture(picture_id=row.id, position=place) for place, row in enumerate(chosen)],
    )
    if kind is Kind.SINGLE:
        post.caption, post.alt_text = chosen[0].caption, chosen[0].alt_text
    turn.session.add(post)
    return _begin(turn, slot, post)


def _from_the_stock(turn: Turn, slot: Slot | None, kind: Kind) -> Sequence[Picture]:
    """Pictures that are reserved by this; none, and the slot's reason, where the stock has too few."""
    policy = turn.policy
    try:
        choice = queries.choose_pictures(
            turn.session,
            turn.account.name,
            PICTURES[kind],
            posts=policy.avoid_posts,
            distance=policy.avoid_distance,
            preferred=turn.channel.preferred(),
            no_others=kind in DRAWN_ANEW,
            reviewed=turn.channel.reviewed,
            fault=turn.channel.fault,
        )
    except MeshibotError as error:
        if slot is not None:
            slot.reason = str(error)
        log.warning("account %s: %s", turn.account.name, error)
        return ()
    # Both so that the stock can be filled in their place.
    for picture in choice.alike:
        picture.state, picture.reason = PictureState.REJECTED, "It looks like a recent post."
    for picture, says in choice.faulty:
        picture.state, picture.reason = PictureState.REJECTED, says
        log.warning("picture %d is taken out of the stock: %s", picture.id, says)
    if not choice.pictures and slot is not None:
        if turn.channel.reviewed:
            slot.reason = NONE_REVIEWED
        else:
            slot.reason = OF_OTHERS if kind in DRAWN_ANEW else "The stock was empty."
    for picture in choice.pictures:
        picture.state = PictureState.RESERVED
    return choice.pictures


def _begin(turn: Turn, slot: Slot | None, post: Post) -> Post:
    """Its turn has come: it gets its serial and its times, and its slot is taken."""
    with turn.session.no_autoflush:  # a new post is not whole yet
        post.serial = queries.next_serial(turn.session, turn.account)
    turn.account.next_serial = post.serial + 1
    post.due_at = turn.now if slot is None else slot.due_at
    post.deadline = post.due_at + turn.channel.schedule.grace
    post.not_before = turn.now
    if slot is not None:
        slot.state, slot.reason = SlotState.TAKEN, None
        if turn.channel.group is not None:
            post.group_key = groups.key_of(turn.channel.group, slot)
    return post
