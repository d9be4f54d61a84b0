"""What the network gets: the words, the pictures and the key of a post, fixed at its first try."""

from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path

from sqlalchemy.orm import Session

from meshibot.captions import Said, marker, with_marker
from meshibot.database import queries
from meshibot.database.models import Post
from meshibot.outbox.claim import Claim
from meshibot.outbox.policy import Channel, Order, Policy, Words
from meshibot.outbox.runtime import Runtime
from meshibot.publishers.base import Draft, MediaRef
from meshibot.publishers.text import facets


def load(runtime: Runtime, claim: Claim) -> tuple[Post, Order]:
    """The post as it is now, and what it is to be made of."""
    tz = claim.channel.schedule.tz
    with runtime.database.read() as session:
        post = session.get_one(Post, claim.post_id)
        pictures = queries.pictures_of(session, post)
        slot = post.slot.key if post.slot is not None else None
        said = lately(session, post.account, post.number, claim.channel.captions_apart, tz)
    due = post.due_at.astimezone(tz)
    return post, Order(post.account, post.number, marker(post.number), post.kind, pictures, due, slot, said)


def lately(session: Session, account: str, serial: int, count: int, tz: tzinfo) -> tuple[Said, ...]:
    """What the last posts before a serial said, the newest first."""
    return tuple(
        Said(post.caption or "", post.number, post.due_at.astimezone(tz), post.kind)
        for post in queries.captions_before(session, account, serial, count)
    )


def draft_of(channel: Channel, post: Post, order: Order, now: datetime, *, with_file: bool) -> Draft:
    """The draft: as it is stored, or else made; the file is made where it is missing."""
    draft = _stored(channel, post) or _made(channel, post, order, now)
    file = Path(post.media_file) if post.media_file else None
    if with_file and (file is None or not file.is_file()):
        file = channel.prepare(order, Words(draft.caption, draft.alt_text))
    return replace(draft, media=() if file is None else (file,))


def _stored(channel: Channel, post: Post) -> Draft | None:
    """What an earlier try fixed; None where there is none, or where it was made for another network.

    A person may have changed the words of a post that was never sent.
    """
    kept = post.draft or {}
    if kept.get("publisher") != channel.publisher.name:
        return None
    draft = Draft.from_json(kept["draft"])
    if (draft.caption, draft.alt_text) == (post.caption, post.alt_text):
        return draft
    caption, alt_text = post.caption or draft.caption, post.alt_text or draft.alt_text
    return replace(draft, caption=caption, alt_text=alt_text, facets=facets(caption))


def _made(channel: Channel, post: Post, order: Order, now: datetime) -> Draft:
    words = _words(channel, post, order)
    key = f"{post.account}-{post.number:04d}-{post.created_at:%Y%m%dT%H%M%S%f}"
    return Draft(
        account=post.account,
        serial=post.number,
        marker=order.marker,
        caption=words.caption,
        alt_text=words.alt_text,
        media=(),
        kind=post.kind,
        idempotency_key=(post.draft or {}).get("idempotency_key", key),
        metadata={
            "pictures": [
                {"checkpoint": p.checkpoint, "seed": p.seed, "score": p.score, "quantile": p.quantile}
                for p in order.pictures
            ]
        },
        created_at=now,
        slot=order.slot,
        language=channel.language,
        visibility=channel.visibility,
        sensitive=channel.sensitive,
        facets=facets(words.caption),
    )


def _words(channel: Channel, post: Post, order: Order) -> Words:
    caption = None if not post.caption else with_marker(post.caption, post.number)
    if caption is not None and post.alt_text is not None:
        return Words(caption, post.alt_text)
    made = channel.describe(order)
    return Words(caption or made.caption, post.alt_text or made.alt_text)


def keep(post: Post, publisher: str, draft: Draft, media: tuple[MediaRef, ...]) -> None:
    """Store the draft with its post: the next try says and shows the same, there."""
    post.caption, post.alt_text = draft.caption, draft.alt_text
    post.draft = {
        "publisher": publisher,
        "idempotency_key": draft.idempotency_key,
        "draft": draft.to_json(),
        "media": [ref.to_json() for ref in media],
    }
    post.media_file = str(draft.media[0])
    post.media_ids = [ref.id for ref in media]
    post.media_expires_at = min((ref.expires_at for ref in media if ref.expires_at), default=None)


def uploaded_already(post: Post, policy: Policy, now: datetime) -> tuple[MediaRef, ...] | None:
    """The pictures that the network has still; None where they must be uploaded."""
    if not post.media_ids:
        return None
    expiry = post.media_expires_at
    if expiry is not None and expiry - policy.media_margin <= now:
        return None
    kept = {ref["id"]: MediaRef.from_json(ref) for ref in (post.draft or {}).get("media", ())}
    return tuple(kept.get(media_id, MediaRef(media_id, expiry)) for media_id in post.media_ids)
