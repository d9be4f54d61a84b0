"""What the network gets: the words, the pictures and the key of a post, fixed at its first try."""

from datetime import datetime
from pathlib import Path

from meshibot.captions import marker
from meshibot.database import queries
from meshibot.database.models import Post
from meshibot.outbox.claim import Claim
from meshibot.outbox.policy import Channel, Order, Policy, Words
from meshibot.outbox.runtime import Runtime
from meshibot.publishers.base import Draft, MediaRef, contains_marker


def load(runtime: Runtime, claim: Claim) -> tuple[Post, Order]:
    """The post as it is now, and what it is to be made of."""
    with runtime.database.read() as session:
        post = session.get_one(Post, claim.post_id)
        pictures = queries.pictures_of(session, post)
    due = post.due_at.astimezone(claim.channel.schedule.tz)
    return post, Order(post.account, post.number, marker(post.number), post.kind, pictures, due)


def draft_of(channel: Channel, post: Post, order: Order, *, with_file: bool) -> Draft:
    """The draft: words that are stored are said as they are; the file is made where it is missing."""
    words = _words(channel, post, order)
    file = Path(post.media_file) if post.media_file else None
    if with_file and (file is None or not file.is_file()):
        file = channel.prepare(order, words)
    key = f"{post.account}-{post.number:04d}-{post.created_at:%Y%m%dT%H%M%S%f}"
    return Draft(
        account=post.account,
        serial=post.number,
        marker=order.marker,
        caption=words.caption,
        alt_text=words.alt_text,
        media=() if file is None else (file,),
        kind=post.kind,
        idempotency_key=(post.draft or {}).get("idempotency_key", key),
        metadata={
            "pictures": [
                {"checkpoint": p.checkpoint, "seed": p.seed, "score": p.score, "quantile": p.quantile}
                for p in order.pictures
            ]
        },
    )


def _words(channel: Channel, post: Post, order: Order) -> Words:
    caption = None if post.caption is None else _marked(post.caption, order.marker)
    if caption is not None and post.alt_text is not None:
        return Words(caption, post.alt_text)
    made = channel.describe(order)
    return Words(caption or made.caption, post.alt_text or made.alt_text)


def _marked(caption: str, marker: str) -> str:
    """A caption that a person wrote before its serial was known, with the marker by which it is found."""
    caption = caption.replace("{marker}", marker)
    return caption if contains_marker(caption, marker) else f"{caption}\n{marker}"


def keep(post: Post, draft: Draft, media: tuple[MediaRef, ...]) -> None:
    """Store the draft with its post: the next try says and shows the same."""
    post.caption, post.alt_text = draft.caption, draft.alt_text
    post.draft = {"idempotency_key": draft.idempotency_key}
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
    return tuple(MediaRef(media_id, expiry) for media_id in post.media_ids)
