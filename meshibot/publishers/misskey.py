"""Misskey and its forks.

Nothing there makes a post one by itself (the fork of misskey.io refuses a repeat for a minute), so an unclear
post's serial is looked for on the account's own timeline. The facts are those of Misskey 2025.10 and of
misskey.io's 2025.4.1.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from meshibot.publishers import prices
from meshibot.publishers.answers import Row, Step, age_of, dicts_in, iso_moment, json_of
from meshibot.publishers.base import (
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
    Price,
    PublishError,
    Reactions,
    Rejected,
    Remark,
    RetryLater,
    Seen,
    Sent,
    Told,
    Unclear,
    Visibility,
    WordsRejected,
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
from meshibot.publishers.text import LINK, graphemes

if TYPE_CHECKING:
    import requests

    from meshibot.publishers.transport import Timeouts

_PAGES = 32
_PAGE_SIZE = 100
_PICTURE_MB = 0.2
"""What a picture of ours takes in the drive, about."""
_FEW_POSTS = 60
_GIF_BYTES = 8_000_000
"""More would fill the account's drive, which never empties itself."""
_GIF_SIDE = 1080
_VISIBILITY: Mapping[Visibility, str] = {"public": "public", "unlisted": "home", "followers": "followers"}
_ID = re.compile(r"[0-9A-Za-z]{8,40}")
_MARKUP = re.compile(r"\$\[|\*\*|__|~~|`|:[\w+-]+:|</?[a-z]+>|\[[^\]]*\]\(", re.IGNORECASE)
"""What Misskey's markup (MFM) would take for its own."""

_THEN = "then run `meshibot resume`."


class _NoNote(Rejected):
    """It is gone, or was never there."""


ANSWERS = (
    *common_answers("MESHIBOT_MISSKEY_SERVER", _THEN),
    Row(
        (401, 403),
        AccountStopped,
        "{network} refuses the token ({status}: {said}).",
        f"Make a new one under Settings, API, put it into MESHIBOT_MISSKEY_TOKEN, {_THEN}",
        about=re.compile("CREDENTIAL_REQUIRED|AUTHENTICATION_FAILED"),
        may_mend=True,
    ),
    Row(
        (400, 401, 403),
        AccountStopped,
        "{network} has stopped the account ({status}: {said}).",
        f"Log in there and follow what it says, {_THEN}",
        about=re.compile("YOUR_ACCOUNT_SUSPENDED|YOUR_ACCOUNT_MOVED|ACCOUNT_LOCKED"),
    ),
    Row(
        (401, 403),
        AccountStopped,
        "The account may not do this ({status}: {said}): its token or its role lacks a right.",
        f"Make a token that may read the account, write notes and the drive, {_THEN}",
    ),
    Row(
        400,
        AccountStopped,
        "The account's drive is full: {said}.",
        "Ask for a role with more room, or remove files that are in no post (others break old posts), "
        f"{_THEN}",
        about=re.compile("NO_FREE_SPACE"),
    ),
    Row(
        400,
        MediaGone,
        "{network} no longer has the uploaded picture: {said}.",
        step="send",
        about=re.compile("NO_SUCH_FILE"),
    ),
    Row((400, 404), _NoNote, "{network} has no such post.", about=re.compile("NO_SUCH_NOTE")),
    Row(
        404,
        AccountStopped,
        "What answers at {network}'s address does not know this call (404: {said}).",
        f"Set MESHIBOT_MISSKEY_SERVER to the server of the account, {_THEN}",
    ),
    Row(413, Rejected, "The picture is too large for this server (413: {said})."),
    Row(
        400,
        Rejected,
        "The picture is too large for this server, or of a type that it does not take: {said}.",
        about=re.compile("MAX_FILE_SIZE|UNALLOWED_FILE_TYPE"),
    ),
    Row(
        400,
        WordsRejected,
        "{network} refuses the words of the post: {said}.",
        about=re.compile("CONTAINS_PROHIBITED_WORDS|CONTAINS_TOO_MANY_MENTIONS|MAX_LENGTH"),
    ),
    Row(None, Rejected, "{network} refuses {doing} ({status}: {said})."),
)


class MisskeySettings(PublisherSettings):
    """The server, and the account's token there."""

    misskey_server: ServerAddress = Field(
        default=None, description="the account's server, such as https://misskey.example"
    )
    misskey_token: AccountSecret = Field(
        default=None, description="the access token that the server shows under Settings, API"
    )


class MisskeyPublisher:
    """One account on one server."""

    name: ClassVar[str] = "misskey"
    title: ClassVar[str] = "Misskey"
    settings: ClassVar[type[PublisherSettings]] = MisskeySettings
    idempotency: ClassVar[Idempotency] = "reconcile"
    visibilities: ClassVar[tuple[Visibility, ...]] = VISIBILITIES
    marks_sensitive: ClassVar[bool] = True
    price: ClassVar[Price] = prices.FREE
    reactions_at_once: ClassVar[int] = 10
    limits = Limits(
        caption=3_000,
        alt_text=512,
        media=16,
        image_bytes=10_000_000,
        image_side=4096,
        media_types=("image/jpeg", "image/png", "image/webp"),
        moving=Moving(_GIF_BYTES, _GIF_SIDE),
    )

    def __init__(
        self, server: str, token: str, notes: Notes | None = None, *, timeouts: "Timeouts | None" = None
    ) -> None:
        """`notes` keep what the server says of its limits from one process to the next."""
        self._server = Server(self.title, server, ANSWERS, _said, (), (token,), timeouts, token=token)
        self._notes = notes
        self._account_id: str | None = None
        said, self._fresh = notes.read() if notes else ({}, False)
        self.limits = _limits_of(said)

    @classmethod
    def open(cls, account: MisskeySettings, home: Path) -> "MisskeyPublisher":
        """With the account's server and token. UsageError that names what is missing."""
        server, token = account.required(
            cls.title, ("misskey_server", "misskey_token"), "on its server under Settings, API, Access token"
        )
        return cls(server, token, Notes.of(home, cls.name, urlsplit(server).netloc))

    @staticmethod
    def count(caption: str, limits: Limits) -> tuple[Count, ...]:
        """Characters, and what keeps them from being taken for markup."""
        return (Count(graphemes(_without_markup(caption)), limits.caption or 3_000),)

    @staticmethod
    def has_link(caption: str) -> bool:
        """Only an address with its scheme is one."""
        return LINK.search(caption) is not None

    def post_url(self, remote_id: str) -> str:
        """A note's own page."""
        return f"{self._server.address}/notes/{remote_id}"

    def named(self, said: str) -> Sent:
        """By its id, or by its address on the account's own server."""
        remote_id, _ = self._server.id_in(said, _ID)
        return Sent(remote_id, self.post_url(remote_id))

    def upload(self, draft: Draft) -> tuple[MediaRef, ...]:
        """Put each picture into the account's drive with its alt text."""
        if not self._fresh:
            self._learn_limits(draft)
        require_within_limits(self, draft)
        return tuple(self._upload_one(path, draft) for path in draft.media)

    def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
        """Make the note. Nobody is ever mentioned."""
        require_within_limits(self, draft, media)
        body = {
            "text": _without_markup(draft.caption),
            "fileIds": [item.id for item in media],
            "visibility": _VISIBILITY[draft.visibility],
            "noExtractMentions": True,
        }
        response = self._ask("send", "notes/create", fence=fence, json=body)
        answer = self._server.object("send", response)
        note = answer.get("createdNote")
        remote_id = str(note.get("id", "")) if isinstance(note, dict) else ""
        if not _ID.fullmatch(remote_id):
            # misskey.io answers 202 with an error PROCESSING to a repeat of what is still under way.
            error = answer.get("error")
            code = self._server.redact(str(error.get("code", ""))) if isinstance(error, dict) else ""
            raise Unclear(
                f"Misskey answered {response.status_code} to the post and names none {code}".rstrip() + ".",
                http_status=response.status_code,
            )
        return Sent(remote_id, self.post_url(remote_id))

    def find(self, draft: Draft, since: datetime) -> tuple[Sent, ...]:
        """Read the account's own timeline for the serial, by the server's clock."""
        return marked(self.published(since), draft.marker)

    def published(self, since: datetime) -> Iterator[Seen]:
        """The account's own timeline, page by page."""
        before: str | None = None
        for _ in range(_PAGES):
            notes, response = self._page(before)
            start = begin_of_look(since, response)
            for note in notes:
                made = iso_moment(note.get("createdAt"))
                if made is None or made >= start:
                    remote_id = str(note.get("id", ""))
                    sent = Sent(remote_id, self.post_url(remote_id), age_of(note.get("createdAt"), response))
                    yield Seen(sent, str(note.get("text") or ""), made or start)
            oldest = iso_moment(notes[-1].get("createdAt")) if notes else None
            if len(notes) < _PAGE_SIZE or (oldest is not None and oldest < start):
                return
            before = str(notes[-1].get("id"))
        raise RetryLater(f"The timeline since {since:%Y-%m-%d %H:%M} UTC is too long to be read to its end.")

    def latest(self, count: int) -> tuple[str, ...]:
        """The newest of the account's timeline, up to 100."""
        notes, _ = self._page(None, min(max(count, 1), _PAGE_SIZE))
        return tuple(str(note.get("text") or "") for note in notes)

    def reactions(self, remote_ids: Sequence[str]) -> Mapping[str, Reactions]:
        """One by one: there is no call for several."""
        found: dict[str, Reactions] = {}
        for remote_id in remote_ids:
            try:
                response = self._ask("read", "notes/show", json={"noteId": remote_id})
            except _NoNote:
                continue
            note = self._server.object("read", response)
            kinds = note.get("reactions")
            by_kind = sum(count_of(kinds, kind) or 0 for kind in kinds) if isinstance(kinds, dict) else None
            counted = count_of(note, "reactionCount")
            found[remote_id] = Reactions(
                likes=by_kind if counted is None else counted,
                reposts=count_of(note, "renoteCount"),
                replies=count_of(note, "repliesCount"),
            )
        return found

    def delete(self, remote_id: str) -> None:
        """Take a post down; its picture stays in the drive. One that is gone is down already."""
        try:
            self._ask("delete", "notes/delete", json={"noteId": remote_id})
        except _NoNote:
            return

    def check(self) -> Identity:
        """Who the token belongs to."""
        account = self._myself()
        name = str(account.get("username", ""))
        self._account_id = str(account["id"])
        return Identity(self._account_id, name, f"{self._server.address}/@{name}")

    def remarks(self) -> tuple[Remark, ...]:
        """The server's program, limits and rules, the room in the drive, and the bot flag."""
        software = self._server.software()
        account = self._myself()
        meta = self._learn(account)
        limits = self.limits
        remarks = [
            Remark(
                f"{self._server.host} runs {software or 'a program that does not say its name'}; it takes "
                f"{limits.caption} characters, {limits.alt_text} of alt text and pictures up to "
                f"{limits.image_bytes / 1e6:.1f} MB; posts cost nothing."
            ),
            self._remark_on_drive(),
        ]
        if account.get("isBot") is not True:
            remarks.append(
                Remark(
                    "The account does not say that it is a bot: turn on 'This account is a bot' in its "
                    "profile there.",
                    warning=True,
                )
            )
        if self._server.host == "misskey.io" and "@" not in str(account.get("description") or ""):
            remarks.append(
                Remark(
                    "misskey.io asks a bot to name its operator's own account there, in the profile or a "
                    "pinned note: @you in the profile will do.",
                    warning=True,
                )
            )
        rules = meta.get("serverRules")
        return (*remarks, *remarks_on_rules(map(str, rules if isinstance(rules, list) else ())))

    def told(self) -> Told | None:
        """What the server's latest answer said besides."""
        return self._server.adapter.told

    def close(self) -> None:
        """Close the session."""
        self._server.close()

    # ---- the server ---------------------------------------------------------------------------------

    def _ask(self, step: Step, call: str, **content: Any) -> "requests.Response":
        return self._server.ask(step, "POST", f"/api/{call}", **content)

    def _myself(self) -> dict[str, Any]:
        response = self._ask("read", "i", json={})
        account = self._server.object("read", response)
        if not account.get("id"):
            raise self._server.unreadable("read", response)
        if account.get("isSuspended") is True:
            raise AccountStopped(
                "Misskey has suspended the account.", f"Log in there and follow what it says, {_THEN}"
            )
        return account

    def _learn(self, account: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the server for its limits, and keep them; what else it says of itself."""
        meta = self._server.object("read", self._ask("read", "meta", json={"detail": True}))
        policies = account.get("policies")
        said = {
            "maxNoteTextLength": meta.get("maxNoteTextLength"),
            "maxFileSizeMb": policies.get("maxFileSizeMb") if isinstance(policies, dict) else None,
        }
        self.limits, self._fresh = _limits_of(said), True
        if self._notes is not None:
            self._notes.write(said)
        return meta

    def _learn_limits(self, draft: Draft) -> None:
        """The same once a day; where they are not told, what is known stays."""
        try:
            self._learn(self._myself())
        except AccountStopped:
            raise
        except PublishError:
            return
        require_made_for(self.limits, draft)

    def _remark_on_drive(self) -> Remark:
        drive = self._server.object("read", self._ask("read", "drive", json={}))
        capacity, usage = (float(drive.get(name) or 0) / 1e6 for name in ("capacity", "usage"))
        posts = int(max(0.0, capacity - usage) / _PICTURE_MB)
        return Remark(
            f"{usage:.0f} of the {capacity:.0f} MB of the account's drive are used: there is room for about "
            f"{posts} more posts, and it never empties itself.",
            warning=posts < _FEW_POSTS,
        )

    # ---- pictures and posts -------------------------------------------------------------------------

    def _upload_one(self, path: Path, draft: Draft) -> MediaRef:
        """Once more by force where the same bytes are in the drive with other words: those are of a post."""
        data, media_type = read_picture(self, path)
        for force in ("false", "true"):
            response = self._ask(
                "upload",
                "drive/files/create",
                files={"file": (path.name, data, media_type)},
                data={
                    "name": path.name,
                    "comment": draft.alt_text,
                    "isSensitive": "true" if draft.sensitive else "false",
                    "force": force,
                },
            )
            file = self._server.object("upload", response)
            if not _ID.fullmatch(str(file.get("id", ""))):
                raise self._server.unreadable("upload", response)
            same = (file.get("comment") or "") == draft.alt_text
            if same and bool(file.get("isSensitive")) >= draft.sensitive:
                break
        return MediaRef(str(file["id"]))

    def _page(
        self, before: str | None, size: int = _PAGE_SIZE
    ) -> tuple[list[dict[str, Any]], "requests.Response"]:
        """Notes of the account's own, newest first, those before an id where one is given."""
        body: dict[str, Any] = {
            "userId": self._account_id or self.check().id,
            "limit": size,
            "withRenotes": False,
            "withReplies": False,
        }
        if before is not None:
            body["untilId"] = before
        response = self._ask("read", "users/notes", json=body)
        answer = json_of(response)
        notes = dicts_in(answer)
        if not isinstance(answer, list) or len(notes) != len(answer):
            raise self._server.unreadable("read", response)
        return notes, response


def _without_markup(text: str) -> str:
    """The text as Misskey shows it letter by letter, where it would take some of it for markup."""
    return f"<plain>{text}</plain>" if _MARKUP.search(text) else text


def _said(body: Mapping[str, Any]) -> tuple[object, object]:
    error = body.get("error")
    if not isinstance(error, dict):
        return error, ""
    return f"{error.get('message')} ({error.get('code')})", error.get("code")


def _limits_of(said: Mapping[str, Any]) -> Limits:
    """What a server says of its limits, the account's role included; else what Misskey has unless changed."""
    usual = MisskeyPublisher.limits
    length, size = said.get("maxNoteTextLength"), said.get("maxFileSizeMb")
    most = int(size * 1_000_000) if isinstance(size, int | float) and size > 0 else usual.image_bytes
    return replace(
        usual,
        caption=length if isinstance(length, int) and length > 0 else usual.caption,
        image_bytes=most,
        moving=Moving(min(most, _GIF_BYTES), _GIF_SIDE),
    )
