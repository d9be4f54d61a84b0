"""What is written down of a decision, and of whom."""

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from meshibot.database import (
    Account,
    AccountState,
    Attempt,
    Database,
    Outcome,
    Phase,
    Picture,
    PictureState,
    Post,
    PostPicture,
    PostState,
)
from meshibot.kinds import Kind
from meshibot.outbox import Outbox, record
from meshibot.outbox.decide import Change, Failed, LookFailed, NotSeen, Published, Result
from meshibot.outbox.record import Try
from meshibot.publishers.base import (
    AccountStopped,
    PossibleDuplicate,
    Rejected,
    RetryLater,
    Sent,
    Unclear,
)
from testbed.ledger import NOON

LATER = NOON + timedelta(minutes=1)


@pytest.fixture
def two(box: Outbox, database: Database) -> Database:
    """Two posts that are being sent, each with a picture."""
    with database.write() as session:
        session.add(Account(name="other", publisher="ledger"))
        session.flush()
        for number, account in enumerate(("main", "other"), start=1):
            post = Post(
                id=number, account=account, publisher="ledger", serial=7, kind=Kind.SINGLE,
                state=PostState.SENDING, not_before=NOON, due_at=NOON, deadline=LATER, created_at=NOON,
            )  # fmt: skip
            session.add(post)
            session.flush()
            session.add(PostPicture(post_id=number, picture_id=number, position=0))
            session.get_one(Picture, number).state = PictureState.RESERVED
            session.add(Attempt(id=number, post_id=number, phase=Phase.SEND, started_at=NOON))
    return database


def decided(session: Session, change: Change) -> tuple[Post, Account]:
    """The first post, for which that was decided."""
    post, account = session.get_one(Post, 1), session.get_one(Account, "main")
    record.write(session, post, account, change, LATER)
    return post, account


def of(row: object, *names: str) -> list[object]:
    """Some of its values."""
    return [getattr(row, name) for name in names]


def pictures(database: Database) -> list[tuple[str, str | None]]:
    with database.read() as session:
        rows = session.scalars(select(Picture).order_by(Picture.id).limit(3))
        return [(row.state.value, row.reason) for row in rows]


@pytest.mark.parametrize(
    ("state", "first"),
    [
        (PostState.POSTED, ("posted", None)),
        (PostState.REJECTED, ("rejected", "Because.")),
        (PostState.MISSED, ("approved", None)),
        (PostState.CANCELLED, ("approved", None)),
        (PostState.RETRY, ("reserved", None)),
        (PostState.NEEDS_PERSON, ("reserved", None)),
    ],
)
def test_pictures_go_where_their_own_post_went(
    two: Database, state: PostState, first: tuple[str, str | None]
) -> None:
    with two.read() as session:
        version = session.get_one(Picture, 1).version
    with two.write() as session:
        decided(session, Change(state, "Because."))
    assert pictures(two) == [first, ("reserved", None), ("approved", None)]
    with two.read() as session:
        assert (session.get_one(Picture, 1).version > version) is (first[0] != "reserved")


def test_a_decision_changes_what_it_names_and_nothing_else(two: Database) -> None:
    with two.write() as session:
        post = session.get_one(Post, 1)
        post.media_ids, post.duplicate, post.lease_owner = ["m1"], True, "a worker"
        decided(session, Change(PostState.RETRY, "Busy."))
        assert of(post, "media_ids", "duplicate", "attempts", "not_before") == [["m1"], True, 0, NOON]
        assert of(post, "lease_owner", "remote_id", "posted_at") == [None, None, None]
        decided(
            session,
            Change(PostState.RETRY, "Busy.", LATER, failed=True, duplicate=False, forget_media=True),
        )
        assert of(post, "media_ids", "duplicate", "attempts", "not_before") == [None, False, 1, LATER]
        decided(session, Change(PostState.POSTED, None, sent=Sent("r1", "")))
        assert (post.remote_id, post.url, post.posted_at) == ("r1", None, LATER)


def test_a_stop_is_told_and_a_start_ends_its_wait(two: Database, caplog: pytest.LogCaptureFixture) -> None:
    with two.write() as session:
        account = session.get_one(Account, "main")
        account.not_before = NOON + timedelta(days=1)
        decided(
            session, Change(PostState.RETRY, "No.", account_waits_until=LATER, account_stops="No. Mend it.")
        )
        assert (account.state, account.stopped_reason) == (AccountState.STOPPED, "No. Mend it.")
        assert of(account, "stopped_at", "not_before") == [LATER, LATER]
        record.restart(account)
        assert (account.state, account.stopped_reason) == (AccountState.ACTIVE, None)
        assert of(account, "stopped_at", "not_before") == [None, None]
    assert ("ERROR", "account main is stopped: No. Mend it.") in [
        (line.levelname, line.getMessage()) for line in caplog.records
    ]


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (PostState.POSTED, "INFO"),
        (PostState.CANCELLED, "INFO"),
        (PostState.DELETED, "INFO"),
        (PostState.RETRY, "WARNING"),
        (PostState.MISSED, "WARNING"),
        (PostState.NEEDS_PERSON, "ERROR"),
    ],
)
def test_a_decision_is_told_as_loud_as_it_matters(
    two: Database, caplog: pytest.LogCaptureFixture, state: PostState, level: str
) -> None:
    caplog.set_level("DEBUG", "meshibot.outbox")
    with two.write() as session:
        decided(session, Change(state, "So it is."))
        decided(session, Change(state, "So it is."))
    line = f"post 1 (No.0007, main): {state}. So it is."
    assert [(said.levelname, said.getMessage()) for said in caplog.records] == [
        (level, line),
        ("DEBUG", line),
    ]


def test_a_post_without_a_serial_has_a_name() -> None:
    post = Post(id=3, account="main", serial=None)
    assert record.name_of(post) == "post 3 (written ahead, main)"


@pytest.mark.parametrize(
    ("phase", "result", "outcome"),
    [
        (Phase.SEND, Published(Sent("r1", "")), Outcome.DONE),
        (Phase.RECONCILE, Published(Sent("r1", "")), Outcome.FOUND),
        (Phase.RECONCILE, NotSeen(enough=True), Outcome.ABSENT),
        (Phase.RECONCILE, LookFailed(RetryLater("Busy.", http_status=503)), Outcome.RETRY),
        (Phase.SEND, Failed(PossibleDuplicate("Twice.", http_status=403)), Outcome.DUPLICATE),
        (Phase.SEND, Failed(Unclear("Lost.")), Outcome.UNCLEAR),
        (Phase.SEND, Failed(AccountStopped("No.", "Mend it.", http_status=401)), Outcome.STOPPED),
        (Phase.UPLOAD, Failed(Rejected("No.", http_status=400)), Outcome.REJECTED),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
def test_an_attempt_is_written_down_with_how_it_ended(
    two: Database, phase: Phase, result: Result, outcome: Outcome, begun: bool
) -> None:
    """In the row that it had when it began, where it had one."""
    with two.write() as session:
        record.write_try(
            session, session.get_one(Post, 1), Try(phase, NOON, 1 if begun else None), result, LATER
        )
    error = result.error if isinstance(result, Failed | LookFailed) else None
    with two.read() as session:
        rows = session.scalars(select(Attempt).where(Attempt.post_id == 1).order_by(Attempt.id)).all()
    assert len(rows) == (1 if begun else 2)
    row = rows[-1]
    assert (row.outcome, row.started_at, row.ended_at) == (outcome, NOON, LATER)
    assert row.http_status == (error.http_status if error else None)
    assert row.error == (error.reason if error else None)


def test_only_the_attempts_of_the_post_itself_are_ended_and_counted(two: Database) -> None:
    with two.write() as session:
        post = session.get_one(Post, 1)
        assert record.refusals(session, post) == 0
        for number, outcome in (
            (1, Outcome.STOPPED),
            (1, Outcome.STOPPED),
            (1, Outcome.RETRY),
            (2, Outcome.STOPPED),
        ):
            session.add(Attempt(post_id=number, phase=Phase.SEND, started_at=NOON, outcome=outcome))
        session.flush()
        assert record.refusals(session, post) == 2
        record.interrupt_tries(session, post, LATER)
    with two.read() as session:
        mine, other = session.get_one(Attempt, 1), session.get_one(Attempt, 2)
    assert (mine.outcome, mine.ended_at) == (Outcome.INTERRUPTED, LATER)
    assert mine.error == "Its process ended before the answer."
    assert (other.outcome, other.ended_at, other.error) == (None, None, None)
