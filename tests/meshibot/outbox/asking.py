"""What the database says of the one post, slot and account that most tests have."""

from sqlalchemy import select

from meshibot.database import (
    Account,
    Attempt,
    Database,
    Outcome,
    Phase,
    Picture,
    Post,
    Slot,
)
from meshibot.outbox import Outbox
from testbed.ledger import (
    MovableClock,
)


def only_post(database: Database) -> Post:
    with database.read() as session:
        return session.scalars(select(Post)).one()


def only_post_or_none(database: Database) -> Post | None:
    with database.read() as session:
        return session.scalars(select(Post)).one_or_none()


def attempts(database: Database) -> list[tuple[Phase, Outcome | None]]:
    with database.read() as session:
        return [(row.phase, row.outcome) for row in session.scalars(select(Attempt).order_by(Attempt.id))]


def picture_states(database: Database) -> list[str]:
    with database.read() as session:
        return [str(row.state) for row in session.scalars(select(Picture).order_by(Picture.id))]


def the_slot(database: Database) -> Slot:
    with database.read() as session:
        return session.scalars(select(Slot)).one()


def the_account(database: Database) -> Account:
    with database.read() as session:
        return session.get_one(Account, "main")


def look_until_settled(box: Outbox, clock: MovableClock, steps: int = 12) -> None:
    for _ in range(steps):
        box.step("main")
        clock.move(seconds=31)
