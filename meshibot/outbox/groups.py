"""Groups: accounts that post the same pictures at the same slot, each in its own words and at its own pace.

Whoever comes first chooses; the others take what was chosen, whatever became of it there: one network's
failure holds back none. Its posts share `group_key`, and nothing else.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session

from meshibot.database import queries
from meshibot.database.models import Picture, PictureState, Post, PostState, Slot, Verdict
from meshibot.kinds import Kind
from meshibot.outbox.policy import Group

_WITHOUT_POST = (PostState.MISSED, PostState.REJECTED, PostState.CANCELLED)
"""The ends in which nothing came to the network."""


def key_of(group: Group, slot: Slot) -> str:
    """The same for all accounts of the group, such as `night|2026-11-24T23:30`."""
    return f"{group.name}|{_moment(slot)}"


def chosen(
    session: Session, group: Group, slot: Slot, kind: Kind, *, reviewed: bool
) -> Sequence[Picture] | None:
    """The pictures that another account of the group shows at this slot; None where none has chosen yet.

    They are reserved again where that account gave them back without posting them. None, too, where somebody
    else has them by now, or a person rejected one; and where, `reviewed`, nobody approved one.
    """
    queries.lock_name(session, key_of(group, slot))
    posts = select(Post).where(_of_slot(group, slot), Post.kind == kind).order_by(Post.id)
    found = [(post, queries.pictures_of(session, post)) for post in session.scalars(posts).all()]
    wanted = [
        (post, pictures)
        for post, pictures in found
        if pictures and all(_may_be_shown(picture, reviewed) for picture in pictures)
    ]
    for post, pictures in wanted:
        if post.state not in _WITHOUT_POST:
            return pictures
    for _, pictures in wanted:
        if all(_is_free(picture) for picture in pictures):
            for picture in pictures:
                picture.state, picture.reason = PictureState.RESERVED, None
            return pictures
    return None


def is_alive(session: Session, group_key: str | None, besides: int | None = None) -> bool:
    """Whether a post of the group is made or may still be: then its pictures stay as they are."""
    if group_key is None:
        return False
    others = select(Post.id).where(Post.group_key == group_key, Post.state.not_in(_WITHOUT_POST))
    if besides is not None:
        others = others.where(Post.id != besides)
    return bool(session.scalar(select(exists(others))))


def _of_slot(group: Group, slot: Slot) -> ColumnElement[bool]:
    """Posts of the group at the slot, those that are only written ahead for it among them."""
    slots = select(Slot.id).where(Slot.key.in_(_keys(group, slot)))
    return or_(
        Post.group_key == key_of(group, slot),
        and_(Post.slot_id.in_(slots), Post.state == PostState.APPROVED),
    )


def _keys(group: Group, slot: Slot) -> Iterable[str]:
    return [f"{account}|{_moment(slot)}" for account in group.accounts if account != slot.account]


def _moment(slot: Slot) -> str:
    return slot.key.partition("|")[2]


def _may_be_shown(picture: Picture, reviewed: bool) -> bool:
    return picture.verdict is Verdict.APPROVED if reviewed else picture.verdict is not Verdict.REJECTED


def _is_free(picture: Picture) -> bool:
    return picture.state in (PictureState.APPROVED, PictureState.REJECTED)
