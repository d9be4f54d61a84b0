"""X, through API v2 in OAuth 1.0a user context.

X has no idempotency key: an answer that leaves open whether a post was made raises Unclear, and `find` looks
for the caption's serial on the account's own timeline. The facts are those of the official documentation,
OpenAPI 2.167 and tweepy 4.17.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from meshibot.errors import UsageError
from meshibot.logs import Redactor
from meshibot.publishers import prices
from meshibot.publishers.answers import (
    NoAnswer,
    Step,
    age_of,
    dicts_in,
    json_of,
    meaning,
    without_answer,
)
from meshibot.publishers.base import (
    MOVING,
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
    marked,
    read_picture,
    require_within_limits,
    unfenced,
)
from meshibot.publishers.credentials import OAuth1Credentials
from meshibot.publishers.settings import AccountSecret, PublisherSettings, Secret, WebAddress
from meshibot.publishers.x.answers import ANSWERS, READ_ONLY, answer_of, data_of
from meshibot.publishers.x.text import MAX_WEIGHT, has_link, weighted_length

if TYPE_CHECKING:
    import requests

    from meshibot.publishers.transport import Timeouts

log = logging.getLogger(__name__)

_MEDIA_LIFETIME = timedelta(seconds=86_400)
_CLOCK_MARGIN = timedelta(hours=1)
_PART = 1_000_000
"""Bytes of a GIF that go up at once: X takes up to 5 MB, and a slow line takes long for that."""
_PATIENCE = 30.0
"""Seconds that X may work on a GIF before the post is tried later."""
_PAGES = 32
"""The timeline goes 3,200 posts back."""

_ADDRESS = re.compile(
    r"(?:(?:https?://)?(?:\w+\.)?(?:x|twitter)\.com/(?:i/web|\w+)/status(?:es)?/)?(\d{1,19})(?:[/?#]\S*)?",
    re.ASCII | re.I,
)
"""A post's number, or its address with it; the address may go on, with a picture's number or a source."""

_PICTURE = re.compile(r"\s*https://t\.co/\w+$")

_SECRETS = ("x_consumer_key", "x_consumer_secret", "x_access_token", "x_access_token_secret")


class XSettings(PublisherSettings):
    """The four values of OAuth 1.0a, and another door to X."""

    x_consumer_key: Secret = Field(default=None, description="the text that console.x.com shows")
    x_consumer_secret: Secret = Field(default=None, description="the text that console.x.com shows")
    x_access_token: AccountSecret = Field(default=None, description="the text that console.x.com shows")
    x_access_token_secret: AccountSecret = Field(
        default=None, description="the text that console.x.com shows"
    )
    x_api_base: WebAddress = Field(default=None, description="an address such as https://api.twitter.com")

    @property
    def x_credentials(self) -> OAuth1Credentials:
        """The four values. UsageError that names those that are missing."""
        return OAuth1Credentials(*self.required("X", _SECRETS, "console.x.com, your app, Keys and tokens"))


class XPublisher:
    """One account on X."""

    name: ClassVar[str] = "x"
    title: ClassVar[str] = "X"
    settings: ClassVar[type[PublisherSettings]] = XSettings
    idempotency: ClassVar[Idempotency] = "reconcile"
    visibilities: ClassVar[tuple[Visibility, ...]] = ("public",)
    marks_sensitive: ClassVar[bool] = False
    price: ClassVar[Price] = prices.X
    reactions_at_once: ClassVar[int] = 100
    limits = Limits(
        caption=MAX_WEIGHT,
        alt_text=1_000,
        media=4,
        image_bytes=5_000_000,
        image_side=4096,
        media_types=("image/jpeg", "image/png", "image/webp"),
        moving=Moving(15_000_000, 1080, 350),
    )

    def __init__(
        self,
        credentials: OAuth1Credentials,
        *,
        api_base: str | None = None,
        timeouts: "Timeouts | None" = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`api_base` is another door to X (a proxy, a test's double); UsageError where it is no address."""
        if api_base is not None and not (
            urlsplit(api_base).scheme in ("http", "https") and urlsplit(api_base).hostname
        ):
            raise UsageError("MESHIBOT_X_API_BASE is no address (https://…): mend it or leave it out.")
        from meshibot.publishers.x.client import Client  # tweepy is for those who post

        self._client = Client(credentials, api_base, timeouts)
        self._redact = Redactor(credentials.secrets())
        self._user_id: str | None = None
        self._sleep = sleep

    @classmethod
    def open(cls, account: XSettings, home: Path) -> "XPublisher":
        """With the account's credentials. UsageError that names those that are missing."""
        return cls(account.x_credentials, api_base=account.x_api_base)

    @staticmethod
    def count(caption: str, limits: Limits) -> tuple[Count, ...]:
        """By weight, as twitter-text does."""
        return (
            Count(
                weighted_length(caption),
                limits.caption or MAX_WEIGHT,
                "weight",
                "weighs {used} of the {limit}",
                "a Japanese character or an emoji counts 2",
            ),
        )

    @staticmethod
    def has_link(caption: str) -> bool:
        """A bare `example.com` is one to X."""
        return has_link(caption)

    @staticmethod
    def post_url(remote_id: str) -> str:
        """X leads from /i/ to the account's own address, whatever its name is by then."""
        return f"https://x.com/i/web/status/{remote_id}"

    @staticmethod
    def named(said: str) -> Sent:
        """By its number, or by its address as the browser shows it."""
        found = _ADDRESS.fullmatch(said.strip())
        if found is None:
            raise UsageError(f"{said!r} is no post on X: give its address, or the number at the end of it.")
        return Sent(found[1], XPublisher.post_url(found[1]))

    def upload(self, draft: Draft) -> tuple[MediaRef, ...]:
        """Upload each picture in one shot, a GIF in parts, and set its alt text."""
        require_within_limits(self, draft)
        return tuple(self._upload_one(path, draft.alt_text) for path in draft.media)

    def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
        """Make the post, once. Never without a picture."""
        require_within_limits(self, draft, media)
        now = datetime.now(UTC)
        if any(item.expires_at is not None and item.expires_at <= now for item in media):
            raise MediaGone("The uploaded picture has expired on X and must be uploaded again.")
        for item in media:
            if item.data is not None and item.data.get("worked_on"):
                self._require_ready(item.id)
        ids = [item.id for item in media]
        response = self._call("send", lambda: self._client.post(draft.caption, ids, fence))
        remote_id = str(data_of(response).get("id", ""))
        if not re.fullmatch(r"[0-9]{1,19}", remote_id):
            raise Unclear(
                f"X answered {response.status_code} to the post, but its answer names no post.",
                http_status=response.status_code,
            )
        return Sent(remote_id, self.post_url(remote_id))

    def find(self, draft: Draft, since: datetime) -> tuple[Sent, ...]:
        """Read the account's own timeline for the serial."""
        return marked(self.published(since), draft.marker)

    def published(self, since: datetime) -> Iterator[Seen]:
        """The account's own timeline from an hour before `since`: clocks differ."""
        user_id = self._whose_timeline()
        start = max(since.astimezone(UTC) - _CLOCK_MARGIN, datetime(2010, 11, 6, tzinfo=UTC))
        token: str | None = None
        for _ in range(_PAGES):
            response = self._read_page(user_id, start, token)
            posts, token = self._posts_of(response)
            for post in posts:
                post_id = str(post["id"])
                sent = Sent(post_id, self.post_url(post_id), age_of(post.get("created_at"), response))
                # X adds an address of its own for the picture.
                text = _PICTURE.sub("", str(post.get("text", "")))
                yield Seen(sent, text, _made_at(post_id))
            if not token:
                return
        raise RetryLater(f"The timeline since {start:%Y-%m-%d %H:%M} UTC is too long to be read to its end.")

    def latest(self, count: int) -> tuple[str, ...]:
        """The newest of the account's timeline: X gives 5 to 100 at once, and has a price on each."""
        response = self._read_page(self._whose_timeline(), None, None, count=min(max(count, 5), 100))
        return tuple(str(post.get("text", "")) for post in self._posts_of(response)[0])

    def reactions(self, remote_ids: Sequence[str]) -> Mapping[str, Reactions]:
        """All in one call, with a price on each post that is found."""
        response = self._call("read", lambda: self._client.look_up(remote_ids))
        page = json_of(response)
        posts = dicts_in(page.get("data")) if isinstance(page, dict) else []
        errors = dicts_in(page.get("errors")) if isinstance(page, dict) else []
        gone = {str(error.get("resource_id")) for error in errors if _is_gone(error)}
        if len(posts) + len(gone) < len(remote_ids):
            raise RetryLater("X answered the look at the reactions with something that can't be read.")
        return {str(post.get("id", "")): _reactions_of(post) for post in posts}

    def delete(self, remote_id: str) -> None:
        """Take a post down; one that X no longer knows is down already."""
        try:
            response = self._call("delete", lambda: self._client.delete_tweet(remote_id, user_auth=True))
        except Rejected as error:
            if error.http_status == 404:
                return
            raise
        if data_of(response).get("deleted") is not True:
            raise RetryLater(
                "X answered without saying that the post is deleted.", http_status=response.status_code
            )

    def check(self) -> Identity:
        """Who the credentials belong to, and whether X says that they may only read."""
        response = self._call("read", lambda: self._client.get_me(user_auth=True))
        user = data_of(response)
        if not user.get("id"):
            raise RetryLater(
                "X answered without saying whose account this is.", http_status=response.status_code
            )
        if response.headers.get("x-access-level", "").strip().lower() == "read":
            raise meaning(ANSWERS, self.title, "read", READ_ONLY)
        name = str(user.get("username", ""))
        self._user_id = str(user["id"])
        return Identity(self._user_id, name, f"https://x.com/{name}")

    def remarks(self) -> tuple[Remark, ...]:
        """X is one server, and its rules are known."""
        return ()

    def told(self) -> Told | None:
        """What X's latest answer said besides."""
        return self._client.adapter.told

    def close(self) -> None:
        """Close the session."""
        self._client.session.close()

    def _whose_timeline(self) -> str:
        """The account's own id; it is asked for once."""
        return self._user_id or self.check().id

    def _upload_one(self, path: Path, alt_text: str) -> MediaRef:
        data, media_type = read_picture(self, path)
        asked_at = datetime.now(UTC)
        if media_type == MOVING:
            answer = self._upload_in_parts(data)
        else:
            answer = data_of(
                self._call("upload", lambda: self._client.upload_picture(path.name, data, media_type))
            )
        media_id = _media_id_in(answer)
        ready = media_type != MOVING or self._wait_until_ready(media_id, answer)
        if alt_text:
            self._call("upload", lambda: self._client.describe_picture(media_id, alt_text))
        seconds = answer.get("expires_after_secs")
        lifetime = _MEDIA_LIFETIME
        if isinstance(seconds, int) and 0 < seconds < lifetime.total_seconds():
            lifetime = timedelta(seconds=seconds)
        return MediaRef(media_id, asked_at + lifetime, None if ready else {"worked_on": True})

    def _upload_in_parts(self, data: bytes) -> dict[str, Any]:
        """What X says of a GIF that it has whole."""
        begun = self._call("upload", lambda: self._client.begin_upload(MOVING, len(data)))
        media_id = _media_id_in(data_of(begun))
        for place, start in enumerate(range(0, len(data), _PART)):
            self._append(media_id, place, data[start : start + _PART])
        return data_of(self._call("upload", lambda: self._client.finish_upload(media_id)))

    def _append(self, media_id: str, place: int, part: bytes) -> None:
        self._call("upload", lambda: self._client.append(media_id, place, part))

    def _wait_until_ready(self, media_id: str, answer: Mapping[str, Any]) -> bool:
        """Whether X is done with a GIF; after one that takes long it is asked again before the post."""
        waited = 0.0
        while (pause := _still_works(answer)) is not None:
            if waited + pause > _PATIENCE:
                return False
            self._sleep(pause)
            waited += pause
            answer = self._state_of(media_id)
        return True

    def _require_ready(self, media_id: str) -> None:
        """Nothing is sent yet, so what fails here fails as an upload does."""
        try:
            state = self._state_of(media_id)
        except Rejected as error:
            raise MediaGone(f"X no longer has the picture. {error.reason}") from None
        if _still_works(state) is not None:
            raise RetryLater("X is still working on the picture.")

    def _state_of(self, media_id: str) -> dict[str, Any]:
        answer = data_of(self._call("upload", lambda: self._client.look_at_upload(media_id)))
        _media_id_in(answer)
        return answer

    def _read_page(
        self, user_id: str, start: datetime | None, token: str | None, *, count: int = 100
    ) -> "requests.Response":
        return self._call(
            "read",
            lambda: self._client.get_users_tweets(
                user_id,
                start_time=start,
                max_results=count,
                tweet_fields=["created_at"],
                pagination_token=token,
                # A repost of another bot's serial would look like ours.
                exclude=["replies", "retweets"],
                user_auth=True,
            ),
        )

    def _posts_of(self, response: "requests.Response") -> tuple[list[dict[str, Any]], str | None]:
        """The posts of a page and the token of the next. RetryLater unless X says that these are all of them.

        X answers 200 with `errors`, and without posts, where it could not read them: that is no absence.
        """
        page = json_of(response)
        meta = page.get("meta") if isinstance(page, dict) else None
        if not isinstance(page, dict) or not isinstance(meta, dict):
            said = answer_of(response, self._redact).said if isinstance(page, dict) else "no page of posts"
            raise RetryLater(
                f"X answered the look at the timeline with something that can't be read: {said}."
            )
        posts = dicts_in(page.get("data"))
        if meta.get("result_count") != len(posts) or (page.get("errors") and not posts):
            raise RetryLater("X answered the look at the timeline with a page that can't be read to its end.")
        token = meta.get("next_token")
        return posts, str(token) if token else None

    def _call(self, step: Step, ask: "Callable[[], requests.Response]") -> "requests.Response":
        """Ask X, and return an answer of 2xx; anything else becomes the exception that it means."""
        try:
            response = ask()
        except NoAnswer as error:
            log.debug("No answer from X", exc_info=error)
            raise without_answer(self.title, step, error) from None
        if 200 <= response.status_code < 300:
            return response
        raise meaning(ANSWERS, self.title, step, answer_of(response, self._redact))


def _media_id_in(answer: Mapping[str, Any]) -> str:
    media_id = str(answer.get("id", ""))
    if not re.fullmatch(r"[0-9]{1,19}", media_id):
        raise RetryLater("X took the picture but named no media id.")
    return media_id


def _still_works(answer: Mapping[str, Any]) -> float | None:
    """In how many seconds to ask again whether X is done; None where it is. Rejected where it has failed."""
    info = answer.get("processing_info")
    state = info.get("state") if isinstance(info, dict) else "succeeded"
    if state == "failed":
        raise Rejected("X can't make a GIF of what was uploaded.")
    if not isinstance(info, dict) or state not in ("pending", "in_progress"):
        return None
    seconds = info.get("check_after_secs")
    return float(min(max(seconds, 1), 10)) if isinstance(seconds, int) else 1.0


def _is_gone(error: Mapping[str, Any]) -> bool:
    """Whether X says of a post that it is not there, or not to be seen."""
    return str(error.get("type", "")).rpartition("/")[2] in (
        "resource-not-found",
        "not-authorized-for-resource",
        "resource-unavailable",
    )


def _reactions_of(post: Mapping[str, Any]) -> Reactions:
    metrics = post.get("public_metrics")
    counts = metrics if isinstance(metrics, dict) else {}
    reposts = "repost_count" if "repost_count" in counts else "retweet_count"  # its name until 2026
    return Reactions(
        likes=count_of(counts, "like_count"),
        reposts=count_of(counts, reposts, "quote_count"),
        replies=count_of(counts, "reply_count"),
        views=count_of(counts, "impression_count"),
    )


def _made_at(remote_id: str) -> datetime:
    """X's ids count milliseconds since November 2010 above their lowest 22 bits (snowflakes)."""
    return datetime.fromtimestamp(((int(remote_id) >> 22) + 1_288_834_974_657) / 1000, UTC)
