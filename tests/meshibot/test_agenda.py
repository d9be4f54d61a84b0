"""What the next slots will show, as far as it can be told: what the outbox would take, in its order."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from meshibot import agenda
from meshibot.agenda import Taking
from meshibot.database import Database, Picture, Verdict
from meshibot.slots import Schedule
from testbed.ledger import NOON, UTC_ZONE, new_database, slot, stock

SCHEDULE = Schedule("0 0 29 2 *", UTC_ZONE)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Six pictures, the third to the fifth of them of the present checkpoint; three days with a slot."""
    with new_database(tmp_path) as database:
        stock(database, tmp_path, 6)
        with database.write() as session:
            for number in (3, 4, 5):
                session.get_one(Picture, number).checkpoint = "present"
        for days in (1, 2, 3):
            slot(database, NOON + timedelta(days=days))
        yield database


def shown(
    database: Database, *takings: Taking, preferred: str = "present", reviewed: bool = False
) -> list[list[int]]:
    """The pictures of the next slots, the first of which is on the first of these days."""
    first = (NOON + timedelta(days=1)).date()

    def takes(day: date) -> Taking:
        return takings[(day - first).days]

    with database.read() as session:
        entries = agenda.upcoming(
            session,
            "main",
            SCHEDULE,
            NOON,
            len(takings),
            reviewed=reviewed,
            preferred=preferred,
            takes=takes,
        )
        return [[picture.id for picture in entry.pictures] for entry in entries]


SINGLE, MORPH, GRID = Taking(), Taking(2, preferred_alone=True), Taking(4)


def test_pictures_of_the_present_checkpoint_come_first(database: Database) -> None:
    assert shown(database, SINGLE, SINGLE, SINGLE) == [[3], [4], [5]]
    assert shown(database, GRID, SINGLE, SINGLE) == [[3, 4, 5, 1], [2], [6]]
    assert shown(database, SINGLE, SINGLE, SINGLE, preferred="another") == [[1], [2], [3]]


def test_what_is_drawn_anew_takes_none_of_an_earlier_checkpoint(database: Database) -> None:
    assert shown(database, SINGLE, MORPH, SINGLE) == [[3], [4, 5], [1]]
    assert shown(database, MORPH, MORPH, SINGLE) == [[3, 4], [], [5]]
    assert shown(database, MORPH, SINGLE, preferred="another") == [[], [1]]


def test_a_slot_for_which_there_are_too_few_leaves_them_to_the_next(database: Database) -> None:
    assert shown(database, GRID, GRID, SINGLE) == [[3, 4, 5, 1], [], [2]]


def test_of_look_alikes_only_one_is_shown(database: Database) -> None:
    with database.write() as session:
        session.get_one(Picture, 4).phash = session.get_one(Picture, 3).phash
    assert shown(database, SINGLE, SINGLE, SINGLE) == [[3], [5], [1]]
    assert shown(database, MORPH) == [[3, 5]]


def test_where_only_reviewed_pictures_are_posted_only_they_are_shown(database: Database) -> None:
    with database.write() as session:
        session.get_one(Picture, 6).verdict = Verdict.APPROVED
    assert shown(database, SINGLE, SINGLE, reviewed=True) == [[6], []]
