"""Bluesky, on bsky.social or on a server (PDS) of one's own: at most once by construction.

A post is a record under a key that the caller chooses. Ours comes from the slot's own local key, and is
written with `putRecord` and `swapRecord: null`, which means 'only if there is none yet': so neither a second
try, nor a database restored from a backup, nor a second machine makes a slot's post again. `getRecord` is the
truth at once. The facts are those of Bluesky's lexicons of August 2026 and of its PDS's source.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, PlainValidator

from meshibot.errors import UsageError
from meshibot.logs import Redactor
from meshibot.publishers import prices
from meshibot.publishers.answers import Row, Step, dicts_in, iso_moment
from meshibot.publishers.base import (
    AccountStopped,
    Count,
    Draft,
    Facet,
    Fence,
    Idempotency,
    Identity,
    Limits,
    MediaGone,
    MediaRef,
    Price,
    Reactions,
    Rejected,
    Remark,
    RetryLater,
    Seen,
    Sent,
    Told,
    Unclear,
    Visibility,
    count_of,
    picture_size,
    read_picture,
    require_within_limits,
    unfenced,
)
from meshibot.publishers.server import Server, common_answers
from meshibot.publishers.settings import AccountSecret, PublisherSettings, ServerAddress
from meshibot.publishers.text import LINK, graphemes

if TYPE_CHECKING:
    import requests

    from meshibot.publishers.transport import Timeouts

log = logging.getLogger(__name__)

SERVICE = "https://bsky.social"
_POST = "app.bsky.feed.post"
_BLOB_LIFETIME = timedelta(hours=1)
"""For so long at least a server keeps a picture that is in no post."""
_BYTES = 3_000
_PAGES = 32
_OUT_OF_ORDER = timedelta(days=1)
"""Records are listed by their keys, which go by the local time of their slots."""
_TAG_GRAPHEMES = 64
_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"
_RKEY = re.compile("[2-7a-j][2-7a-z]{12}")
_MINUTE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")

_PASSWORDS = "https://bsky.app/settings/app-passwords"
_THEN = "then run `meshibot resume`."


class _TokenIsOver(RetryLater):
    """The session's token has to be refreshed; the same call may then be made again."""


class _Taken(Unclear):
    """There is another record under this key."""


class _NoRecord(Rejected):
    """There is none."""


ANSWERS = (
    *common_answers("MESHIBOT_BLUESKY_SERVICE", _THEN),
    Row(
        (400, 401),
        _TokenIsOver,
        "{network} says that the session is over ({said}).",
        about=re.compile("ExpiredToken|InvalidToken"),
    ),
    Row((400, 404), _NoRecord, "{network} has no such record.", about=re.compile("RecordNotFound")),
    Row(
        400, _Taken, "{network} has another post of this slot.", step="send", about=re.compile("InvalidSwap")
    ),
    Row(
        400,
        MediaGone,
        "{network} no longer has the uploaded picture: {said}.",
        step="send",
        about=re.compile("BlobNotFound"),
    ),
    Row(
        (400, 401, 403),
        AccountStopped,
        "{network} has stopped the account ({status}: {said}).",
        f"Log in at bsky.app and follow what it says, {_THEN}",
        about=re.compile("AccountTakedown|AccountSuspended|AccountDeactivated|RepoTakendown|RepoDeactivated"),
    ),
    Row(
        401,
        AccountStopped,
        "{network} asks for a second factor, so the account's own password was given (401: {said}).",
        f"Make an app password at {_PASSWORDS} and put it into MESHIBOT_BLUESKY_APP_PASSWORD, {_THEN}",
        about=re.compile("AuthFactorTokenRequired"),
    ),
    Row(
        (401, 403),
        AccountStopped,
        "{network} refuses the handle or the app password ({status}: {said}).",
        f"Make a new app password at {_PASSWORDS} and put it into MESHIBOT_BLUESKY_APP_PASSWORD, {_THEN}",
        may_mend=True,
    ),
    Row(
        (400, 413),
        Rejected,
        "The picture is too large for this server, or of a type that it does not take ({status}: {said}).",
        about=re.compile("InvalidSize|InvalidMimeType|BlobTooLarge|PayloadTooLarge|too large", re.IGNORECASE),
    ),
    Row(413, Rejected, "The picture is too large for this server (413: {said})."),
    Row(
        404,
        AccountStopped,
        "What answers at {network}'s address does not know this call ({status}: {said}).",
        f"Set MESHIBOT_BLUESKY_SERVICE to the account's server, or leave it out for bsky.social, {_THEN}",
    ),
    Row(None, Rejected, "{network} refuses {doing} ({status}: {said})."),
)


def _handle(value: object) -> str | None:
    """`@ramen.bsky.social` or a DID, without the @."""
    if value is None:
        return None
    text = str(value).strip().removeprefix("@")
    if not re.fullmatch(r"did:[a-z]+:[\w.:%-]+|[\w-]+(\.[\w-]+)+", text):
        raise ValueError("no handle")
    return text


class BlueskySettings(PublisherSettings):
    """The account's handle, an app password of it, and the server where that is not bsky.social."""

    bluesky_handle: Annotated[str | None, PlainValidator(_handle)] = Field(
        default=None, description="the account's handle, such as ramen.bsky.social"
    )
    bluesky_app_password: AccountSecret = Field(
        default=None, description=f"an app password, made at {_PASSWORDS}"
    )
    bluesky_service: ServerAddress = Field(
        default=None, description="the address of the account's own server, such as https://pds.example.org"
    )


@dataclass(frozen=True)
class Session:
    """What a login gives, and a refresh changes."""

    did: str
    handle: str
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    pds: str
    """The address of the server that the account is on."""


class BlueskyPublisher:
    """One account."""

    name: ClassVar[str] = "bluesky"
    title: ClassVar[str] = "Bluesky"
    settings: ClassVar[type[PublisherSettings]] = BlueskySettings
    idempotency: ClassVar[Idempotency] = "record"
    visibilities: ClassVar[tuple[Visibility, ...]] = ("public",)
    marks_sensitive: ClassVar[bool] = False
    price: ClassVar[Price] = prices.FREE
    reactions_at_once: ClassVar[int] = 25
    limits = Limits(
        caption=300,
        alt_text=2_000,
        media=4,
        image_bytes=1_000_000,  # newer servers take twice as much, older ones no more
        image_side=4000,
        media_types=("image/jpeg", "image/png", "image/webp"),
    )

    def __init__(
        self,
        handle: str,
        app_password: str,
        service: str | None = None,
        kept: "KeptSession | None" = None,
        *,
        timeouts: "Timeouts | None" = None,
    ) -> None:
        """`kept` is where the session is from one process to the next: logins are few a day."""
        self._handle = handle
        self._password = app_password
        self._kept = kept
        self._timeouts = timeouts
        self._service = self._server(service or SERVICE)
        self._pds = self._service
        self._session: Session | None = None
        self._is_own = False
        if kept is not None and (session := kept.read()) is not None:
            self._enter(session)

    @classmethod
    def open(cls, account: BlueskySettings, home: Path) -> "BlueskyPublisher":
        """With the account's handle and app password. UsageError that names what is missing."""
        handle, password = account.required(
            cls.title, ("bluesky_handle", "bluesky_app_password"), f"made at {_PASSWORDS}"
        )
        service = account.bluesky_service or SERVICE
        kept = KeptSession(
            home / "servers" / f"bluesky-{account.name}.session", fingerprint(service, handle, password)
        )
        return cls(handle, password, service, kept)

    @staticmethod
    def count(caption: str, limits: Limits) -> tuple[Count, ...]:
        """Characters as people see them, and bytes. A link counts as long as it is."""
        return (
            Count(graphemes(caption), limits.caption or 300),
            Count(len(caption.encode()), _BYTES, "bytes", "has {used} of the {limit} bytes"),
        )

    @staticmethod
    def has_link(caption: str) -> bool:
        """Only what the record says is one, and ours says so of addresses with their scheme."""
        return LINK.search(caption) is not None

    def post_url(self, remote_id: str) -> str:
        """As the app shows it; by the account's id, for handles change."""
        who = self._session.did if self._session is not None else self._handle
        return f"https://bsky.app/profile/{who}/post/{remote_id}"

    def named(self, said: str) -> Sent:
        """By its record key, its address at bsky.app or its at:// address."""
        text = said.strip()
        rkey = re.split(r"[?#]", text)[0].rstrip("/").rpartition("/")[2]
        known = re.match(rf"at://[^/]+/{_POST}/|https?://[^/]+/profile/[^/]+/post/|[^/:]+$", text)
        if known is None or not _RKEY.fullmatch(rkey):
            raise UsageError(
                f"{said!r} is no post on Bluesky: give its address at bsky.app, or the 13 letters and digits "
                "at its end."
            )
        return Sent(rkey, self.post_url(rkey))

    def upload(self, draft: Draft) -> tuple[MediaRef, ...]:
        """Upload each picture; its alt text goes into the record."""
        require_within_limits(self, draft)
        return tuple(self._upload_one(path) for path in draft.media)

    def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
        """Write the record where there is none yet; one that is there is the post, whatever it says."""
        require_within_limits(self, draft, media)
        rkey = rkey_of(draft)
        body = {
            "collection": _POST,
            "rkey": rkey,
            "record": record_of(draft, media),
            # Left out it would overwrite: null says 'only where there is none'.
            "swapRecord": None,
        }
        try:
            response = self._ask(
                "send", "POST", "com.atproto.repo.putRecord", fence=fence, json=body, with_repo=True
            )
        except _Taken as error:
            there = self._look(rkey)
            if there is None:
                raise Unclear(f"{error.reason} It can't be seen.", http_status=error.http_status) from None
            log.warning("%s was posted by another try, or another database: %s", draft.slot, there.url)
            return there
        uri = str(self._pds.object("send", response).get("uri", ""))
        if not uri.endswith(f"/{rkey}"):
            raise self._pds.unreadable("send", response)
        return Sent(rkey, self.post_url(rkey))

    def find(self, draft: Draft, since: datetime) -> tuple[Sent, ...]:
        """The record under the draft's own key, if there is one; `since` is not needed."""
        there = self._look(rkey_of(draft))
        return () if there is None else (there,)

    def published(self, since: datetime) -> Iterator[Seen]:
        """The account's own records, page by page. Their times are those that their makers gave them."""
        cursor: str | None = None
        for _ in range(_PAGES):
            records, cursor = self._records(100, cursor)
            for record in records:
                rkey, value = str(record.get("uri", "")).rpartition("/")[2], record.get("value")
                made = iso_moment(value.get("createdAt")) if isinstance(value, dict) else None
                if made is not None and made < since:
                    if made < since - _OUT_OF_ORDER:
                        return
                    continue
                text = str(value.get("text", "")) if isinstance(value, dict) else ""
                yield Seen(Sent(rkey, self.post_url(rkey)), text, made or since)
            if cursor is None or not records:
                return
        raise RetryLater(f"The posts since {since:%Y-%m-%d %H:%M} UTC are too many to be read to the end.")

    def latest(self, count: int) -> tuple[str, ...]:
        """The newest records, up to 100."""
        records, _ = self._records(min(max(count, 1), 100), None)
        values = dicts_in([record.get("value") for record in records])
        return tuple(str(value.get("text", "")) for value in values)

    def reactions(self, remote_ids: Sequence[str]) -> Mapping[str, Reactions]:
        """By `app.bsky.feed.getPosts`, which the account's server passes on."""
        did = self._signed_in().did
        uris = [f"at://{did}/{_POST}/{rkey}" for rkey in remote_ids]
        response = self._ask("read", "GET", "app.bsky.feed.getPosts", params={"uris": uris})
        posts = self._pds.object("read", response).get("posts")
        if not isinstance(posts, list):
            raise self._pds.unreadable("read", response)
        return {
            str(post.get("uri", "")).rpartition("/")[2]: Reactions(
                likes=count_of(post, "likeCount"),
                reposts=count_of(post, "repostCount", "quoteCount"),
                replies=count_of(post, "replyCount"),
            )
            for post in dicts_in(posts)
        }

    def delete(self, remote_id: str) -> None:
        """Take a post down; one that is gone already is no error to Bluesky either."""
        if not _RKEY.fullmatch(remote_id):
            raise Rejected(f"{remote_id!r} is no post on Bluesky.")
        body = {"collection": _POST, "rkey": remote_id}
        self._ask("delete", "POST", "com.atproto.repo.deleteRecord", json=body, with_repo=True)

    def check(self) -> Identity:
        """Who the credentials belong to.

        A session that another process left is refreshed first: that is refused where the app password was
        revoked, while its token would go on for hours.
        """
        if self._session is not None and not self._is_own:
            self._renew()
        response = self._ask("read", "GET", "com.atproto.server.getSession")
        said = self._pds.object("read", response)
        self._require_active(said)
        session = self._signed_in()
        handle = str(said.get("handle") or session.handle)
        return Identity(session.did, handle, f"https://bsky.app/profile/{handle}")

    def remarks(self) -> tuple[Remark, ...]:
        """The account's server, and whether the account says that it is a bot."""
        self.check()
        remarks = [
            Remark(
                f"The account is on {self._pds.host}; it takes {self.limits.caption} characters and pictures "
                f"up to {self.limits.image_bytes / 1e6:.1f} MB; posts cost nothing."
            )
        ]
        if "bot" not in self._labels():
            remarks.append(
                Remark(
                    "The profile has no bot label, which Bluesky asks of bots: set it at bsky.app under "
                    "Settings, Account, Automation label.",
                    warning=True,
                )
            )
        return tuple(remarks)

    def told(self) -> Told | None:
        """What the server's latest answer said besides."""
        return self._pds.adapter.told

    def close(self) -> None:
        """Close the sessions with the servers; the account's session goes on."""
        self._service.close()
        self._pds.close()

    # ---- records ------------------------------------------------------------------------------------

    def _upload_one(self, path: Path) -> MediaRef:
        data, media_type = read_picture(self, path)
        width, height = picture_size(data)
        asked_at = datetime.now(UTC)
        response = self._ask(
            "upload", "POST", "com.atproto.repo.uploadBlob", data=data, headers={"Content-Type": media_type}
        )
        blob = self._pds.object("upload", response).get("blob")
        link = blob.get("ref", {}).get("$link") if isinstance(blob, dict) else None
        if not isinstance(link, str) or not link:
            raise self._pds.unreadable("upload", response)
        return MediaRef(link, asked_at + _BLOB_LIFETIME, {"blob": blob, "width": width, "height": height})

    def _look(self, rkey: str) -> Sent | None:
        return Sent(rkey, self.post_url(rkey)) if self._record(_POST, rkey) is not None else None

    def _record(self, collection: str, rkey: str) -> dict[str, Any] | None:
        """A record of the account's own, read where it is written: there is no lag."""
        where = {"collection": collection, "rkey": rkey}
        try:
            response = self._ask("read", "GET", "com.atproto.repo.getRecord", params=where, with_repo=True)
        except _NoRecord:
            return None
        value = self._pds.object("read", response).get("value")
        if not isinstance(value, dict):
            raise self._pds.unreadable("read", response)
        return value

    def _records(self, size: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """The newest posts first, and where the next page begins."""
        where = {"collection": _POST, "limit": str(size)} | ({"cursor": cursor} if cursor else {})
        response = self._ask("read", "GET", "com.atproto.repo.listRecords", params=where, with_repo=True)
        page = self._pds.object("read", response)
        records = page.get("records")
        if not isinstance(records, list):
            raise self._pds.unreadable("read", response)
        return dicts_in(records), str(page["cursor"]) if page.get("cursor") else None

    def _labels(self) -> set[str]:
        """What the account's profile says of itself."""
        labels = (self._record("app.bsky.actor.profile", "self") or {}).get("labels")
        values = dicts_in(labels.get("values") if isinstance(labels, dict) else None)
        return {str(value.get("val")) for value in values}

    # ---- the session --------------------------------------------------------------------------------

    def _ask(
        self, step: Step, method: str, call: str, *, with_repo: bool = False, **content: Any
    ) -> "requests.Response":
        """A call as the account, once more where its token was over."""
        session = self._signed_in()
        if with_repo:
            place = "params" if method == "GET" else "json"
            content[place] = {"repo": session.did, **content[place]}
        try:
            return self._pds.ask(step, method, f"/xrpc/{call}", **content)
        except _TokenIsOver:
            self._renew()
            return self._pds.ask(step, method, f"/xrpc/{call}", **content)

    def _signed_in(self) -> Session:
        if self._session is None:
            body = {"identifier": self._handle, "password": self._password}
            self._service.token = None
            self._begin(self._service, "com.atproto.server.createSession", json=body)
        assert self._session is not None  # noqa: S101 (for mypy: `_begin` has set it)
        return self._session

    def _renew(self) -> None:
        """Refresh the session; log in where that is refused."""
        session = self._session
        if session is not None:
            self._session = None
            self._pds.token = session.refresh
            try:
                self._begin(self._pds, "com.atproto.server.refreshSession")
            except (RetryLater, Rejected) as error:
                if isinstance(error, RetryLater) and not isinstance(error, _TokenIsOver):
                    self._enter(session)
                    raise
            except AccountStopped:
                log.info("%s refuses to refresh the session: logging in anew", self._pds.host)
        self._signed_in()

    def _begin(self, server: Server, call: str, **content: Any) -> None:
        """Take up the session that an answer gives, and keep it."""
        response = server.ask("read", "POST", f"/xrpc/{call}", **content)
        said = server.object("read", response)
        self._require_active(said)
        try:
            session = Session(
                str(said["did"]),
                str(said.get("handle") or self._handle),
                str(said["accessJwt"]),
                str(said["refreshJwt"]),
                _pds_of(said) or server.address,
            )
        except KeyError:
            raise server.unreadable("read", response) from None
        self._enter(session)
        self._is_own = True
        if self._kept is not None:
            self._kept.write(session)

    def _require_active(self, said: Mapping[str, Any]) -> None:
        if said.get("active") is False:
            status = self._service.redact(str(said.get("status") or "inactive"))
            raise AccountStopped(
                f"Bluesky has stopped the account: it is {status}.",
                f"Log in at bsky.app and follow what it says, {_THEN}",
            )

    def _enter(self, session: Session) -> None:
        if session.pds != self._pds.address:
            if self._pds is not self._service:
                self._pds.close()
            self._pds = self._service if session.pds == self._service.address else self._server(session.pds)
        self._pds.token = session.access
        self._pds.redact = Redactor((self._password, session.access, session.refresh))
        self._session = session

    def _server(self, address: str) -> Server:
        return Server(self.title, address, ANSWERS, _said, ("ratelimit",), (self._password,), self._timeouts)


@dataclass(frozen=True)
class KeptSession:
    """A session in a file of the bot's home, which only its user may read."""

    file: Path
    of: str
    """The fingerprint of the credentials: with others it is none."""

    def read(self) -> Session | None:
        """None where there is none that can be used."""
        try:
            kept = json.loads(self.file.read_bytes())
            return Session(**kept["session"]) if kept["of"] == self.of else None
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def write(self, session: Session) -> None:
        """Keep it, where there is a home; where that can't be, the next process logs in."""
        data = json.dumps({"of": self.of, "session": asdict(session)}).encode()
        temporary = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        try:
            if not self.file.parent.parent.is_dir():
                return
            self.file.parent.mkdir(exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            temporary.replace(self.file)
        except OSError as error:
            log.info("the session with Bluesky can't be kept: %s", error.strerror)


def fingerprint(*credentials: str) -> str:
    """Tells credentials from others, and does not give them away."""
    return hashlib.sha256("\n".join(credentials).encode()).hexdigest()


def rkey_of(draft: Draft) -> str:
    """The key of the post's record: a TID, the same for a slot whoever asks (13 characters, sorts by time).

    A slot's time is the one that its local key names, before any jitter, with a hash of account and key for
    what is below a minute. A post made by hand has the moment of its draft, which is stored with it.
    See https://atproto.com/specs/tid: microseconds shifted by 10 bits, and 10 bits to tell makers apart.
    """
    digest = hashlib.sha256(f"{draft.account}\n{draft.slot or draft.idempotency_key}".encode()).digest()
    below = int.from_bytes(digest[:8], "big")
    found = _MINUTE.search(draft.slot or "")
    # Read as if it were UTC: a time zone that is changed must not change the key.
    minute = iso_moment(found[0]) if found is not None else None
    if minute is not None:
        moment = minute + timedelta(microseconds=below % 60_000_000)
    elif draft.created_at is not None:
        moment = draft.created_at
    else:
        raise Rejected("The post has neither a slot nor a time, by which its record is named.")
    number = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) << 10
    number |= int.from_bytes(digest[8:10], "big") % 1024
    return "".join(_DIGITS[number >> shift & 31] for shift in range(60, -1, -5))


def record_of(draft: Draft, media: tuple[MediaRef, ...]) -> dict[str, Any]:
    """The whole record, the same at every try."""
    images = []
    for item in media:
        data = item.data or {}
        images.append(
            {
                "alt": draft.alt_text,
                "image": data.get("blob"),
                "aspectRatio": {"width": data.get("width"), "height": data.get("height")},
            }
        )
    made = (draft.created_at or datetime.now(UTC)).astimezone(UTC)
    record: dict[str, Any] = {
        "$type": _POST,
        "text": draft.caption,
        "createdAt": made.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "embed": {"$type": "app.bsky.embed.images", "images": images},
    }
    if draft.language is not None:
        record["langs"] = [draft.language]
    facets = [_facet(draft.caption, facet) for facet in draft.facets if _fits(facet)]
    if facets:
        record["facets"] = facets
    return record


def _fits(facet: Facet) -> bool:
    return facet.kind == "link" or graphemes(facet.value) <= _TAG_GRAPHEMES


def _facet(text: str, facet: Facet) -> dict[str, Any]:
    """With offsets in bytes of UTF-8, as the lexicon counts."""
    kind = "app.bsky.richtext.facet"
    feature = (
        {"$type": f"{kind}#link", "uri": facet.value}
        if facet.kind == "link"
        else {"$type": f"{kind}#tag", "tag": facet.value}
    )
    start, end = (len(text[:place].encode()) for place in (facet.start, facet.end))
    return {"index": {"byteStart": start, "byteEnd": end}, "features": [feature]}


def _said(body: Mapping[str, Any]) -> tuple[object, object]:
    return body.get("message") or body.get("error"), body.get("error")


def _pds_of(session: Mapping[str, Any]) -> str | None:
    """The server that the account's DID document names; only one that secrets may be sent to."""
    document = session.get("didDoc")
    services = dicts_in(document.get("service") if isinstance(document, dict) else None)
    for service in services:
        if str(service.get("id", "")).endswith("#atproto_pds"):
            address = str(service.get("serviceEndpoint", "")).rstrip("/")
            parts = urlsplit(address)
            if parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1"):
                return address
    return None
