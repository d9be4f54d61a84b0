"""Mastodon, and what speaks its API: GoToSocial, Pleroma, Akkoma, Pixelfed, Sharkey, Iceshrimp.

Nothing there makes a post one by itself, so three guards do, none enough alone: the timeline is read for an
unclear post's serial; `Idempotency-Key` is always sent, which some servers forget after an hour, answer with
500 when it is used (4.6.0 to 4.7.1) or ignore (GoToSocial); and before each post it is asked whether its
pictures are attached to one already. The facts are those of Mastodon's documentation and source as of 4.7.2.
"""

import html
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from pydantic import Field

from meshibot.publishers import prices
from meshibot.publishers.answers import Row, age_of, dicts_in, iso_moment, json_of
from meshibot.publishers.base import (
    MOVING,
    VISIBILITIES,
    AccountStopped,
    Count,
    Draft,
    Fence,
    Idempotency,
    Identity,
    Limits,
    MediaGone,
    MediaRef,
    Moving,
    PossibleDuplicate,
    Price,
    PublishError,
    Reactions,
    Rejected,
    Remark,
    RetryLater,
    Seen,
    Sent,
    Told,
    Visibility,
    count_of,
    marked,
    read_picture,
    require_within_limits,
    unfenced,
)
from meshibot.publishers.server import (
    Notes,
    Server,
    begin_of_look,
    common_answers,
    remarks_on_rules,
    require_made_for,
)
from meshibot.publishers.settings import AccountSecret, PublisherSettings, ServerAddress
from meshibot.publishers.text import LINK, length_with_links

if TYPE_CHECKING:
    import requests

    from meshibot.publishers.transport import Timeouts

_MEDIA_LIFETIME = timedelta(hours=24)
_PAGES = 32
_PAGE_SIZE = 40
_PATIENCE = 20.0
"""Seconds that a server may take over a picture before the post is tried later."""
_GIF_BYTES = 16_000_000
_GIF_SIDE = 960
"""Of a square one: 921,600 pixels. The server makes a silent MP4 of it."""
_VISIBILITY: Mapping[Visibility, str] = {"public": "public", "unlisted": "unlisted", "followers": "private"}
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
"""Opaque: a number on Mastodon, letters too on others."""

_THEN = "then run `meshibot resume`."
ANSWERS = (
    *common_answers("MESHIBOT_MASTODON_SERVER", _THEN),
    Row(
        401,
        AccountStopped,
        "{network} refuses the token (401: {said}).",
        f"Make a new one under Preferences, Development, put it into MESHIBOT_MASTODON_TOKEN, {_THEN}",
        may_mend=True,
    ),
    Row(
        403,
        AccountStopped,
        "The account may not do this (403: {said}): it is suspended or unconfirmed, or its token lacks a "
        "right.",
        "Log in there and follow what it says; a token needs read:accounts, read:statuses, write:media and "
        f"write:statuses; {_THEN}",
    ),
    Row(
        404,
        AccountStopped,
        "{network} has nothing at that address (404: {said}).",
        f"Set MESHIBOT_MASTODON_SERVER to the server of the account, {_THEN}",
        step="send",
    ),
    Row(413, Rejected, "The picture is too large for this server (413: {said})."),
    Row(None, Rejected, "{network} refuses {doing} ({status}: {said})."),
)


class MastodonSettings(PublisherSettings):
    """The server, and the account's token there."""

    mastodon_server: ServerAddress = Field(
        default=None, description="the account's server, such as https://example.social"
    )
    mastodon_token: AccountSecret = Field(
        default=None, description="the access token that the server shows under Preferences, Development"
    )


class MastodonPublisher:
    """One account on one server."""

    name: ClassVar[str] = "mastodon"
    title: ClassVar[str] = "Mastodon"
    settings: ClassVar[type[PublisherSettings]] = MastodonSettings
    idempotency: ClassVar[Idempotency] = "reconcile"
    visibilities: ClassVar[tuple[Visibility, ...]] = VISIBILITIES
    marks_sensitive: ClassVar[bool] = True
    price: ClassVar[Price] = prices.FREE
    reactions_at_once: ClassVar[int] = 20
    limits = Limits(
        caption=500,
        alt_text=1_500,
        media=4,
        image_bytes=16 * 1024 * 1024,
        image_side=4096,
        media_types=("image/jpeg", "image/png", "image/webp"),
        link=23,
        moving=Moving(_GIF_BYTES, _GIF_SIDE),
    )

    def __init__(
        self,
        server: str,
        token: str,
        notes: Notes | None = None,
        *,
        timeouts: "Timeouts | None" = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`notes` keep what the server says of its limits from one process to the next."""
        self._server = Server(
            self.title, server, ANSWERS, _said, ("x-ratelimit",), (token,), timeouts, token=token
        )
        self._notes = notes
        self._sleep = sleep
        self._account_id: str | None = None
        self._name = ""
        said, self._fresh = notes.read() if notes else ({}, False)
        self.limits = _limits_of(said)

    @classmethod
    def open(cls, account: MastodonSettings, home: Path) -> "MastodonPublisher":
        """With the account's server and token. UsageError that names what is missing."""
        where = "on its server under Preferences, Development, New application"
        server, token = account.required(cls.title, ("mastodon_server", "mastodon_token"), where)
        return cls(server, token, Notes.of(home, cls.name, urlsplit(server).netloc))

    @staticmethod
    def count(caption: str, limits: Limits) -> tuple[Count, ...]:
        """Characters as people see them, a link as many as its server says."""
        used = length_with_links(caption, limits.link)
        return (Count(used, limits.caption or 500, note=f"a link counts {limits.link}"),)

    @staticmethod
    def has_link(caption: str) -> bool:
        """Only an address with its scheme is one."""
        return LINK.search(caption) is not None

    def post_url(self, remote_id: str) -> str:
        """On the account's own server; where its name is not known yet, for those who are logged in there."""
        place = f"@{self._name}" if self._name else "web/statuses"
        return f"{self._server.address}/{place}/{remote_id}"

    def named(self, said: str) -> Sent:
        """By its id, or by its address on the account's own server."""
        remote_id, address = self._server.id_in(said, _ID)
        return Sent(remote_id, address or self.post_url(remote_id))

    def upload(self, draft: Draft) -> tuple[MediaRef, ...]:
        """Upload each picture with its alt text, and wait a while until the server has it ready."""
        if not self._fresh:
            self._learn_limits(draft)
        require_within_limits(self, draft)
        return tuple(self._upload_one(path, draft.alt_text) for path in draft.media)

    def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
        """Make the post, once; never with a picture that is in a post already."""
        require_within_limits(self, draft, media)
        for item in media:
            self._require_unattached(item)
        body = {
            "status": draft.caption,
            "media_ids": [item.id for item in media],
            "visibility": _VISIBILITY[draft.visibility],
            "sensitive": draft.sensitive,
        }
        if draft.language is not None:
            body["language"] = draft.language
        headers = {"Idempotency-Key": draft.idempotency_key} if draft.idempotency_key else {}
        response = self._server.ask(
            "send", "POST", "/api/v1/statuses", fence=fence, json=body, headers=headers
        )
        status = self._server.object("send", response)
        sent = self._sent(status)
        if sent is None:
            raise self._server.unreadable("send", response)
        return sent

    def find(self, draft: Draft, since: datetime) -> tuple[Sent, ...]:
        """Read the account's own timeline for the serial, by the server's clock."""
        return marked(self.published(since), draft.marker)

    def published(self, since: datetime) -> Iterator[Seen]:
        """The account's own timeline, page by page."""
        before: str | None = None
        for _ in range(_PAGES):
            page = self._page(before)
            start = begin_of_look(since, page.response)
            for status, made in page.statuses:
                sent = self._sent(status, age_of(status.get("created_at"), page.response))
                if sent is not None and (made is None or made >= start):
                    yield Seen(sent, _text_of(status), made or start)
            oldest = page.statuses[-1][1] if page.statuses else None
            if page.following in (None, before) or (oldest is not None and oldest < start):
                return
            before = page.following
        raise RetryLater(f"The timeline since {since:%Y-%m-%d %H:%M} UTC is too long to be read to its end.")

    def latest(self, count: int) -> tuple[str, ...]:
        """The newest of the account's timeline, up to 40."""
        page = self._page(None, min(max(count, 1), _PAGE_SIZE))
        return tuple(_text_of(status) for status, _ in page.statuses)

    def reactions(self, remote_ids: Sequence[str]) -> Mapping[str, Reactions]:
        """All in one call, or one by one where the server has no such call (before 4.3, and others)."""
        return {
            str(status.get("id", "")): Reactions(
                likes=count_of(status, "favourites_count"),
                reposts=count_of(status, "reblogs_count", "quotes_count"),
                replies=count_of(status, "replies_count"),
            )
            for status in self._statuses(remote_ids)
        }

    def delete(self, remote_id: str) -> None:
        """Take a post down with its pictures; one that is gone is down already."""
        if not _ID.fullmatch(remote_id):
            raise Rejected(f"{remote_id!r} is no post on {self._server.host}.")
        try:
            self._server.ask(
                "delete", "DELETE", f"/api/v1/statuses/{remote_id}", params={"delete_media": "true"}
            )
        except Rejected as error:
            if error.http_status != 404:
                raise

    def check(self) -> Identity:
        """Who the token belongs to."""
        account = self._myself()
        name = str(account.get("acct") or account.get("username") or "")
        url = str(account.get("url") or f"{self._server.address}/@{name}")
        self._account_id, self._name = str(account["id"]), name
        return Identity(self._account_id, name, url)

    def remarks(self) -> tuple[Remark, ...]:
        """The server's program, limits and rules, and whether the account says that it is a bot."""
        account = self._myself()
        software = self._server.software()
        instance = self._server.object("read", self._instance())
        self._keep(instance)
        limits = self.limits
        said = [
            Remark(
                f"{self._server.host} runs {software or 'a program that does not say its name'}; it takes "
                f"{limits.caption} characters, {limits.alt_text} of alt text and pictures up to "
                f"{limits.image_bytes / 1e6:.1f} MB; posts cost nothing."
            )
        ]
        if account.get("bot") is not True:
            said.append(
                Remark(
                    "The account does not say that it is a bot: turn on 'This is an automated account' in "
                    "its profile there.",
                    warning=True,
                )
            )
        rules = [
            f"{rule.get('text') or ''} {rule.get('hint') or ''}" for rule in dicts_in(instance.get("rules"))
        ]
        return (*said, *remarks_on_rules(rules))

    def told(self) -> Told | None:
        """What the server's latest answer said besides."""
        return self._server.adapter.told

    def close(self) -> None:
        """Close the session."""
        self._server.close()

    # ---- the server ---------------------------------------------------------------------------------

    def _myself(self) -> dict[str, Any]:
        try:
            response = self._server.ask("read", "GET", "/api/v1/accounts/verify_credentials")
        except Rejected as error:
            raise self._no_mastodon(error) from None
        account = self._server.object("read", response)
        if not account.get("id"):
            raise self._server.unreadable("read", response)
        return account

    def _no_mastodon(self, error: Rejected) -> PublishError:
        if error.http_status != 404:
            return error
        return AccountStopped(
            f"{self._server.host} does not speak Mastodon's API (404).",
            f"Set MESHIBOT_MASTODON_SERVER to the server of the account, {_THEN}",
            http_status=404,
        )

    def _instance(self) -> "requests.Response":
        try:
            return self._server.ask("read", "GET", "/api/v2/instance")
        except Rejected as error:
            if error.http_status != 404:
                raise
        return self._server.ask("read", "GET", "/api/v1/instance")  # before 4.0, and Pleroma's

    def _keep(self, instance: Mapping[str, Any]) -> None:
        said = {"configuration": instance.get("configuration")}
        self.limits, self._fresh = _limits_of(said), True
        if self._notes is not None:
            self._notes.write(said)

    def _learn_limits(self, draft: Draft) -> None:
        """Ask for them once a day; where they are not told, what is known stays.

        RetryLater where the picture was made for more than this server takes: it is made anew.
        """
        try:
            self._keep(self._server.object("read", self._instance()))
        except AccountStopped:
            raise
        except PublishError:
            return
        require_made_for(self.limits, draft)

    # ---- pictures -----------------------------------------------------------------------------------

    def _upload_one(self, path: Path, alt_text: str) -> MediaRef:
        data, media_type = read_picture(self, path)
        asked_at = datetime.now(UTC)
        response = self._server.ask(
            "upload",
            "POST",
            "/api/v2/media",
            files={"file": (path.name, data, media_type)},
            data={"description": alt_text},
        )
        media_id = str(self._server.object("upload", response).get("id", ""))
        if not _ID.fullmatch(media_id):
            raise self._server.unreadable("upload", response)
        told = self._wait_until_ready(media_id)
        return MediaRef(media_id, asked_at + _MEDIA_LIFETIME, {"told": told})

    def _wait_until_ready(self, media_id: str) -> bool:
        """Whether the server tells of a picture that is in no post. One that takes long is asked for again
        when the post is to be made."""
        waited, pause = 0.0, 0.25
        while (state := self._media_state("upload", media_id)) == 206 and waited < _PATIENCE:
            self._sleep(pause)
            waited, pause = waited + pause, min(2 * pause, 5.0)
        if state == 422:
            raise Rejected("The server can't make a picture of what was uploaded (422).", http_status=422)
        return state in (200, 206)

    def _media_state(self, step: Any, media_id: str) -> int:
        """200 ready, 206 being worked on, 422 unusable; 404 gone, or in a post already."""
        try:
            return self._server.ask(step, "GET", f"/api/v1/media/{media_id}").status_code
        except Rejected as error:
            if error.http_status in (404, 422):
                return error.http_status
            raise

    def _require_unattached(self, item: MediaRef) -> None:
        """Nothing is sent yet, so what fails here fails as an upload does."""
        if item.expires_at is not None and item.expires_at <= datetime.now(UTC):
            raise MediaGone("The uploaded picture has expired on the server and must be uploaded again.")
        state = self._media_state("read", item.id)
        if state == 206:
            raise RetryLater("The server is still working on the picture.")
        if state == 422:
            raise Rejected("The server can't make a picture of what was uploaded (422).", http_status=422)
        # Some servers never tell; those that told after the upload and now don't have it in a post.
        if state == 404 and item.data is not None and item.data.get("told"):
            raise PossibleDuplicate(
                f"{self._server.host} no longer has the picture by itself: it is in a post already, or gone.",
                http_status=404,
            )

    # ---- posts --------------------------------------------------------------------------------------

    def _sent(self, status: Mapping[str, Any], age: timedelta | None = None) -> Sent | None:
        remote_id = str(status.get("id") or "")
        if not _ID.fullmatch(remote_id):
            return None
        return Sent(remote_id, str(status.get("url") or self.post_url(remote_id)), age)

    def _statuses(self, remote_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Those that are still there."""
        try:
            response = self._server.ask("read", "GET", "/api/v1/statuses", params={"id[]": list(remote_ids)})
        except Rejected as error:
            if error.http_status not in (404, 405):
                raise
        else:
            body = json_of(response)
            if not isinstance(body, list):
                raise self._server.unreadable("read", response)
            yield from dicts_in(body)
            return
        for remote_id in remote_ids:
            try:
                response = self._server.ask("read", "GET", f"/api/v1/statuses/{remote_id}")
            except Rejected as error:
                if error.http_status != 404:
                    raise
            else:
                yield self._server.object("read", response)

    def _page(self, before: str | None, size: int = _PAGE_SIZE) -> "_Page":
        """A page of the account's posts, those before an id where one is given."""
        account = self._account_id or self.check().id
        params = {"limit": str(size), "exclude_reblogs": "true", "exclude_replies": "true"}
        if before is not None:
            params["max_id"] = before
        response = self._server.ask("read", "GET", f"/api/v1/accounts/{account}/statuses", params=params)
        body = json_of(response)
        statuses = dicts_in(body)
        if not isinstance(body, list) or len(statuses) != len(body):
            raise self._server.unreadable("read", response)
        address = response.links.get("next", {}).get("url", "")
        following = next(iter(parse_qs(urlsplit(address).query).get("max_id", ())), None)
        return _Page(
            [(status, iso_moment(status.get("created_at"))) for status in statuses], following, response
        )


@dataclass(frozen=True)
class _Page:
    """Posts, each with when it was made, the newest first; and the id before which the next page begins."""

    statuses: list[tuple[dict[str, Any], datetime | None]]
    following: str | None
    response: "requests.Response"


def _text_of(status: Mapping[str, Any]) -> str:
    """The text of a post, which the server gives as HTML."""
    content = str(status.get("content", ""))
    with_breaks = re.sub(r"<br\s*/?>|</p>", "\n", content, flags=re.IGNORECASE)
    return html.unescape(re.sub(r"<[^>]*>", "", with_breaks)).strip()


def _said(body: Mapping[str, Any]) -> tuple[object, object]:
    described = body.get("error_description")
    return (f"{body.get('error')}: {described}" if described else body.get("error")), ""


def _limits_of(said: Mapping[str, Any]) -> Limits:
    """What a server says of its limits; what it does not say is as it was when there were no words for it."""
    usual = MastodonPublisher.limits
    configuration = said.get("configuration")
    told = configuration if isinstance(configuration, dict) else {}
    statuses, media = (_table(told, name) for name in ("statuses", "media_attachments"))
    matrix = _number(media, "image_matrix_limit", usual.image_side**2)
    types = media.get("supported_mime_types")
    known = tuple(kind for kind in usual.media_types if not isinstance(types, list) or kind in types)
    most = _number(media, "image_size_limit", usual.image_bytes)
    moves = not isinstance(types, list) or MOVING in types
    return replace(
        usual,
        caption=_number(statuses, "max_characters", usual.caption or 500),
        media=min(usual.media, _number(statuses, "max_media_attachments", usual.media)),
        link=_number(statuses, "characters_reserved_per_url", usual.link or 23),
        alt_text=_number(media, "description_limit", usual.alt_text),
        image_bytes=most,
        image_side=min(usual.image_side, math.isqrt(matrix)),
        media_types=known,
        moving=Moving(min(most, _GIF_BYTES), _GIF_SIDE) if moves else None,
    )


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = document.get(name)
    return table if isinstance(table, dict) else {}


def _number(table: Mapping[str, Any], name: str, usual: int) -> int:
    value = table.get(name)
    return value if isinstance(value, int) and value > 0 else usual
