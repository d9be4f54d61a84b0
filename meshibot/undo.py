"""`meshibot undo`: takes back what a person did to pictures and slots, as long as nothing has come of it."""

from collections.abc import Callable, Iterable
from datetime import datetime

from meshibot import events
from meshibot.database import Database, Event
from meshibot.errors import UsageError
from meshibot.slots import changes
from meshibot.slots.changes import Desk
from meshibot.stock import review

OF_PICTURES = ("approve", "reject", "write")
OF_SLOTS = ("skip", "restore", "move", "add", "put", "clear", "swap")


def can_be_taken_back(event: Event) -> bool:
    """Whether an event is of a kind that can be; what it changed may have changed since."""
    return event.action in OF_PICTURES or _is_of_a_slot(event)


def _is_of_a_slot(event: Event) -> bool:
    """`restore` is also what a database was."""
    return event.action in OF_SLOTS and event.slot_id is not None


def undo(
    database: Database,
    which: Iterable[int],
    desk_of: Callable[[str], Desk],
    *,
    now: datetime,
    by: str,
) -> list[int]:
    """Take events back, all of them or none, the last one first; the events that say so.

    UsageError for what can't be taken back, ChangedMeanwhile where something has come of it since.
    """
    done = []
    with database.write() as session:
        for number in sorted(set(which), reverse=True):
            event = events.find(session, number)
            if event.action in OF_PICTURES:
                done.append(review.take_back(session, event, now=now, by=by))
            elif _is_of_a_slot(event) and event.account is not None:
                done.append(changes.take_back(session, desk_of(event.account), event))
            else:
                raise UsageError(f"Event {number} ({event.action}) can't be taken back.")
    return done
