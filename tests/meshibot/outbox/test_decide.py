"""The table: what came of a post, and what it is therefore. One row a line, as the docs have it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.database import PictureState, Post, PostState
from meshibot.kinds import Kind
from meshibot.outbox.decide import (
    PICTURES_BECOME,
    Absent,
    Elsewhere,
    Failed,
    Interrupted,
    Late,
    LookFailed,
    NotSeen,
    Published,
    Restored,
    Result,
    Situation,
    TakenDown,
    Withdrawn,
    Withheld,
    decide,
)
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
from testbed.ledger import NOON

SENT = Sent("r1", "https://ledger.example/r1")
SOON = NOON + timedelta(minutes=10)
LATER = NOON + timedelta(days=3)
BACKOFF = timedelta(seconds=30)
LOOK = timedelta(seconds=30)


def post(**values: object) -> Post:
    """An open post, in the middle of its grace."""
    row = {
        "id": 7,
        "account": "main",
        "publisher": "ledger",
        "serial": 42,
        "kind": Kind.SINGLE,
        "state": PostState.SENDING,
        "reason": "It was cut.",
        "attempts": 0,
        "duplicate": False,
        "created_at": NOON,
        "sent_at": NOON,
        "deadline": NOON + timedelta(hours=2),
    }
    return Post(**(row | values))


def on(unclear: bool = False, **values: object) -> Situation:
    return Situation(post(**values), NOON, Policy(), unclear)


DUE = timedelta()
ROWS: list[tuple[Result, Situation, PostState, timedelta | None]] = [
    (Published(SENT), on(), PostState.POSTED, None),
    (Failed(Unclear("?")), on(), PostState.UNKNOWN, DUE),
    (Failed(PossibleDuplicate("?")), on(), PostState.UNKNOWN, DUE),
    (Failed(AccountStopped("!", "Pay.")), on(), PostState.RETRY, DUE),
    (Failed(AccountStopped("!", "Wait.", may_mend=True)), on(), PostState.RETRY, BACKOFF),
    (Failed(AccountStopped("!", "Wait.", may_mend=True)), on(attempts=5), PostState.MISSED, 32 * BACKOFF),
    (LookFailed(AccountStopped("!", "Wait.", may_mend=True)), on(), PostState.UNKNOWN, LOOK),
    (Failed(MediaGone("!")), on(attempts=1), PostState.RETRY, 2 * BACKOFF),
    (NotSeen(enough=True, doubtful=SENT), on(), PostState.NEEDS_PERSON, DUE),
    (NotSeen(enough=False, doubtful=SENT), on(), PostState.UNKNOWN, LOOK),
    (Failed(Rejected("!")), on(), PostState.REJECTED, None),
    (Failed(WordsRejected("!")), on(), PostState.REJECTED, None),
    (Failed(MediaGone("!")), on(), PostState.RETRY, DUE),
    (Failed(RetryLater("!")), on(), PostState.RETRY, BACKOFF),
    (Failed(RetryLater("!")), on(attempts=2), PostState.RETRY, 4 * BACKOFF),
    (Failed(RetryLater("!", SOON)), on(), PostState.RETRY, SOON - NOON),
    (Failed(RetryLater("!", LATER)), on(), PostState.MISSED, timedelta(days=1)),
    (Failed(RetryLater("!")), on(attempts=5), PostState.MISSED, 16 * BACKOFF * 2),
    (Failed(RetryLater("!")), on(deadline=NOON), PostState.MISSED, BACKOFF),
    # of one that may exist from before, no refusal says anything
    (Failed(Rejected("!")), on(unclear=True), PostState.UNKNOWN, BACKOFF),
    (Failed(AccountStopped("!", "Pay.")), on(unclear=True), PostState.UNKNOWN, BACKOFF),
    (Failed(RetryLater("!")), on(unclear=True, attempts=9), PostState.UNKNOWN, timedelta(minutes=30)),
    (Interrupted(), on(), PostState.UNKNOWN, DUE),
    (Restored(), on(), PostState.UNKNOWN, DUE),
    (NotSeen(enough=False), on(), PostState.UNKNOWN, LOOK),
    (NotSeen(enough=True), on(), PostState.RETRY, DUE),
    (NotSeen(enough=True), on(duplicate=True), PostState.NEEDS_PERSON, DUE),
    (NotSeen(enough=True), on(deadline=NOON - LOOK), PostState.MISSED, None),
    (NotSeen(enough=True), on(attempts=6), PostState.MISSED, None),
    (LookFailed(RetryLater("!")), on(), PostState.UNKNOWN, LOOK),
    (LookFailed(RetryLater("!", SOON)), on(), PostState.UNKNOWN, SOON - NOON),
    (LookFailed(AccountStopped("!", "Pay.")), on(), PostState.UNKNOWN, DUE),
    (LookFailed(Unclear("!")), on(sent_at=NOON - timedelta(hours=7)), PostState.NEEDS_PERSON, DUE),
    (Elsewhere(), on(), PostState.NEEDS_PERSON, DUE),
    (Late("Why."), on(), PostState.MISSED, None),
    (Withheld(), on(), PostState.RETRY, DUE),
    (Absent(), on(), PostState.RETRY, DUE),
    (Absent(), on(deadline=NOON - LOOK), PostState.MISSED, None),
    (Withdrawn(), on(), PostState.CANCELLED, None),
    (TakenDown(), on(), PostState.DELETED, None),
    # the last moment of its grace, and of patience, is still within
    (NotSeen(enough=True), on(deadline=NOON), PostState.RETRY, DUE),
    (Absent(), on(deadline=NOON), PostState.RETRY, DUE),
    (Failed(RetryLater("!", SOON)), on(deadline=SOON), PostState.RETRY, SOON - NOON),
    (LookFailed(Unclear("!")), on(sent_at=NOON - timedelta(hours=6)), PostState.UNKNOWN, LOOK),
]


@pytest.mark.parametrize(("result", "situation", "state", "wait"), ROWS)
def test_the_table(result: Result, situation: Situation, state: PostState, wait: timedelta | None) -> None:
    change = decide(result, situation)
    assert change.state is state
    assert (None if change.at is None else change.at - NOON) == wait


@pytest.mark.parametrize(("result", "situation"), [row[:2] for row in ROWS])
def test_what_counts_as_a_try_and_what_makes_a_new_upload(result: Result, situation: Situation) -> None:
    """Not a look, and not what no further try would change."""
    change = decide(result, situation)
    error = result.error if isinstance(result, Failed) else None
    settled = change.account_stops is not None or change.state is PostState.REJECTED
    tried = isinstance(result, Interrupted) or (error is not None and (situation.unclear or not settled))
    assert change.failed is tried
    assert change.forget_media is isinstance(error, MediaGone)


def test_waits_are_drawn_around_their_length() -> None:
    change = decide(Failed(RetryLater("!")), Situation(post(), NOON, Policy(), jitter=1.5))
    assert (change.state, change.at) == (PostState.RETRY, NOON + 1.5 * BACKOFF)


def test_a_picture_is_not_to_blame_for_its_words() -> None:
    assert decide(Failed(WordsRejected("!")), on()).pictures is PictureState.APPROVED
    assert decide(Failed(Rejected("!")), on()).pictures is None


def test_reasons_say_what_to_do_where_a_person_has_to() -> None:
    for result in (NotSeen(enough=True), Elsewhere()):
        reason = decide(result, on(duplicate=True)).reason
        assert reason is not None
        assert "Look for No.0042, then run `meshibot resolve 7 --posted ID` or `--absent`." in reason
    assert decide(Late("No meshibot came."), on(reason=None)).reason == "No meshibot came. Its grace is over."
    assert decide(Late("No meshibot came."), on()).reason == "It was cut. Its grace is over."


def test_what_a_failure_does_to_the_account() -> None:
    stopped = AccountStopped("No credits.", "Buy some.")
    for result in (Failed(stopped), LookFailed(stopped)):
        assert decide(result, on()).account_stops == "No credits. Buy some."
    assert decide(Failed(stopped), on(unclear=True)).account_stops == "No credits. Buy some."
    assert decide(Failed(RetryLater("!")), on()).account_waits_until is None
    for at, waits in ((SOON, SOON), (LATER, NOON + timedelta(days=1)), (NOON, NOON + timedelta(seconds=1))):
        assert decide(Failed(RetryLater("!", at)), on()).account_waits_until == waits
    assert decide(Failed(RetryLater("!", SOON)), on(unclear=True)).account_waits_until == SOON
    assert decide(Failed(PossibleDuplicate("!")), on()).duplicate is True
    assert decide(Absent(), on(duplicate=True)).duplicate is False


def test_what_may_mend_itself_stops_the_account_at_the_third_time_and_is_asked_again() -> None:
    refused = AccountStopped("Refused.", "Wait.", may_mend=True)
    for refusals, stops in ((1, None), (2, None), (3, "Refused. Wait.")):
        situation = Situation(post(), NOON, Policy(), refusals=refusals)
        change = decide(Failed(refused), situation)
        assert change.account_stops == stops
        assert change.account_waits_until == (NOON + Policy().knock if stops else None)
    for_good = decide(Failed(AccountStopped("No credits.", "Buy some.")), on())
    assert for_good.account_waits_until is None, "a person has to act"


def test_pictures_have_an_end_where_their_post_has() -> None:
    ends = {PostState.POSTED, PostState.REJECTED, PostState.MISSED, PostState.CANCELLED}
    assert set(PICTURES_BECOME) == ends
    assert PICTURES_BECOME[PostState.MISSED] is PICTURES_BECOME[PostState.CANCELLED] is PictureState.APPROVED


ERRORS = st.sampled_from([RetryLater, MediaGone, Rejected, Unclear, PossibleDuplicate]).map(
    lambda kind: kind("!")
) | st.just(AccountStopped("!", "Do."))


@given(
    error=ERRORS,
    attempts=st.integers(0, 20),
    late=st.booleans(),
    duplicate=st.booleans(),
    unclear=st.booleans(),
)
def test_what_may_exist_is_never_given_up_nor_sent_again_by_a_failure(
    error: PublishError, attempts: int, late: bool, duplicate: bool, unclear: bool
) -> None:
    deadline = NOON + timedelta(hours=-1 if late else 1)
    situation = on(unclear, attempts=attempts, duplicate=duplicate, deadline=deadline)
    change = decide(Failed(error), situation)
    if unclear or isinstance(error, Unclear):
        assert change.state is PostState.UNKNOWN
    else:
        assert change.state in (PostState.RETRY, PostState.REJECTED, PostState.MISSED)
    look = decide(LookFailed(error), situation)
    assert look.state in (PostState.UNKNOWN, PostState.NEEDS_PERSON)
