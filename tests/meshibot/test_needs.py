"""What the slots of the next day take out of the stock."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest

from meshibot.config import Account
from meshibot.config.models import account_model
from meshibot.database import Database, Picture, PictureState, Post, PostPicture, PostState
from meshibot.kinds import Kind
from meshibot.needs import pictures_needed
from testbed.ledger import NOON, new_database, slot, stock


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 2)
        yield database


def account(name: str = "main", **values: Any) -> Account:
    """Of an account that posts at two and at five in the afternoon."""
    said = {"name": name, "timezone": "UTC", "schedule": "0 14,17 * * *", **values}
    return account_model().model_validate(said)


def needed(database: Database, *accounts: Account) -> int:
    with database.read() as session:
        return pictures_needed(session, accounts, NOON)


def test_slots_that_no_daemon_planned_yet_count_too(database: Database) -> None:
    assert needed(database, account()) == 2
    assert needed(database, account(schedule="30 12 * * *")) == 1  # of a day, and not of two
    assert needed(database) == 0


def test_a_grid_takes_as_many_as_it_shows(database: Database) -> None:
    """NOON is a Tuesday."""
    assert needed(database, account(kinds="single, tue grid")) == 8
    assert needed(database, account(kinds="grid9, tue single")) == 2


def test_the_weekday_is_that_of_the_accounts_clocks(database: Database) -> None:
    """22:00 in London is Wednesday morning in Tokyo."""
    wednesday = account(schedule="0 7 * * *", timezone="Asia/Tokyo", kinds="single, wed grid")
    assert needed(database, wednesday) == 4


def test_accounts_of_a_group_show_the_same_pictures(database: Database) -> None:
    assert needed(database, account("main", group="night"), account("two", group="night")) == 2
    assert needed(database, account("main", group="night"), account("two")) == 4
    assert needed(database, account("main"), account("two")) == 4
    assert needed(database, account("night", group="night"), account("two", group="night")) == 2


def test_a_slot_for_which_a_picture_was_chosen_takes_none(database: Database) -> None:
    due = NOON + timedelta(hours=2)
    number = slot(database, due)
    with database.write() as session:
        session.get_one(Picture, 1).state = PictureState.RESERVED
        session.add(
            Post(
                account="main",
                publisher="ledger",
                slot_id=number,
                kind=Kind.SINGLE,
                state=PostState.APPROVED,
                not_before=due,
                due_at=due,
                deadline=due,
                created_at=NOON.astimezone(UTC),
                pictures=[PostPicture(picture_id=1, position=0)],
            )
        )
    assert needed(database, account(schedule="0 0 29 2 *")) == 0
    slot(database, NOON + timedelta(hours=5))
    slot(database, NOON + timedelta(hours=25))
    assert needed(database, account(schedule="0 0 29 2 *")) == 1
