"""The note at the top of a page: what was just done, and the way to take it back."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from meshibot import undo
from meshibot.database import Event, Picture
from meshibot.database.queries import LARGEST_ID
from meshibot.web.site import Call

_MOST = 200


@dataclass(frozen=True)
class Note:
    """What is said, and the events that may be taken back."""

    says: str
    events: tuple[int, ...] = ()
    refused: str = ""


def note_of(call: Call, session: Session) -> Note | None:
    """What the address says was done (`done`: events, `refused`: pictures); None where it says nothing.

    Only numbers come from the address, and every word from here: nobody can have the page say something.
    """
    done, refused = _numbers(call.text("done")), _numbers(call.text("refused"))
    found = list(session.scalars(select(Event).where(Event.id.in_(done)).order_by(Event.id))) if done else []
    if not found and not refused:
        return None
    if len(found) == 1:
        key = f"did_{found[0].action}"
        named = undo.can_be_taken_back(found[0]) or found[0].action in ("undo", "resolve")
        says = call.say(key if named else "did_many", n=1)
    else:
        undone = found and all(event.action == "undo" for event in found)
        says = call.say("did_undo") if undone else call.say("did_many", n=len(found))
    takeable = tuple(event.id for event in found if undo.can_be_taken_back(event))
    return Note(says, takeable, _why_not(call, session, refused))


def _why_not(call: Call, session: Session, refused: list[int]) -> str:
    if not refused:
        return ""
    pictures = session.scalars(select(Picture).where(Picture.id.in_(refused[:20]))).all()
    why = ", ".join(f"{picture.id}: {call.say(f'picture_{picture.state.value}')}" for picture in pictures)
    return call.say("did_not", n=len(refused), why=why)


def _numbers(text: str) -> list[int]:
    parts = text.split(",")[:_MOST] if text else []
    return [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 19]


def joined(numbers: "list[int] | tuple[int, ...]") -> str:
    """Events or pictures as an address has them."""
    return ",".join(str(number) for number in numbers if number <= LARGEST_ID)
