"""A person's word on pictures: one at a time, or as a grid."""

from sqlalchemy.orm import Session
from starlette.responses import Response

from meshibot import agenda
from meshibot.agenda import Taking
from meshibot.captions import load_captions
from meshibot.database import Picture, Verdict
from meshibot.database.models import PictureState
from meshibot.errors import ChangedMeanwhile, UsageError
from meshibot.slots import schedule_of
from meshibot.stock import review
from meshibot.web.pages.notes import joined, note_of
from meshibot.web.site import BY, Call, go, number

GRID = 60
SLOTS = 12
"""So many slots are offered for a picture."""


def show(call: Call) -> Response:
    """The pictures that wait, or were judged."""
    which = _which(call)
    with call.site.database.read() as session:
        counts = review.counts(session)
        if call.text("view") == "grid":
            after = call.number("after") or 0
            pictures = review.page(session, which, GRID + 1, after)
            return call.render(
                "grid.html",
                note=note_of(call, session),
                which=which,
                counts=counts,
                pictures=pictures[:GRID],
                after=after,
                more=pictures[GRID - 1].id if len(pictures) > GRID else None,
                reasons=review.REASONS,
            )
        picture = _current(call, session, which)
        before, following = review.beside(session, which, picture.id) if picture else (None, None)
        return call.render(
            "review.html",
            note=note_of(call, session),
            which=which,
            counts=counts,
            picture=picture,
            before=before,
            following=following,
            nearest=call.site.likeness.nearest(session, picture) if picture else None,
            reasons=review.REASONS,
            slots=free_slots(call, session) if picture else [],
            usual=usual_alt_text(call),
        )


def _which(call: Call) -> str:
    which = call.text("show", "waiting")
    if which not in review.SHOWN:
        raise UsageError(f"show is none of {', '.join(review.SHOWN)}.")
    return which


def _current(call: Call, session: Session, which: str) -> Picture | None:
    """The picture that the address names, or the first one; after a word on it, the next one that waits."""
    wanted = call.number("picture")
    if wanted is not None and (picture := session.get(Picture, wanted)) is not None:
        return picture
    after = call.number("after")
    for start in (after, 0) if after else (0,):
        if found := review.page(session, which, 1, start):
            return found[0]
    return None


def judge(call: Call) -> Response:
    """Approve or reject pictures; each gets its own outcome."""
    said, _, reason = call.text("said").partition(":")
    if said not in list(Verdict):
        raise UsageError("Say whether the pictures are approved or rejected.")
    pictures = dict(_picture_and_version(text) for text in call.form.get("picture", ()))
    if not pictures:
        raise UsageError("Select a picture first.")
    which, in_grid = _which(call), call.text("view") == "grid"
    judged = review.judge(
        call.site.database, pictures, Verdict(said), now=call.site.now(), by=BY, reason=reason or None
    )
    if not in_grid and judged[0].refused is not None:
        raise ChangedMeanwhile(judged[0].refused)
    done = joined([each.event for each in judged if each.event is not None])
    refused = joined([each.picture for each in judged if each.event is None])
    if in_grid:
        return go("/review", show=which, view="grid", after=call.text("after"), done=done, refused=refused)
    return go("/review", show=which, after=judged[0].picture, done=done)


def _picture_and_version(text: str) -> tuple[int, int | None]:
    picture, _, version = text.partition(":")
    found = number(picture, "picture")
    if found is None:
        raise UsageError("Say which picture.")
    return found, number(version, "version")


def free_slots(call: Call, session: Session) -> list[agenda.Entry]:
    """The next slots of every account for which nothing was said yet."""
    now = call.site.now()
    found = [
        entry
        for account in call.site.settings.accounts
        for entry in agenda.upcoming(
            session, account.name, schedule_of(account), now, SLOTS, reviewed=False, takes=lambda _: Taking(0)
        )
        if entry.post is None
    ]
    return sorted(found, key=lambda entry: entry.due_at)[:SLOTS]


def usual_alt_text(call: Call, account: str = "") -> str:
    """What an account says to those who don't see the picture."""
    chosen = call.site.account(account)
    captions = load_captions(
        chosen.captions, account=chosen.name, subject=chosen.subject, alt_text=chosen.alt_text
    )
    return captions.alt_text()


def words_of(call: Call, account: str = "") -> tuple[str | None, str | None]:
    """Caption and alt text of a form; None for one that is empty, or what the account says anyhow."""
    caption, alt_text = (
        call.text(name).replace("\r\n", "\n").strip() or None for name in ("caption", "alt_text")
    )
    return caption, None if alt_text == usual_alt_text(call, account) else alt_text


def can_be_judged(picture: Picture) -> bool:
    """Whether a person's word still counts."""
    if picture.state is PictureState.REJECTED:
        return picture.verdict is Verdict.REJECTED
    return picture.state in (PictureState.APPROVED, PictureState.CANDIDATE)
