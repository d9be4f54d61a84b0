"""A picture: where it came from, what became of it, and how it is made again."""

import tempfile
from pathlib import Path
from threading import Lock
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from meshibot import gallery
from meshibot.assembly import require_postable_everywhere
from meshibot.database import Picture
from meshibot.errors import MeshibotError, NothingToDo, UsageError
from meshibot.stock import again, review
from meshibot.web.pages.notes import note_of
from meshibot.web.pages.review import can_be_judged, free_slots, usual_alt_text, words_of
from meshibot.web.site import BY, Call, as_id, go

_one_at_a_time = Lock()
"""The sampling child needs some hundred MB."""


def show(call: Call) -> Response:
    """Everything about one picture."""
    with call.site.database.read() as session:
        picture = session.get(Picture, _id(call))
        if picture is None:
            raise HTTPException(404)
        posts = gallery.posts_of(session, picture.id)
        return call.render(
            "picture.html",
            note=note_of(call, session),
            picture=picture,
            origin=_origin(call, picture),
            posts=posts,
            reactions=gallery.reactions(session, [post.id for post in posts]),
            nearest=call.site.likeness.nearest(session, picture),
            slots=free_slots(call, session),
            usual=usual_alt_text(call),
            judgeable=can_be_judged(picture),
            sizes=again.SIZES,
        )


def _id(call: Call) -> int:
    found = as_id(call.request.path_params["picture"])
    if found is None:
        raise HTTPException(404)
    return found


def _origin(call: Call, picture: Picture) -> dict[str, Any] | None:
    """What its checkpoint says of itself, where that is the one in the settings."""
    try:
        return again.origin(call.site.settings.checkpoint_file, picture.checkpoint)
    except MeshibotError:
        return None


def write(call: Call) -> Response:
    """Keep words with the picture, by the function of `meshibot stock words`."""
    number = _id(call)
    said = require_postable_everywhere(call.site.settings, *words_of(call))
    event = review.write(
        call.site.database, number, *said, call.number("version"), now=call.site.now(), by=BY
    )
    if call.text("from") == "review":
        return go("/review", show=call.text("show"), picture=number, done=event)
    return go(f"/pictures/{number}", done=event)


def make_again(call: Call) -> Response:
    """The picture anew from its seed, at the size that was asked for, as a PNG."""
    side = call.number("size") or 0
    if not 16 <= side <= again.LARGEST:
        raise UsageError(f"The size is a number of pixels from 16 to {again.LARGEST}.")
    with call.site.database.read() as session:
        picture = session.get(Picture, _id(call))
    if picture is None:
        raise HTTPException(404)
    if not _one_at_a_time.acquire(blocking=False):
        raise NothingToDo("A picture is being made at this moment: try again in a few seconds.")
    try:
        with tempfile.TemporaryDirectory(prefix="meshibot-") as folder:
            file = Path(folder) / "again.png"
            again.make(call.site.settings.checkpoint_file, picture, side, file)
            data = file.read_bytes()
    finally:
        _one_at_a_time.release()
    name = f'inline; filename="meshibot-{picture.id}-{side}.png"'
    return Response(data, media_type="image/png", headers={"Content-Disposition": name})
